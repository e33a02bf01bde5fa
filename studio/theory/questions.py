"""The nine questions about GRPO that the experiments answer, from `texts/questions.yaml`, and the
search for one of them by its wording in either language.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from studio.theory.listed import CARDS, entries
from studio.theory.words import TEXTS

ENOUGH = 0.5
"""The share of a search's weight that a question must cover to be found."""
IN_TEXT = 0.8
"""What a word counts that is not in the title."""
INFLECTED, MISSPELT = 0.8, 0.6
"""What a word counts that has another ending, or is nearly the same."""
IN_ORDER = 0.5
"""What is added where each word stands beside its neighbour as in the question, and once more where
three words or more are a part of it as they stand."""
LONGEST = 120
"""So many words of a search are looked at, more than any of the questions has."""
PORTUGUESE = (
    "a ao aos as com como da das de dessa desta deste do dos e em entre essa esta este isso isto na"
    " nas no nos o os ou para pela pelo por quais qual quaisquer que se sem ser seu sua um uma"
    " usando"
)
ENGLISH = (
    "an and any are as at be between by can do does for from how in is it its needed of on or"
    " respect should that the their there these this to under using was what which why with"
)
SILENT = frozenset([*PORTUGUESE.split(), *ENGLISH.split()])
"""Words that say nothing of the matter, in both languages, without accents."""


@dataclass(frozen=True)
class Question:
    """One question. All texts are Markdown with formulas."""

    key: str
    """A1 to C3."""
    title: str
    """In Portuguese, as it is asked."""
    text: str
    title_en: str
    text_en: str
    short_en: str
    """The answer in a few sentences."""
    short_pt: str
    cards: tuple[str, ...]
    """Keys of the experiments that answer it; the first holds the derivation."""


@cache
def questions() -> tuple[Question, ...]:
    """All, read once, in their order. Raises what `read` raises."""
    return read(TEXTS / "questions.yaml")


def read(path: Path) -> tuple[Question, ...]:
    """The questions in a file. Raises OSError, and ValueError (with the file's name and the item's
    number) for one that is malformed."""
    names = ("key", "title", "text", "title_en", "text_en", "short_en", "short_pt")
    needed = {**dict.fromkeys(names, str), "cards": list}
    return tuple(_question(place, entry) for place, entry in entries(path, needed, {}))


def _question(place: str, entry: dict[str, Any]) -> Question:
    cards = tuple(entry.pop("cards"))
    if unknown := [str(card) for card in cards if card not in CARDS]:
        raise ValueError(f"{place}: there is no experiment {', '.join(unknown)}")
    return Question(**entry, cards=cards)


def find(text: str) -> list[Question]:
    """The questions whose wording is nearest to `text`, in Portuguese or English, best first; none
    where too little of it is theirs. Case, accents, formulas, endings and small misspellings do not
    matter; words in the order of the question count more."""
    asked = plain_words(text)[:LONGEST]
    telling = [word for word in dict.fromkeys(asked) if word not in SILENT]
    if not telling:
        return []
    scores = [0.0] * len(_indexed())
    total = 0.0
    for word in telling:
        hits = [each.value(word) for each in _indexed()]
        # as in inverse document frequency: a word of one question says more than one of all
        weight = math.log(1 + len(hits) / max(1, sum(hit > 0 for hit in hits)))
        total += weight
        scores = [score + weight * hit for score, hit in zip(scores, hits, strict=True)]
    found = [
        (score / total + IN_ORDER * each.in_order(asked), each.question)
        for score, each in zip(scores, _indexed(), strict=True)
        if score >= ENOUGH * IN_TEXT * total
    ]
    return [question for _, question in sorted(found, key=lambda pair: -pair[0])]


@dataclass(frozen=True)
class _Indexed:
    """A question as it is searched."""

    question: Question
    values: dict[str, float]
    """What each of its words counts."""
    wordings: tuple[list[str], ...]
    """All its words in their order, in each language."""

    def value(self, word: str) -> float:
        """What one word of a search counts here; 0 where nothing is near to it."""
        near = _near(word)
        return max((self.values[w] * near[w] for w in near if w in self.values), default=0.0)

    def in_order(self, asked: list[str]) -> float:
        """Share of neighbours in `asked` that are neighbours here; 1 more where all of it is."""
        pairs = set(pairwise(asked))
        here = {pair for words in self.wordings for pair in pairwise(words)}
        phrase = f" {' '.join(asked)} "
        whole = len(asked) > 2 and any(phrase in f" {' '.join(words)} " for words in self.wordings)
        return len(pairs & here) / max(1, len(pairs)) + whole


@cache
def _indexed() -> tuple[_Indexed, ...]:
    return tuple(_index(question) for question in questions())


def _index(question: Question) -> _Indexed:
    wordings = (
        plain_words(f"{question.title} {question.text}"),
        plain_words(f"{question.title_en} {question.text_en}"),
    )
    in_title = {question.key.lower(), *plain_words(question.title), *plain_words(question.title_en)}
    every = {word for words in wordings for word in words} | in_title
    values = {word: 1.0 if word in in_title else IN_TEXT for word in every - SILENT}
    return _Indexed(question, values, wordings)


def plain_words(text: str) -> list[str]:
    """Lower case without accents and without the commands of LaTeX."""
    plain = unicodedata.normalize("NFKD", re.sub(r"\\[A-Za-z]+", " ", text)).casefold()
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    return re.findall(r"[a-z0-9]+", letters)


@lru_cache(maxsize=2048)
def _near(word: str) -> dict[str, float]:
    """Words of the questions that `word` may stand for, with what they then count."""
    known = {each for indexed in _indexed() for each in indexed.values}
    if word in known:
        return {word: 1.0} | {each: INFLECTED for each in known if inflected(word, each)}
    if others := [each for each in known if inflected(word, each)]:
        return dict.fromkeys(others, INFLECTED)
    if len(word) < 5:
        return {}
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.8)
    return dict.fromkeys(close, MISSPELT)


def inflected(one: str, other: str) -> bool:
    """Whether two words have the same stem: most of the shorter one, and no long ending."""
    short, long = sorted((one, other), key=len)
    same = 0
    while same < len(short) and short[same] == long[same]:
        same += 1
    stem = same >= 4 and same >= 0.6 * len(short)
    return one != other and stem and len(short) - same <= 3 and len(long) - same <= 6
