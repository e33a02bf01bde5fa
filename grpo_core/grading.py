"""What a completion answers, and whether that is the reference answer.

Standard library only, and safe on hostile text in this very process: every pattern takes linear
time, what is looked at is capped, nothing is evaluated, numbers stay below a few hundred digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from fractions import Fraction

MAX_TEXT = 200_000
"""Characters of a completion that are searched, counted from its end."""
MAX_ANSWER = 500
"""Characters of an answer; normalising Unicode takes quadratic time in the worst case."""


def grade(text: str, gold: str) -> bool:
    """Whether the completion `text` answers with `gold`."""
    answer, _ = extract(text)
    return answer is not None and equivalent(answer, gold)


# --- from a completion to an answer --------------------------------------------------------------

# Full-width forms as ASCII, and all minus signs as one. It keeps the length, so it is cheap on text
# of any size, which NFKC is not.
_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ASCII |= dict.fromkeys((0x2010, 0x2011, 0x2013, 0x2212), ord("-"))
# Repeats are bounded wherever patterns could overlap.
_DECIMAL = r"(?:\d{1,3}(?:,\d{3}){1,12}(?!\d)|\d+)(?:\.\d+)?"
_WRITTEN_NUMBER = re.compile(
    r"(?:(?:(?<![\w)\]}])|(?<=[是为為于於得到等约約]))-)?(?:[$€£¥]-?)?"
    r"(?:\\[dt]?frac\{\d{1,20}\}\{\d{1,20}\}|\d{0,9}[¼-¾⅐-⅞]|\d{1,9}[ 又]\d{1,9}/\d{1,9}"
    rf"|{_DECIMAL}(?:\s?/\s?{_DECIMAL})?|\.\d+)\s?%?"
)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_BRACE = re.compile(r"\\boxed\s{0,9}\{|\\[{}]|[{}]")
_BRACELESS_BOX = re.compile(r"\\boxed\s{1,9}([^\s{}$]{1,100})")
_HASHES = re.compile(r"####[ \t]{0,9}([^\n]{1,500})")
_PHRASE = re.compile(r"(?i:\banswer\b[\s*]{0,4}(?:is|was|:|=)|答案\s?(?:[是为為:=]))[\s:*]{0,6}")
_NEGATIVE = re.compile(r"(?<!\d )(?<!\) )\b(?:negative|minus) (?=[\d.$])", re.IGNORECASE)
_MONEY = re.compile(
    r"(?<![\d.,])(?P<sign>[$€])? ?(?P<whole>\d{1,3}(?:,\d{3}){1,4}|\d{1,12})"
    r"(?: (?P<name>dollar|euro)s?)?,? (?:and )?(?P<cents>\d{1,2}) cents?\b",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\d[\d.,]{0,20} ?[-:] ?\d")
_SENTENCE_END = re.compile(r"[\n。]|[.!?;,](?=\s|$)")


def extract(text: str) -> tuple[str | None, str]:
    """The answer that a completion gives, and the name of the rule that found it.

    Only what follows the last `</think>` counts; a `<think>` that is never closed means that no
    answer was given (`unfinished_thinking`). Then the first of these that applies: `answer_tag`
    (the last `<answer>…</answer>`), `boxed` (the last `\\boxed{…}`, braces matched), `hashes`
    (`#### x`), `phrase` ("the answer is x", 答案是x), `bare_number` (the text is a number, with a
    unit or without), `last_number`. The answer is None where the tag or box is empty, and with
    the rule `none` where there is nothing to find.
    """
    said = text.rpartition("</think>")[2]
    if "<think>" in said:
        return None, "unfinished_thinking"
    said = _MONEY.sub(_in_one, _NEGATIVE.sub("-", said[-MAX_TEXT:].translate(_ASCII)))
    for name, rule in _RULES:
        answer = rule(said)
        if answer is not None:
            return answer.strip()[:MAX_ANSWER] or None, name
    return None, "none"


def _in_one(money: re.Match[str]) -> str:
    """`18 dollars and 50 cents` as `18.50 dollars`."""
    name = money["name"] or {"$": "dollar", "€": "euro"}.get(money["sign"])
    return f"{money['whole']}.{money['cents']:0>2} {name}s" if name else money[0]


def _in_answer_tag(text: str) -> str | None:
    start, inner = None, None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            start = tag.end()
        elif start is not None:
            inner, start = text[start : tag.start()], None
    if inner is None:
        return None
    return last_box(inner) or _after_phrase(inner) or inner


def last_box(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}`, or after the last `\boxed ` without braces; None
    without either. One pass with a stack, so that thousands of nested boxes stay linear."""
    opened: list[int] = []  # where a box's content begins, -1 for any other brace
    begin, end = -1, -1
    for brace in _BRACE.finditer(text):
        if brace[0].startswith("\\boxed"):
            opened.append(brace.end())
        elif brace[0] == "{":
            opened.append(-1)
        elif brace[0] == "}" and opened:
            start = opened.pop()
            if start > begin:
                begin, end = start, brace.start()
    if begin >= 0:
        return text[begin:end]
    bare = _BRACELESS_BOX.findall(text)
    return bare[-1] if bare else None


def _after_hashes(text: str) -> str | None:
    """`#### x`; a Markdown heading of that level is not an answer unless it ends the text."""
    found = _last(_HASHES, text)
    if found and (number(found[1]) is not None or not text[found.end() :].strip()):
        return found[1]
    return None


