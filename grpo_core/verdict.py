"""Whether two short answers agree, as far as that takes no algebra; safe on hostile text."""

from __future__ import annotations

import re

from grpo_core import grading

_MATHEMATICS = re.compile(r"[\\^√π∛!]|sqrt|log|ln|exp|sin|cos|tan|pi")
"""Without any of it, what is no number is none."""
_OPERATOR = re.compile(
    r"(?<=[\d)\]}!a-z])\s?(?:[+\-−*×÷·]|\\(?:cdot|times|div)(?![a-z]))", re.IGNORECASE
)
_SCIENTIFIC = re.compile(
    r"[+-]?\d{1,20}(?:\.\d{1,20})? ?(?:\*|×|·|\\times|\\cdot) ?10 ?\^ ?\{?[+-]?\d{1,3}\}?"
)
_EQUALS = re.compile(r"(?<![<>!=])=(?!=)")
_VARIABLE = re.compile(r"\s*([A-Za-z]\w{0,20}) ?=(?!=)")
_WORDS = re.compile(r"[^\W\d_][^\W\d_ .,;:'()/-]*(?:[ .,;:'()/-]+[^\W\d_]+)*[ .,;:'()/-]*")
_CLOCK_OR_DATE = re.compile(r"\d{1,4}(?:[:-]\d{1,4}){1,2} ?(?:[ap]\.?m\.?)?", re.IGNORECASE)
_BASE = re.compile(r"[0-9a-f]{1,64}_\{?\d{1,2}\}?", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s?\{([^{}]{0,200})\}")
_PAIRS = {"(": ")", "[": "]", "{": "}"}

_UNITS = {
    "mm": "mm millimeter millimetre 毫米", "cm": "cm centimeter centimetre 厘米", "dm": "dm 分米",
    "m": "m meter metre 米", "km": "km kilometer kilometre 千米 公里", "in": "in inch inche",
    "ft": "ft foot feet", "yd": "yd yard", "mi": "mi mile", "s": "s sec second 秒",
    "min": "min minute 分钟", "h": "h hr hour 小时", "day": "day 天", "week": "week 周",
    "month": "month 个月", "year": "year yr 年", "am": "am a.m", "pm": "pm p.m",
    "mg": "mg milligram 毫克", "g": "g gram 克", "kg": "kg kilogram 千克 公斤", "t": "ton 吨",
    "oz": "oz ounce", "lb": "lb pound", "ml": "ml milliliter millilitre 毫升",
    "l": "l liter litre 升", "dollar": "dollar", "cent": "cent", "euro": "euro", "yuan": "yuan 元",
}  # fmt: skip
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_MONTHS = "january february march april may june july august september october november december"
_UNIT_OF |= {month: month for month in _MONTHS.split()}


def decide(given: str, gold: str, is_ordered: bool = False) -> bool | None:
    """The verdict on two short answers where no algebra is needed, None where it is.

    Against a number counts what stands behind the last `=`; arithmetic that is left undone is no
    number (who is asked for 8 · 2 and says 8 · 2 has not said 16), a fraction, a power or a root
    is one. Known units differ, unknown ones do not. Words, dates, clock times and numbers with a
    base are compared as text. `is_ordered`: lists in another order are others.
    """
    if max(len(given), len(gold)) > grading.MAX_ANSWER:
        return given.strip() == gold.strip()
    given, gold = _bare(given), _bare(gold)
    if grading.number(gold) is not None:
        return _against_number(given, gold)
    if grading.equivalent(given, gold):
        return not _names_differ(given, gold)
    if _names_differ(given, gold) or _is_text(gold) or _brackets_differ(given, gold):
        return False
    if is_ordered and _is_list(gold):
        return _same_list(given, gold)
    return None


def _bare(text: str) -> str:
    """Without the signs of mathematics around it, and a number without brackets around it."""
    text = text.strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        is_around = text.startswith(opening) and text.endswith(closing)
        if is_around and len(text) > len(opening) + len(closing):
            text = text[len(opening) : -len(closing)].strip()
    inner = text.replace("\\left", "").replace("\\right", "").strip()
    while len(inner) > 2 and _PAIRS.get(inner[0]) == inner[-1]:
        inner = inner[1:-1].strip()
        if grading.number(inner) is not None:
            return inner
    return text


def _against_number(given: str, gold: str) -> bool | None:
    if _names_differ(given, gold):
        return False
    parts = _EQUALS.split(given)
    claim = _bare(next((part for part in reversed(parts) if part.strip(" $")), given).strip(" $"))
    if grading.number(claim) is not None or grading.number(given) is not None:
        said = claim if grading.number(claim) is not None else given
        return grading.equivalent(said, gold) and not _units_differ(said, gold)
    if _SCIENTIFIC.fullmatch(claim):
        return None
    if not _MATHEMATICS.search(claim) or _OPERATOR.search(_spaceless(claim)):
        return False
    return None


def _spaceless(text: str) -> str:
    return re.sub(r"\\[,;:! ]|\\q?quad|\\text\s?\{\s{0,9}\}", "", text)


def _names_differ(given: str, gold: str) -> bool:
    """`x = 3` is not `y = 3`, but `3` may be either."""
    left, right = _VARIABLE.match(given), _VARIABLE.match(gold)
    return bool(left and right and left[1] != right[1])


def _units_differ(given: str, gold: str) -> bool:
    left, right = (_unit(text) for text in (given, gold))
    return left is not None and right is not None and left != right


def _unit(text: str) -> str | None:
    """A unit that is known; what else is counted (apples, boxes) is anything."""
    found = grading.with_unit(text)
    word = found[1].partition(" ")[0] if found else ""
    return _UNIT_OF.get(word) or _UNIT_OF.get(word.removesuffix("s"))


def _is_text(gold: str) -> bool:
    plain = _TEXT.sub(r"\1", gold).strip()
    return any(form.fullmatch(plain) for form in (_WORDS, _CLOCK_OR_DATE, _BASE)) or (
        bool(re.fullmatch(r"\([A-Za-z]\)", plain))
    )


def _brackets_differ(given: str, gold: str) -> bool:
    """A set is no point and no interval."""
    left, right = ((text[:1] + text[-1:]) for text in (_unescaped(given), _unescaped(gold)))
    kinds = {"()", "[]", "{}", "(]", "[)"}
    return left in kinds and right in kinds and left != right


def _unescaped(text: str) -> str:
    for macro in ("\\left", "\\right", "\\big", "\\Big"):
        text = text.replace(macro, "")
    return text.replace("\\{", "{").replace("\\}", "}").strip()


def _is_list(gold: str) -> bool:
    parts = gold.split(",")
    return len(parts) > 1 and all(grading.number(part) is not None for part in parts)


def _same_list(given: str, gold: str) -> bool:
    left, right = given.split(","), gold.split(",")
    return len(left) == len(right) and all(map(grading.equivalent, left, right))
