"""Cards by the words of a search: what they are called, what they claim, and what is often said of
their matter.
"""

from __future__ import annotations

from functools import cache

from studio.theory import loose, questions
from studio.theory.deck import CARDS
from studio.theory.questions import LONGEST, SILENT, inflected, plain_words
from studio.theory.words import words

ENOUGH = 0.6
"""The share of a search's words that a card must have."""


def cards_about(text: str) -> list[str]:
    """Keys of the cards that hold most of the words, best first; none where too few are theirs."""
    asked = [word for word in dict.fromkeys(plain_words(text)[:LONGEST]) if word not in SILENT]
    if not asked:
        return []
    scores = {
        key: sum(_value(word, *known) for word in asked) / len(asked)
        for key, known in _known().items()
    }
    return [key for key in sorted(scores, key=lambda k: -scores[k]) if scores[key] >= ENOUGH]


def _value(word: str, titled: frozenset[str], all_words: frozenset[str]) -> float:
    if word in titled:
        return 1.0
    if word in all_words:
        return 0.9
    return 0.7 if any(inflected(word, other) for other in titled | all_words) else 0.0


@cache
def _known() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """The words of each card: of its title and key, and all."""
    found = {}
    for key in CARDS:
        said = words(key)
        title = plain_words(f"{key.replace('_', ' ')} {said.title}")
        more = [said["Claim"], said["In a real run"]]
        more += [f"{one.said} {one.said_pt}" for one in loose.items() if one.card == key]
        more += [f"{q.text} {q.text_en}" for q in questions.questions() if q.cards[0] == key]
        found[key] = frozenset(title), frozenset(plain_words(" ".join([*title, *more])))
    return found
