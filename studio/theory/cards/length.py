"""What length does to an update, drawn."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.length import (
    SIZES,
    Exact,
    Found,
    KnobsOfLength,
    Paths,
    estimate,
    exact,
    off_gradient,
    verdict,
)
from studio.theory.length_weights import AGGREGATIONS
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH, mean_of

STRIDE = 4
"""Steps between drawn points of a path."""
BINS = 31


def rows(knobs: KnobsOfLength, exact: Exact, found: Found) -> list[Row]:
    """Exact beside sampled."""
    return [
        Row(
            "Share of long wrong answers at the end: expected updates, sampled runs",
            float(exact.path_T[-1]),
            found.path.end,
            kind="approximation",
        ),
        Row(
            "The same of the unbiased update",
            float(exact.unbiased_T[-1]),
            found.unbiased.end,
            kind="approximation",
        ),
        Row("Push of the first update on long against short", exact.push, found.push),
        Row("Expected update: across $\\nabla V$ over along it", round(exact.off, 12)),
        Row("Random problems: wrong answers pushed longer", None, found.longer, "percent"),
        Row("Length of wrong answers, change", None, mean_of(found.wrong_B)),
        Row("Random problems: right answers pushed shorter", None, found.shorter, "percent"),
        Row("Length of right answers, change", None, mean_of(found.right_B)),
        Row("Expected update and $\\nabla V$: cosine", exact.cosine),
    ]


def draw_share(knobs: KnobsOfLength, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Share of the long among the wrong answers."""
    drawn = plots.figure("step", "share of long among wrong answers")
    _ribbon(drawn, found.unbiased, "sampled, unbiased", palette.other)
    _ribbon(drawn, found.path, "sampled", palette.exact)
    steps = range(0, len(exact.path_T), STRIDE)
    plots.line(drawn, steps, exact.unbiased_T[::STRIDE], "unbiased", palette.other, "dash")
    plots.line(drawn, steps, exact.path_T[::STRIDE], "expected updates", palette.exact)
    drawn.update_yaxes(range=[0, 1])
    return drawn


def _ribbon(drawn: go.Figure, path: Paths, name: str, color: str) -> None:
    middle, half = path.mean_T[::STRIDE], HALF_WIDTH * path.se_T[::STRIDE]
    steps = range(0, len(path.mean_T), STRIDE)
    plots.ribbon(drawn, steps, middle, middle - half, middle + half, name, color)
    drawn.data[-1].line.dash = "dot"


def draw_direction(knobs: KnobsOfLength, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """How far off the gradient each aggregation is, for every group size."""
    drawn = plots.figure("group size G", "across ∇V / along ∇V", log_x=True)
    others = {"seq_mean": "dash", "token_mean": "dot", "seq_sum": "dashdot", "dr_grpo": "longdash"}
    for name in AGGREGATIONS:
        off = [off_gradient(name, knobs.baseline, size)[0] for size in SIZES]
        chosen = name == knobs.aggregation
        color = palette.exact if chosen else palette.quiet
        plots.line(drawn, SIZES, off, name, color, "solid" if chosen else others[name])
    drawn.add_scatter(
        x=[knobs.group_size],
        y=[exact.off],
        mode="markers",
        marker={"color": palette.exact, "size": 9},
        showlegend=False,
    )
    drawn.update_xaxes(tickvals=list(SIZES))
    return drawn


def draw_problems(knobs: KnobsOfLength, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Changes of mean lengths on random problems."""
    drawn = plots.figure("change of mean length, against ∇V", "share of random problems")
    both = np.concatenate([found.wrong_B, found.right_B])
    reach = max(float(np.abs(both).max()), 1e-3)
    edges = np.linspace(-reach, reach, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    for changes, name, color in (
        (found.wrong_B, "wrong answers", palette.found),
        (found.right_B, "right answers", palette.good),
    ):
        heights = np.histogram(changes, edges)[0] / len(changes)
        drawn.add_bar(x=middles.tolist(), y=heights.tolist(), name=name, marker_color=color)
    drawn.add_vline(x=0, line={"color": palette.quiet, "dash": "dash"})
    return drawn


CARD = Card(
    key="length",
    knobs=KnobsOfLength,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Long wrong answers",
            "A short and a long wrong answer, and a right one between. The line follows the "
            "expected updates, the bands are means of runs with sampled groups. All first updates "
            "are of one length: only the direction differs.",
            draw_share,
        ),
        Drawing(
            "Direction",
            "The expected update on a toy of 40 completions, split into along and across "
            "$\\nabla V$: 0 only rescales. With the chosen baseline; exact.",
            draw_direction,
        ),
        Drawing(
            "Random problems",
            "How an expected update of length 1 changes the mean length of wrong and of right "
            "answers, against the gradient of $V$: right of 0 is longer.",
            draw_problems,
        ),
    ),
)
