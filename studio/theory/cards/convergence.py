"""The card of `convergence`: three theorems, each bound beside what happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.anchored import EVERY, FLOOR
from studio.theory.ascent import NUM_EXACT
from studio.theory.card import Card, Drawing, Row
from studio.theory.convergence import (
    NUM_SAMPLED,
    Exact,
    Found,
    KnobsOfConvergence,
    estimate,
    exact,
    verdict,
)
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import Floats


def rows(knobs: KnobsOfConvergence, exact: Exact, found: Found) -> list[Row]:
    """Bounds in the first column where the label says so."""
    at, ascent, held = exact.setting, exact.ascent, exact.anchored
    training, allowed = found.training, knobs.step <= 1
    best = float(at.best_theorem_1(knobs.group_size, NUM_SAMPLED))
    mean = rf"Mean of $\Vert\nabla V\Vert^2$ over {NUM_SAMPLED} sampled updates"
    gap = rf"$V^\star-V$ after {NUM_EXACT:,} exact updates"
    theorems = (
        [
            Row(
                f"{mean}: bound of Theorem 1",
                float(exact.bound_L[-1]),
                training.mean_square_L[-1],
                kind="bound",
            ),
            Row(f"{gap}: bound of Theorem 2", float(ascent.path_bound_L[-1]), kind="bound"),
            Row(
                "With KL, factor of the gap per update: bound of Theorem 3",
                held.factor_bound,
                kind="bound",
            ),
        ]
        if allowed
        else [Row(mean, None, training.mean_square_L[-1])]
    )
    return [
        *theorems,
        Row(gap, float(ascent.gap_L[-1])),
        Row("With KL, factor of the gap per update", held.factor),
        Row(r"What no policy exceeds in $\Vert\nabla V\Vert^2$: $\mathrm{span}^2/8$", at.ceiling),
        Row(rf"$V^\star-V$ after {NUM_SAMPLED} sampled updates", found=training.gap_L[-1]),
        Row(f"{mean}: Theorem 1 at its best step size", best, kind="bound"),
        Row(r"Smallest $\pi(o^\star)$ on the way", ascent.rarest),
        Row(
            r"Smallest $\sqrt T\,\Vert\nabla V\Vert/[\pi(o^\star)(V^\star-V)]$, at least 1",
            ascent.domination,
        ),
        Row("Gap after the sampled updates, KL in the reward", found=found.taxed[-1]),
        Row("Gap after the sampled updates, KL in the loss", found=found.in_loss[-1]),
    ]


def path_bound(exact: Exact, found: Found) -> Floats:
    """Theorem 1 with the sampled mean of E ||score||^2 in the place of T."""
    at = exact.setting
    fisher_L = np.array([each.value for each in found.training.fisher_L])
    first_L = exact.bound_L - exact.noise_term
    return np.asarray(first_L + exact.noise_term * fisher_L / at.model.T)


def draw_gap(knobs: KnobsOfConvergence, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Distance to the best answer by updates."""
    drawn = plots.figure("updates k", "V* − V, gap to the best answer", log_x=True, log_y=True)
    ascent, training = exact.ascent, found.training
    if knobs.step <= 1:
        worst = np.minimum(ascent.worst_bound_L, exact.setting.span)
        plots.line(drawn, ascent.num_L, worst, "Theorem 2, smallest π(o*)", palette.quiet, "dot")
        bound = ascent.path_bound_L
        plots.line(drawn, ascent.num_L, bound, "Theorem 2", palette.quiet, "dash")
    plots.line(drawn, ascent.num_L, ascent.gap_L, "exact updates", palette.exact)
    _ribbon(drawn, training.num_L, training.gap_L, "sampled", palette.found)
    return drawn


def draw_gradient(
    knobs: KnobsOfConvergence, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """The running mean of the squared gradient, and what Theorem 1 allows."""
    drawn = plots.figure("updates K", "mean of ‖∇V‖² over them", log_x=True, log_y=True)
    training = found.training
    ends = [1, NUM_SAMPLED]
    plots.line(drawn, ends, [exact.setting.ceiling] * 2, "span²/8", palette.bad, "dot")
    if knobs.step <= 1:
        plots.line(drawn, training.num_L, exact.bound_L, "Theorem 1", palette.quiet, "dash")
        path_L = path_bound(exact, found)
        plots.line(drawn, training.num_L, path_L, "with E‖s‖²", palette.quiet, "dot")
    seen = exact.ascent.num_L <= NUM_SAMPLED
    squares = exact.ascent.mean_square_L[seen]
    plots.line(drawn, exact.ascent.num_L[seen], squares, "exact updates", palette.exact)
    _ribbon(drawn, training.num_L, training.mean_square_L, "sampled", palette.found)
    return drawn


def draw_anchored(
    knobs: KnobsOfConvergence, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """The gap of the regularised objective: a straight line is a linear rate."""
    drawn = plots.figure("updates k", "J* − J, gap with the KL", log_y=True)
    held = exact.anchored
    if knobs.step <= 1:
        _above_rounding(drawn, held.bound_K, "Theorem 3", palette.quiet, "dash")
    _above_rounding(drawn, held.gap_K, "exact updates", palette.exact)
    for gaps, name, color in (
        (found.taxed, "KL in the reward", palette.found),
        (found.in_loss, "KL in the loss", palette.other),
    ):
        num = _until_rounding(np.array([each.value for each in gaps]))
        _ribbon(drawn, EVERY * np.arange(num), gaps[:num], name, color)
    return drawn


def _above_rounding(
    drawn: go.Figure, values_K: Floats, name: str, color: str, dash: str = "solid"
) -> None:
    num = _until_rounding(values_K)
    plots.line(drawn, EVERY * np.arange(num), values_K[:num], name, color, dash)


def _until_rounding(values_K: Floats) -> int:
    below = np.flatnonzero(values_K <= FLOOR)
    return int(below[0]) if len(below) else len(values_K)


def _ribbon(
    drawn: go.Figure, x: Sequence[float] | np.ndarray, found: list[Estimate], name: str, color: str
) -> None:
    """With its lower edge kept above 0: the axis is logarithmic."""
    middle = np.array([each.value for each in found])
    low, high = np.array([each.band for each in found]).T
    plots.ribbon(drawn, x, middle, np.maximum(low, middle / 10), high, name, color)


CARD = Card(
    key="convergence",
    knobs=KnobsOfConvergence,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Gap",
            r"Distance to the best answer by updates. Exact expected updates stay below Theorem 2"
            r" with $\pi(o^\star)$ at every update (dashed); with its smallest value alone (dotted,"
            r" cut off at the span) the bound is true and useless. Sampled: mean of 32 runs, 95 %.",
            draw_gap,
        ),
        Drawing(
            "Gradient",
            r"Mean of $\Vert\nabla V\Vert^2$ over the updates so far. Theorem 1 (dashed) says"
            r" something only below $\mathrm{span}^2/8$, which no policy exceeds. Dotted: the same"
            r" theorem with the $\mathbb E\Vert s\Vert^2$ that was there in the place of $T$.",
            draw_gradient,
        ),
        Drawing(
            "With KL",
            r"One softmax over five answers, started at the reference: distance to the maximiser of"
            r" $V-\beta\,\mathrm{KL}$; a straight line is a linear rate. Sampled with the KL in the"
            r" reward the noise dies out with the distance; in the loss it leaves a floor.",
            draw_anchored,
        ),
    ),
)
