"""A card of the Theory page: an experiment, its figures, and its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

from studio.theory.knobs import Knobs
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate, Verdict


@dataclass(frozen=True)
class Row:
    """A line of the table beneath the figure. `label` is Markdown of ours, with formulas."""

    label: str
    exact: float | None = None
    """What was worked out; None where there is no law."""
    found: Estimate | float | None = None
    """What was sampled; a plain number where it is no mean of samples."""
    form: str = "number"
    """As `theory_digits.number` knows them: `number`, `percent` of a share, `count`."""
    kind: Literal["law", "bound", "approximation"] = "law"
    """What `exact` is. Only a law is held against the sample in standard errors; a bound is only
    kept or not, an approximation not judged."""


@dataclass(frozen=True)
class Drawing:
    """One figure of a card. `draw(knobs, exact, found, palette)`."""

    name: str
    """Two or three words, on a button."""
    says: str
    """How to read it: a sentence or two of Markdown."""
    draw: Callable[[Any, Any, Any, Palette], go.Figure]


@dataclass(frozen=True)
class Card:
    """What the page shows of one question. All functions are pure; the page keeps their results by
    knobs and seed."""

    key: str
    """In the address, and the name of its text file."""
    knobs: type[Knobs]
    exact: Callable[[Any], Any]
    """`exact(knobs)`: what can be worked out."""
    estimate: Callable[[Any, int], Any]
    """`estimate(knobs, seed)`: the same by sampling."""
    verdict: Callable[[Any, Any, Any], Verdict]
    """`verdict(knobs, exact, found)`, by a rule that does not look at the outcome first."""
    rows: Callable[[Any, Any, Any], list[Row]]
    """`rows(knobs, exact, found)`: exact beside sampled."""
    drawings: tuple[Drawing, ...]
