"""The race of GRPO and PPO, drawn."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.plots import Palette
from studio.theory.race import (
    NUM_SEEDS,
    Curve,
    Exact,
    Found,
    KnobsOfRace,
    curve_of,
    estimate,
    exact,
    verdict,
)
from studio.theory.race_score import areas
from studio.theory.sampled import mean_of

SIZES = np.linspace(0.0, 2.0, 41)
"""Sizes of the critic over that of the actor that are drawn."""


def rows(knobs: KnobsOfRace, exact: Exact, found: Found) -> list[Row]:
    """Exact beside sampled."""
    by_compute = areas(found.critic_at(knobs.rho))
    compute = [
        Row("GRPO − PPO, seed by seed, by compute", None, found.lead(knobs.rho)),
        Row("Mean of $V/V^\\star$, PPO, by compute", None, mean_of(by_compute)),
    ]
    if knobs.rho == 0:
        compute = []  # it is by iterations
    return [
        *compute[:1],
        Row("GRPO − PPO, seed by seed, by iterations", None, found.lead()),
        Row("Mean of $V/V^\\star$, GRPO", None, mean_of(areas(found.group_SE))),
        *compute[1:],
        Row("Mean of $V/V^\\star$, PPO, by iterations", None, mean_of(areas(found.critic_SE))),
        Row(
            "Bias of PPO's expected first update, over $\\Vert\\nabla V\\Vert$",
            round(exact.bias, 12),  # rounding errors are no bias
        ),
        Row("Compute of an iteration of GRPO (forwards of the actor)", exact.group_cost),
        Row("Compute of an iteration of PPO", exact.critic_cost),
    ]


def _axis(knobs: KnobsOfRace) -> str:
    return f"compute, in iterations of GRPO (ρ = {knobs.rho:g})" if knobs.rho else "iterations"


def draw_curves(knobs: KnobsOfRace, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """V / V* of both."""
    drawn = plots.figure(_axis(knobs), f"V / V*, mean of {NUM_SEEDS} seeds")
    _band(drawn, found, curve_of(found.group_SE), "GRPO", palette.found)
    _band(drawn, found, curve_of(found.critic_at(knobs.rho)), "PPO", palette.good)
    if knobs.rho:
        middle = curve_of(found.critic_SE).mean
        plots.line(drawn, found.iteration_E, middle, "PPO by iterations", palette.quiet, "dash")
    return drawn


def draw_lead(knobs: KnobsOfRace, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """GRPO minus PPO along the race."""
    drawn = plots.figure(_axis(knobs), "V / V* of GRPO minus that of PPO")
    by_iterations = curve_of(found.group_SE - found.critic_SE)
    if knobs.rho:
        by_compute = curve_of(found.group_SE - found.critic_at(knobs.rho))
        _band(drawn, found, by_compute, "by compute", palette.found)
    _band(drawn, found, by_iterations, "by iterations", palette.other)
    ends = [found.iteration_E[0], found.iteration_E[-1]]
    plots.line(drawn, ends, [0, 0], "equal", palette.quiet, "dash")
    return drawn


def draw_size(knobs: KnobsOfRace, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """The difference of the areas for every size of the critic."""
    drawn = plots.figure("ρ, size of the critic over that of the actor", "GRPO − PPO, mean V / V*")
    leads = [found.lead(float(rho)) for rho in SIZES]
    low, high = zip(*(each.band for each in leads), strict=True)
    middle = [each.value for each in leads]
    plots.ribbon(drawn, SIZES, middle, low, high, "GRPO − PPO", palette.found)
    plots.line(drawn, [SIZES[0], SIZES[-1]], [0, 0], "equal", palette.quiet, "dash")
    plots.points(drawn, [knobs.rho], [found.lead(knobs.rho)], "chosen ρ", palette.other)
    return drawn


def _band(drawn: go.Figure, found: Found, curve: Curve, name: str, color: str) -> None:
    plots.ribbon(drawn, found.iteration_E, curve.mean, curve.low, curve.high, name, color)


CARD = Card(
    key="race",
    knobs=KnobsOfRace,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Curves",
            "Mean of $V/V^\\star$ over the seeds with a 95 % band; each $V$ is worked out, not "
            "sampled. With $\\rho > 0$ PPO is drawn where GRPO has used the same compute.",
            draw_curves,
        ),
        Drawing(
            "Difference",
            "Seed by seed: both sides have the same prompts and the same chance, so this band is "
            "narrower than those of the two curves. Above 0 GRPO is ahead.",
            draw_lead,
        ),
        Drawing(
            "Size of the critic",
            "The difference of the areas against $\\rho$. Where the band leaves 0 upwards, a "
            "critic of that size costs more than it brings.",
            draw_size,
        ),
    ),
)
