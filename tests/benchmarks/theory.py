"""How long the Theory page needs for a move of a knob: processor seconds of everything that is
worked out and drawn again, for every value of every knob (the others as they begin).

    python tests/benchmarks/theory.py [CARD …]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace

from studio.theory.card import Card
from studio.theory.deck import CARDS
from studio.theory.knobs import Knobs, knob_of
from studio.theory.plots import Palette

PALETTE = Palette.of("light")


def moves(card: Card) -> Iterator[tuple[str, Knobs, int]]:
    """A word, settings, seed."""
    begin = card.knobs()
    yield "new seed", begin, 1
    for each in fields(begin):
        knob = knob_of(each)
        kind = type(each.default)
        ends = [kind(knob.low), kind((knob.low + knob.high) / 2), kind(knob.high)]
        for value in knob.options or ends:
            yield f"{each.name} = {value}", replace(begin, **{each.name: value}), 0


def seconds(card: Card, knobs: Knobs, seed: int) -> float:
    """Of one move, the most expensive figure shown."""
    begin = time.process_time()
    exact, found = card.exact(knobs), card.estimate(knobs, seed)
    card.verdict(knobs, exact, found)
    card.rows(knobs, exact, found)
    before = time.process_time() - begin
    drawn = []
    for drawing in card.drawings:
        begin = time.process_time()
        drawing.draw(knobs, exact, found, PALETTE).to_json()
        drawn.append(time.process_time() - begin)
    return before + max(drawn)


def main(keys: list[str]) -> None:
    for key in keys or CARDS:
        card = CARDS[key]
        measured = [(seconds(card, knobs, seed), word) for word, knobs, seed in moves(card)]
        usual = sorted(spent for spent, _ in measured)[len(measured) // 2]
        worst, word = max(measured[1:])
        print(f"{key:18s} first {measured[0][0]:.2f} s, median {usual:.2f} s, "
              f"longest {worst:.2f} s ({word})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
