"""The bundled task: short arithmetic questions, in symbols and as one-sentence word problems.

A question is a small *expression* (`47+38-20`, `7*16`, `max(384,348)`) in one of several phrasings.
The split is decided by the expression, not by the phrasing, so a sum that is asked in the
evaluation was never trained on in any wording. Standard library only.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "dev", "eval"]

NAMES = ["Ada", "Ben", "Eva", "Finn", "Ida", "Jan", "Kim", "Leo", "Mia", "Noah", "Sam", "Tom"]
ITEMS = ["apples", "books", "cards", "coins", "eggs", "nuts", "pens", "stamps", "stones", "toys"]
GAINS = ["buys", "finds", "gets", "wins"]
LOSSES = ["sells", "loses", "uses", "drops"]
BOXES = ["bags", "boxes", "rows"]
KIND_WEIGHTS = {"two_terms": 0.25, "three_terms": 0.4, "times": 0.15, "compare": 0.2}


@dataclass(frozen=True)
class Expression:
    """`terms` are signed for sums (`47+38-20` is `(47, 38, -20)`); the two numbers otherwise."""

    kind: str
    terms: tuple[int, ...]

    @property
    def value(self) -> int:
        """The answer, by Python's own integers."""
        if self.kind == "times":
            return self.terms[0] * self.terms[1]
        if self.kind in ("larger", "smaller"):
            return max(self.terms) if self.kind == "larger" else min(self.terms)
        return sum(self.terms)

    @property
    def key(self) -> str:
        """The same for every order of the terms: `38+47` and `47+38` share a split."""
        kind = "compare" if self.kind in ("larger", "smaller") else self.kind
        return f"{kind}:{','.join(str(term) for term in sorted(self.terms))}"

    def split(self) -> Split:
        """One tenth of all expressions is held out for evaluation, one tenth for development."""
        bucket = hashlib.sha256(self.key.encode()).digest()[0] % 10
        return "eval" if bucket == 0 else "dev" if bucket == 1 else "train"


def draw_expression(rng: random.Random) -> Expression:
    """One random expression; every partial sum lies in 1..199."""
    kind = rng.choices(list(KIND_WEIGHTS), weights=list(KIND_WEIGHTS.values()))[0]
    if kind == "times":
        return Expression("times", (rng.randint(2, 9), rng.randint(11, 29)))
    if kind == "compare":
        low, high = rng.choice([(10, 99), (100, 999)])
        first, second = rng.sample(range(low, high + 1), 2)
        return Expression(rng.choice(["larger", "smaller"]), (first, second))
    terms = [rng.randint(2, 99)]
    for _ in range(1 if kind == "two_terms" else 2):
        total, number = sum(terms), rng.randint(2, 99)
        add = total + number <= 199 and (number >= total or rng.random() < 0.5)
        if not add and number >= total:
            number = rng.randint(1, total - 1)
        terms.append(number if add else -number)
    return Expression("sum", tuple(terms))


def phrase(expression: Expression, rng: random.Random) -> str:
    """The expression as a question in English, in symbols or in words."""
    if expression.kind == "times":
        return _phrase_times(expression.terms, rng)
    if expression.kind in ("larger", "smaller"):
        first, second = expression.terms
        asked = {"larger": ["larger", "greater"], "smaller": ["smaller", "less"]}
        word = rng.choice(asked[expression.kind])
        return f"Which number is {word}, {first} or {second}?"
    if rng.random() < 0.5:
        return _phrase_sum_in_words(expression.terms, rng)
    symbols = symbolic(expression)
    return rng.choice(["What is {}?", "{} = ?", "Compute {}."]).format(symbols)


def symbolic(expression: Expression) -> str:
    """`47 + 38 - 20`, `7 * 16`."""
    if expression.kind == "times":
        return f"{expression.terms[0]} * {expression.terms[1]}"
    first, *rest = expression.terms
    return str(first) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in rest)


def _phrase_times(terms: tuple[int, ...], rng: random.Random) -> str:
    first, second = terms
    if rng.random() < 0.5:
        return rng.choice(["What is {} * {}?", "{} * {} = ?", "Compute {} * {}."]).format(
            first, second
        )
    items, boxes = rng.choice(ITEMS), rng.choice(BOXES)
    return f"How many {items} are in {first} {boxes} of {second} {items}?"


def _phrase_sum_in_words(terms: tuple[int, ...], rng: random.Random) -> str:
    name, items = rng.choice(NAMES), rng.choice(ITEMS)
    deeds = [f"{rng.choice(GAINS if term > 0 else LOSSES)} {abs(term)}" for term in terms[1:]]
    return f"{name} has {terms[0]} {items} and {' and '.join(deeds)}, how many {items} are left?"


def questions(split: Split, seed: int) -> Iterator[tuple[Expression, str]]:
    """An endless, reproducible stream of `(expression, question)` of one split.

    Example:
        expression, question = next(questions("train", seed=0))
    """
    rng = random.Random(f"arithmetic/{split}/{seed}")
    while True:
        expression = draw_expression(rng)
        question = phrase(expression, rng)
        if expression.split() == split:
            yield expression, question
