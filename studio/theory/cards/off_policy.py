"""Importance ratios: six of them, on completions that an older policy sampled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.off_policy import (
    MARKED,
    RATIOS,
    Found,
    KnobsOfOffPolicy,
    Law,
    Sampled,
    estimate,
    exact,
    verdict,
)
from studio.theory.sampled import Estimate

TV = "largest total variation, new to old policy"


def _lines(drawn: go.Figure, law: Law, of: str, chosen: str, palette: plots.Palette) -> None:
    colors = dict(zip(RATIOS, _colors(palette), strict=True))
    for ratio in RATIOS:
        values_D = law.curve(of, ratio)
        kept_D = np.isfinite(values_D)
        dash = "solid" if ratio == chosen else "dot"
        plots.line(drawn, law.tv_D[kept_D], values_D[kept_D], ratio, colors[ratio], dash)


def _colors(palette: plots.Palette) -> tuple[str, ...]:
    return (
        palette.exact,
        palette.bad,
        palette.other,
        palette.good,
        palette.fourth,
        palette.quiet,
    )


def _points(
    drawn: go.Figure,
    law: Law,
    found: Found,
    of: Callable[[Sampled], Estimate],
    palette: plots.Palette,
) -> None:
    step = (len(law.tv_D) - 1) // (len(MARKED) - 1)
    at = [*law.tv_D[::step], law.here.tv]
    values = [of(each) for each in (*found.along, found.here)]
    plots.points(drawn, at, values, "sampled", palette.found)


def error(knobs: KnobsOfOffPolicy, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """How far the mean update is from the gradient."""
    drawn = plots.figure(TV, "‖E[ĝ] − ∇V‖ / ‖∇V‖")
    _lines(drawn, exact, "error", knobs.ratio, palette)
    _points(drawn, exact, found, lambda each: each.error, palette)
    return drawn


def direction(
    knobs: KnobsOfOffPolicy, exact: Law, found: Found, palette: plots.Palette
) -> go.Figure:
    """How far it points elsewhere."""
    drawn = plots.figure(TV, "cos(E[ĝ], ∇V)")
    _lines(drawn, exact, "cosine", knobs.ratio, palette)
    return drawn


def noise(knobs: KnobsOfOffPolicy, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """What one completion brings of noise."""
    drawn = plots.figure(TV, "tr Var / ‖∇V‖², one completion")
    _lines(drawn, exact, "noise", knobs.ratio, palette)
    _points(drawn, exact, found, lambda each: each.noise, palette)
    return drawn


def rows(knobs: KnobsOfOffPolicy, exact: Law, found: Found) -> list[Row]:
    """Exact beside sampled."""
    kind, here = RATIOS.index(knobs.ratio), exact.here
    return [
        Row("Error of the mean update, over $\\Vert\\nabla V\\Vert$", float(here.error_K[kind]),
            found.here.error),
        Row("Part of $\\nabla V$ in it", found.here.exact_part, found.here.part),
        Row("Its cosine with $\\nabla V$", _finite(float(here.cosine_K[kind]))),
        Row("Variance of one completion's update, over $\\Vert\\nabla V\\Vert^2$",
            float(here.noise_K[kind]), found.here.noise),
        Row("Largest total variation after a prefix", here.tv),
        Row("Share of a sample that counts, $1/\\mathbb E\\rho^2$", here.effective,
            form="percent"),
        Row("Largest ratio of a token", here.max_ratio),
        Row("Completions that carry this sample", None, found.here.carried, form="count"),
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


CARD = Card(
    key="off_policy",
    knobs=KnobsOfOffPolicy,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Error",
            "How far each ratio's mean update is from the gradient at the new policy, when the old "
            "one sampled. Only the ratio of whole completions stays at 0; the others' error grows "
            "in proportion to the distance. The clip's is no accident: it takes gradient away on "
            "purpose. Points: the chosen ratio from sampled completions, their mean error "
            "projected on the exact one (where that is 0, on $\\nabla V$): so chance does not "
            "lengthen it, and may bring it below 0.",
            error,
        ),
        Drawing(
            "Direction",
            "The cosine of the mean update with the gradient. A line ends where every token is "
            "clipped and no update is left.",
            direction,
        ),
        Drawing(
            "Noise",
            "What the exact ratio costs: its noise against that of the others. Turn up the tokens "
            "of a completion to see it take off.",
            noise,
        ),
    ),
)
