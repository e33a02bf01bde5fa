"""The card of the group's size."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from studio.theory import difficulty
from studio.theory.card import Card, Drawing, Row
from studio.theory.group_size import (
    SIZES,
    Exact,
    Found,
    KnobsOfGroupSize,
    estimate,
    exact,
    verdict,
    weight,
)
from studio.theory.plots import Palette, figure, line, points

CURVE = np.geomspace(2, 40, 120)
"""Sizes that a curve is drawn at: the laws hold between whole numbers too."""


def rows(knobs: KnobsOfGroupSize, exact: Exact, found: Found) -> list[Row]:
    """The laws at the chosen settings."""
    size, at = knobs.group_size, SIZES.index(knobs.group_size)
    one = exact.one
    price = one.price / (one.price + one.within * (size - 1))
    return [
        Row(r"Size of least variance at any budget, $G^\star$", exact.many.best),
        Row("Variance of one group's gradient", one.at(size, size), found.gradient_S[at]),
        Row("Part of it that is paid for not knowing the value", price, form="percent"),
        Row(
            f"Variance of a step's gradient, {knobs.budget // size} × {size} completions",
            exact.many.at(size, knobs.budget),
            found.step_S[at],
        ),
        Row(rf"Weight of a prompt with $p={knobs.p:g}$", exact.weight, found.weight),
        Row("Groups without signal, $P_0$", exact.flat, found.flat, "percent"),
        Row(
            r"Variance of an advantage, $\sigma^2(1-\frac1G)$",
            exact.sigma2 * (1 - 1 / size),
            found.advantage_S[at],
        ),
        Row(
            r"Error of the group mean as a value, $\sigma^2/G$",
            exact.sigma2 / size,
            found.baseline_S[at],
        ),
    ]


def draw_variance(
    knobs: KnobsOfGroupSize, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """One prompt's variance by size, and its two parts."""
    drawn = _by_size("E‖ĝ − ∇V‖², one prompt")
    one = exact.one
    line(drawn, CURVE, [one.at(G, G) for G in CURVE], "law", palette.exact)
    line(drawn, CURVE, one.within / CURVE, "if V were known", palette.quiet, "dash")
    price = one.price / (CURVE * (CURVE - 1))
    line(drawn, CURVE, price, "price of not knowing V", palette.other, "dot")
    points(drawn, SIZES, found.gradient_S, "sampled", palette.found)
    _mark(drawn, knobs.group_size, one.at(knobs.group_size, knobs.group_size), palette)
    return drawn


def draw_budget(knobs: KnobsOfGroupSize, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Variance of a step with a fixed number of completions, and what pulls at it."""
    drawn = _by_size(f"E‖ĝ − ∇V‖² of a step, n = {knobs.budget}", log_y=False)
    many = exact.many
    law = np.array([many.at(G, knobs.budget) for G in CURVE])
    line(drawn, CURVE, law, "law", palette.exact)
    price = many.price / (CURVE - 1) / knobs.budget
    line(drawn, CURVE, price, "price of not knowing V", palette.other, "dot")
    if many.between > 0:
        fewer = CURVE * many.between / knobs.budget
        line(drawn, CURVE, fewer, "fewer prompts", palette.fourth, "dot")
    points(drawn, SIZES, found.step_S, "sampled", palette.found)
    _mark(drawn, knobs.group_size, many.at(knobs.group_size, knobs.budget), palette)
    if math.isfinite(many.best) and many.best <= CURVE[-1]:
        ends = [0.0, float(law.max())]
        name = f"G* = {many.best:.1f}"
        line(drawn, [many.best, many.best], ends, name, palette.quiet, "dash")
    return drawn


def draw_difficulty(
    knobs: KnobsOfGroupSize, exact: Exact, found: Found, palette: Palette
) -> go.Figure:
    """The weight of a prompt by its difficulty, and how often its groups have no signal."""
    drawn = figure("share of right completions p", "weight of ∇p, mean z-scored ĝ", log_y=True)
    p = np.linspace(0.01, 0.99, 99)
    size = knobs.group_size
    law = [weight(size, each, knobs.filtered) for each in p]
    line(drawn, p, law, f"G = {size}", palette.exact)
    if knobs.filtered:
        law = [weight(size, each, False) for each in p]
        line(drawn, p, law, "over all groups", palette.other, "dot")
    limit = [difficulty.weight_limit(each) for each in p]
    line(drawn, p, limit, "G = ∞", palette.quiet, "dash")
    points(drawn, [knobs.p], [found.weight], "sampled", palette.found)
    flat = [difficulty.flat(size, each) for each in p]
    line(drawn, p, flat, "without signal P₀ (right axis)", palette.bad, "dashdot")
    drawn.data[-1].update(yaxis="y2")
    drawn.update_layout(
        yaxis2={
            "title": "share of groups without signal P₀",
            "overlaying": "y",
            "side": "right",
            "range": [0, 1],
            "tickmode": "array",
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "showgrid": False,
        },
    )
    return drawn


def _by_size(y: str, log_y: bool = True) -> go.Figure:
    drawn = figure("group size G", y, log_x=True, log_y=log_y)
    drawn.update_xaxes(tickvals=list(SIZES), ticktext=[str(size) for size in SIZES])
    return drawn


def _mark(drawn: go.Figure, x: float, y: float, palette: Palette) -> None:
    """A ring around the chosen size."""
    ring = {"color": palette.exact, "size": 16, "symbol": "circle-open", "line": {"width": 2}}
    drawn.add_scatter(x=[x], y=[y], mode="markers", marker=ring, name=f"G = {x:g}")


CARD = Card(
    key="group_size",
    knobs=KnobsOfGroupSize,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Fixed budget",
            r"Variance of a step with $n$ completions, for groups of $G$ and $n/G$ prompts. Larger "
            r"groups pay less for not knowing the value, and see fewer prompts: the least is at "
            r"$G^\star=1+\sqrt{\kappa/\tau^2}$.",
            draw_budget,
        ),
        Drawing(
            "One prompt",
            r"Variance of the leave-one-out gradient of one group. It nears that of a method which "
            r"knows $V$: the difference falls as $1/G^2$.",
            draw_variance,
        ),
        Drawing(
            "Difficulty",
            r"With the z-score and rewards of 0 or 1 the mean gradient is $w_G(p)\nabla p$: rare "
            r"successes and rare failures weigh more, the larger the group. At $G=2$ all prompts "
            r"weigh alike. A group has no signal with probability $P_0=p^G+(1-p)^G$.",
            draw_difficulty,
        ),
    ),
)
