"""Results of experiments, kept by what they depend on: nothing is worked out twice."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.deck import CARDS
from studio.theory.knobs import Knobs
from studio.theory.plots import Palette

KEPT = 60
"""Settings of which a result is kept; the largest hold half a megabyte."""


@lru_cache(maxsize=KEPT)
def exact(key: str, knobs: Knobs) -> Any:
    """What a card works out; it depends on no seed."""
    return CARDS[key].exact(knobs)


@lru_cache(maxsize=KEPT)
def found(key: str, knobs: Knobs, seed: int) -> Any:
    """What a card samples."""
    return CARDS[key].estimate(knobs, seed)


@lru_cache(maxsize=KEPT)
def figure(key: str, name: str, knobs: Knobs, seed: int, look: str) -> go.Figure:
    """One of its drawings, in the colours of `light` or `dark`."""
    drawing = next(each for each in CARDS[key].drawings if each.name == name)
    drawn = drawing.draw(knobs, exact(key, knobs), found(key, knobs, seed), Palette.of(look))
    return plots.finished(drawn)
