"""Question A1: the gradient of a group, and that of PPO."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.gradient import (
    LAMBDAS,
    MARKED,
    SIZES,
    USUAL,
    Found,
    KnobsOfGradient,
    Law,
    estimate,
    exact,
    verdict,
)

ALONG = "E[ĝ]·∇V / ‖∇V‖²"
SAMPLED = LAMBDAS[list(MARKED)]


def by_size(knobs: KnobsOfGradient, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """The part of the gradient that is in the mean update, for all group sizes."""
    drawn = plots.figure("group size G", ALONG, log_x=True)
    drawn.update_xaxes(tickvals=SIZES, ticktext=[str(size) for size in SIZES])
    known = [(size, ratio) for size, ratio in zip(SIZES, exact.ratio_S, strict=True) if ratio]
    plots.line(drawn, [SIZES[0], SIZES[-1]], [1, 1], "∇V", palette.quiet, "dash")
    plots.line(drawn, [k[0] for k in known], [k[1] for k in known], "law", palette.exact)
    plots.points(drawn, SIZES, found.ratio_S, "sampled", palette.found)
    return drawn


def by_lambda(
    knobs: KnobsOfGradient, exact: Law, found: Found, palette: plots.Palette
) -> go.Figure:
    """The bias of PPO, and that of the group."""
    drawn = plots.figure("λ of GAE", "‖bias‖ / ‖∇V‖")
    plots.line(drawn, LAMBDAS, exact.bias_L, "PPO", palette.exact)
    plots.points(drawn, list(SAMPLED), found.bias_K, "PPO, sampled", palette.found)
    if exact.update_P is not None:
        off = float(np.linalg.norm(exact.update_P - exact.grad_P) / np.linalg.norm(exact.grad_P))
        plots.line(drawn, [0, 1], [off, off], f"group of {knobs.size}", palette.good, "dash")
    return drawn


def noise(knobs: KnobsOfGradient, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """What one completion adds to the variance."""
    drawn = plots.figure("λ of GAE", "tr Var per completion")
    plots.line(drawn, LAMBDAS, exact.ppo_noise_L, "PPO", palette.exact)
    if exact.noise is not None:
        level = [exact.noise, exact.noise]
        plots.line(drawn, [0, 1], level, f"group of {knobs.size}", palette.good, "dash")
    plots.points(drawn, [1.0], [found.noise], "group, sampled", palette.good)
    return drawn


def rows(knobs: KnobsOfGradient, exact: Law, found: Found) -> list[Row]:
    """Exact beside sampled."""
    test = found.to_line if found.to_law is None else found.to_law
    against = "every multiple of $\\nabla V$" if found.to_law is None else "the law"
    return [
        Row(
            "Part of $\\nabla V$ in the mean update",
            exact.ratio(knobs.size),
            found.ratio(knobs.size),
        ),
        Row("Cosine of the mean update and $\\nabla V$", exact.cosine, found.to_line.cosine),
        Row(
            f"$\\chi^2$ of all directions that vary, against {against}: expected, seen",
            test.num_directions,
            test.chi2,
            form="count",
        ),
        Row(
            "PPO's bias over $\\Vert\\nabla V\\Vert$, $\\lambda=0.95$",
            float(exact.bias_L[USUAL]),
            found.bias_K[-2],
        ),
        Row("Noise of the group: $G\\,\\mathrm{tr\\,Var}$", exact.noise, found.noise),
        Row("PPO's noise, $\\lambda=0.95$", float(exact.ppo_noise_L[USUAL])),
        Row("PPO's bias, $\\lambda=0$", float(exact.bias_L[0]), found.bias_K[0]),
        Row("PPO's bias, $\\lambda=1$", float(exact.bias_L[-1]), found.bias_K[-1]),
        Row("Bound on its bias, $\\lambda=0.95$", float(exact.bound_L[USUAL]), kind="bound"),
    ]


CARD = Card(
    key="gradient",
    knobs=KnobsOfGradient,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Group size",
            "How much of the true gradient $\\nabla V$ the mean update holds. Subtracting the "
            "group's mean leaves $\\frac{G-1}{G}$ of it, subtracting that of the others all of it. "
            "The line is the law (z-scores of graded rewards have one only for small groups, from "
            "all groups there are), points are sampled with 95 % bands.",
            by_size,
        ),
        Drawing(
            "Bias of PPO",
            "How far PPO's mean update is from $\\nabla V$ when the critic is wrong: nothing at "
            "$\\lambda=1$, for any critic. Green: the same distance for the group; with the "
            "group's mean it is $\\frac1G$, all of it length and none of it direction.",
            by_lambda,
        ),
        Drawing(
            "Noise",
            "Total variance that one completion brings. A critic without error has less of it than "
            "any leave-one-out group, and a smaller $\\lambda$ less still; turn its error up "
            "beyond 0.15 or 0.2 and a leave-one-out group of 8 is the quieter one. (With the "
            "group's mean the update is shorter, and its noise smaller: compare leave-one-out.)",
            noise,
        ),
    ),
)