def _after_phrase(text: str) -> str | None:
    if not (found := _last(_PHRASE, text)):
        return None
    sentence = _SENTENCE_END.split(text[found.end() : found.end() + 200], maxsplit=1)[0]
    claim = sentence.rpartition("=")[2]
    if number(claim) is not None or _RANGE.match(claim.strip()):
        return claim.strip()  # a range or a ratio is not its first number
    if written := _WRITTEN_NUMBER.search(claim):
        return written[0]
    # "The answer is clear: … so 18" names no number here; a number that follows is the answer.
    return None if _WRITTEN_NUMBER.search(text, found.end()) else claim.strip() or None


def _whole_text(text: str) -> str | None:
    return text if number(text) is not None else None


def _last_number(text: str) -> str | None:
    return found[0] if (found := _last(_WRITTEN_NUMBER, text)) else None


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


_RULES = (
    ("answer_tag", _in_answer_tag),
    ("boxed", last_box),
    ("hashes", _after_hashes),
    ("phrase", _after_phrase),
    ("bare_number", _whole_text),
    ("last_number", _last_number),
)

# --- from two answers to a verdict ---------------------------------------------------------------

# NFKC would make 10² into 102 and 3½ into 31/2.
_TABLE = _ASCII | {ord(raised): f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_TABLE |= {
    code: f" {unicodedata.normalize('NFKC', chr(code))}".replace("\N{FRACTION SLASH}", "/")
    for code in (*range(0xBC, 0xBF), *range(0x2150, 0x215F))
}
_LATEX = (
    (re.compile(r"\\[dtc]?frac\s?\{([^{}]{1,60})\}\s?\{([^{}]{1,60})\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s?(\d)\s?(\d)"), r" \1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed)\s?\{([^{}]{0,200})\}"), r" \1 "),
    (re.compile(r"\^\s?\{?\\circ\}?"), "°"),
    (re.compile(r"\\(?:left|right|[()\[\],!; ])"), ""),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"_\s?\{(\w{1,5})\}"), r"_\1"),
    (re.compile(r"(?<=\d)又(?=\d)"), " "),
    (re.compile(r"\s+"), " "),
)
_VARIABLE = re.compile(r"^[a-z]\w{0,20} ?= ?")
_GROUPED = r"(?:(?:\d{1,3}(?:[, ]\d{3}){1,12}(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,2})?"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?) ?(?:us|hk|rs|usd|eur|rmb)? ?[$€£¥]? ?(?P<inner_sign>-?)"
    rf"(?:(?P<whole>\d+) (?=\d+ ?/))?(?P<top>{_GROUPED})(?: ?/ ?(?P<bottom>{_GROUPED}))?"
)
_SCALE = re.compile(r" ?((?:hundred|thousand|million|billion|trillion)\b|[万萬亿億])")
_POWER = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_POWER |= {"万": 4, "萬": 4, "亿": 8, "億": 8}
# `18 apples`, `3 km/h`, `10 m^2`, `5 元` …
_UNIT = re.compile(r"(?:[a-z一-鿿%°$€£¥( ./')-]|(?<=[a-z])\^?[23](?!\d))*")
# … but `2x`, `2 pi`, `18-x` and `18/x` are no numbers.
_NO_UNIT = re.compile(
    r" ?(?:[./')-]|(?:pi|sqrt|sin|cos|tan|log|ln|exp|mod|[abdefijknopqrtuvxyz])(?![a-z]))"
)

_OTHER_NUMBER = re.compile(r"\b(?:dozens?|tenths?|hundredths?|thousandths?|half|halves)\b")


def equivalent(given: str, gold: str) -> bool:
    """Whether two short answers say the same.

    Two numbers are compared exactly, as fractions: thousands commas, signs, currency, trailing
    units, LaTeX and full-width forms do not matter, `2/6` is `1/3`, `18.0` is `18`, `3 1/2` is
    `7/2`, `5 million` is `5000000`. A percent sign is a unit like any other: `50%` is `50%` and
    `50`, never `0.5`. Anything else is compared as text, case and outer punctuation aside; no
    algebra is done.
    """
    if max(len(given), len(gold)) > MAX_ANSWER:
        return given.strip() == gold.strip()
    left, right = number(given), number(gold)
    if left is not None or right is not None:
        return left == right
    return bool(_plain(given)) and _plain(given) == _plain(gold)


def _plain(text: str) -> str:
    """One spelling of an answer of at most `MAX_ANSWER` characters."""
    text = unicodedata.normalize("NFKC", text.translate(_TABLE)).casefold()
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    text = _MONEY.sub(_in_one, text).strip(" *`\"'").rstrip(" .。,;:*")
    return _VARIABLE.sub("", text)


def spelled(answer: str) -> Fraction | str:
    """One spelling for all answers that are `equivalent`."""
    if len(answer) > MAX_ANSWER:
        return answer.strip()
    value = number(answer)
    return _plain(answer) if value is None else value


def number(text: str) -> Fraction | None:
    """The number that the whole of `text` is, unit or not; None if it is none."""
    found = with_unit(text)
    return found[0] if found else None


def with_unit(text: str) -> tuple[Fraction, str] | None:
    """The number that the whole of `text` is, and what is written behind it."""
    if len(text) > MAX_ANSWER:
        return None
    text = _plain(text)
    if not (found := _NUMBER.match(text)):
        return None
    rest, factor = text[found.end() :], 1
    if scale := _SCALE.match(rest):
        rest, factor = rest[scale.end() :], 10 ** _POWER[scale[1]]
    bottom = _fraction(found["bottom"] or "1")
    is_other = _NO_UNIT.match(rest) or _OTHER_NUMBER.search(rest)
    if bottom == 0 or not _UNIT.fullmatch(rest) or is_other:
        return None
    value = (_fraction(found["top"]) / bottom + int(found["whole"] or 0)) * factor
    return (-value if "-" in (found["sign"], found["inner_sign"]) else value), rest.strip(" .()")


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", "").rstrip("."))
