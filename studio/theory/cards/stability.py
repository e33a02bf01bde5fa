"""The card of `stability`: surrogate against its bound, ratios of one batch, locked runs."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.locking import MARKS, STEP_SIZES, STEPS
from studio.theory.plots import Palette
from studio.theory.sampled import mean_of
from studio.theory.stability import (
    Batches,
    Exact,
    Found,
    KnobsOfStability,
    Steps,
    estimate,
    exact,
    verdict,
)
from studio.theory.toy import Floats

WIDEST = 100.0
"""Ratios beyond, and below 1 over it, are counted in the last bin on their side."""


def rows(knobs: KnobsOfStability, exact: Exact, found: Found) -> list[Row]:
    """Bounds and what came near them; then what no theorem bounds."""
    clipped, free = found.clipped, found.free
    ratio, taken = clipped.ratio_SM, (exact.steps, clipped.steps, free.steps)
    worst = max(float((each.gap / each.bound).max()) for each in taken)
    return [
        Row("Tokens outside the clip", found=clipped.outside(knobs.clip), form="percent"),
        Row("The same without a clip", found=free.outside(knobs.clip), form="percent"),
        Row(
            r"Surrogate's largest gap over $T(T-1)\,\delta^2\,\mathrm{span}(R)$: bound 1",
            1.0,
            worst,
            kind="bound",
        ),
        *_locked_rows(knobs, found),
        Row("Largest ratio, up or down", found=float(np.maximum(ratio, 1 / ratio).max())),
        Row(
            r"Largest advantage over $\mathrm{span}(R)$",
            exact.largest_advantage,
            clipped.largest_advantage,
            kind="bound",
        ),
        Row(
            r"Largest $\delta$ after the first update",
            exact.first_delta,
            clipped.first_delta,
            kind="bound",
        ),
        Row(
            r"Largest $\Vert\nabla^2V\Vert/\mathrm{span}(R)$ of ten policies",
            0.5,
            exact.curvature,
            kind="bound",
        ),
        Row(
            rf"$\delta$ after all epochs ($\epsilon/2={knobs.clip / 2:.3g}$ would bound it if the "
            "clip bounded every ratio)",
            found=mean_of(clipped.steps.delta),
        ),
    ]


def _locked_rows(knobs: KnobsOfStability, found: Found) -> list[Row]:
    """Share locked at the chosen step size: by baseline, and over time."""
    at = STEP_SIZES.index(knobs.step_size)
    drawn = []
    for name, shares, later in zip(
        ("group mean", "no baseline"), found.lock_in, found.later, strict=True
    ):
        by_steps = {STEPS: shares[at], **dict(zip(MARKS, later, strict=True))}
        for steps in sorted(by_steps):
            label = f"Locked in after {steps:,} updates, {name}"
            drawn.append(Row(label, found=by_steps[steps], form="percent"))
    return drawn


def draw_surrogate(
    knobs: KnobsOfStability, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Gap by distance, with the bound."""
    drawn = plots.figure("δ, largest total variation", "gap / span(R)", log_x=True, log_y=True)
    ends = np.array([exact.direction.delta.min(), 1.0])
    plots.line(drawn, ends, 6 * ends**2, "bound 6 δ²", palette.quiet, "dash")
    plots.line(drawn, exact.direction.delta, exact.direction.gap, "one way", palette.exact)
    _dots(drawn, exact.steps, "random steps", palette.exact, "circle-open")
    _dots(drawn, found.clipped.steps, "batches, clip", palette.found, "circle")
    _dots(drawn, found.free.steps, "batches, no clip", palette.bad, "diamond")
    return drawn


def _dots(drawn: go.Figure, steps: Steps, name: str, color: str, symbol: str) -> None:
    seen = (steps.delta > 0) & (steps.gap > 0)
    drawn.add_scatter(
        x=list(steps.delta[seen]),
        y=list(steps.gap[seen]),
        name=name,
        mode="markers",
        marker={"color": color, "size": 6, "symbol": symbol},
    )


def draw_ratios(knobs: KnobsOfStability, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """How the ratios of one batch are spread after its last epoch."""
    drawn = plots.figure("ratio π / π_old", "share of tokens", log_x=True)
    both = np.concatenate((found.clipped.ratio_SM, found.free.ratio_SM))
    far = np.abs(np.log(np.clip(both, 1 / WIDEST, WIDEST))).max()
    edges = np.linspace(-far, far, 62)
    _outline(drawn, found.free, edges, "no clip", palette.bad)
    _outline(drawn, found.clipped, edges, f"clip {knobs.clip:g}", palette.found)
    for edge in (1 - knobs.clip, 1 + knobs.clip):
        drawn.add_vline(x=edge, line={"color": palette.quiet, "dash": "dash", "width": 1.5})
    return drawn


def _outline(drawn: go.Figure, batches: Batches, edges: Floats, name: str, color: str) -> None:
    inside = np.log(np.clip(batches.ratio_SM, 1 / WIDEST, WIDEST)).clip(edges[0], edges[-1])
    counts, _ = np.histogram(inside, edges)
    middles = np.exp((edges[1:] + edges[:-1]) / 2)
    plots.line(drawn, middles, counts / counts.sum(), name, color)


def draw_lock_in(
    knobs: KnobsOfStability, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Share of locked runs by step size."""
    drawn = plots.figure("step size η", f"share locked in after {STEPS} updates", log_x=True)
    drawn.update_xaxes(tickvals=list(STEP_SIZES))
    drawn.update_yaxes(tickformat=".0%", range=[-0.02, 0.8])
    plots.points(drawn, STEP_SIZES, found.lock_in[0], "group mean", palette.found)
    plots.points(drawn, STEP_SIZES, found.lock_in[1], "no baseline", palette.bad)
    for trace in drawn.data:
        trace.mode = "lines+markers"
    drawn.add_vline(x=knobs.step_size, line={"color": palette.quiet, "dash": "dash", "width": 1.5})
    return drawn


CARD = Card(
    key="stability",
    knobs=KnobsOfStability,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Surrogate",
            r"How far the surrogate is from the true change of $V$, by the distance $\delta$ of the"
            r" two policies; all of it is worked out exactly. No point may lie above the dashed"
            r" line. Open circles: 200 random steps. Filled: where the sampled batches end after"
            r" all epochs, with the clip and without.",
            draw_surrogate,
        ),
        Drawing(
            "Ratios",
            "Ratios of the sampled tokens after the last epoch on one batch, over eight batches. "
            "Dashed: the clip. It stops pushing a token that is outside on its own account; other "
            "tokens of the same prefix, and the size of a step, still carry it further.",
            draw_ratios,
        ),
        Drawing(
            "Lock-in",
            "Share of 200 runs that end with more than 90 % on a wrong answer (four answers paying "
            "1, 0.9, 0.5 and 0). Bands are 95 %; where no run is locked the share is below 1.5 %. "
            "Dashed: the step size chosen.",
            draw_lock_in,
        ),
    ),
)
