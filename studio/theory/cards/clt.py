"""The card of the central limit theorem."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import clt, difficulty
from studio.theory.card import Card, Drawing, Row
from studio.theory.clt import SIZES, Exact, Found, KnobsOfClt, estimate, exact, verdict
from studio.theory.plots import Palette, figure, line, points

LAWS = np.unique(np.geomspace(2, SIZES[-1], 40).round().astype(int))
"""Sizes at which the distance to the normal law is drawn."""


def rows(knobs: KnobsOfClt, exact: Exact, found: Found) -> list[Row]:
    """The laws at the chosen size."""
    at, size = SIZES.index(knobs.group_size), knobs.group_size
    return [
        Row(r"Variance of $\hat A_i$", exact.advantage_S[at], found.advantage_S[at]),
        Row(r"Its limit for $G\to\infty$", exact.limit),
        Row(r"Variance of $\bar R$, $\sigma^2/G$", exact.mean_S[at], found.mean_S[at]),
        Row("Groups without signal, $P_0$", exact.flat, found.flat, "percent"),
        Row(r"Greatest distance of $\bar R$'s law to the normal one", exact.distance_S[at]),
        Row("Bound on it (Berry–Esseen)", clt.bound(size, knobs.p), kind="bound"),
        Row(
            "Variance of the gradient along $g$, over its limit law's",
            exact.gradient,
            found.gradient,
        ),
        Row(
            "The normal law's 95 % interval holds the true gradient",
            found=found.covered,
            form="percent",
        ),
    ]


def draw_variances(knobs: KnobsOfClt, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Variance of the advantage beside that of the group mean."""
    drawn = _by_size("variance", SIZES)
    line(drawn, SIZES, exact.advantage_S, "advantage Âᵢ", palette.exact)
    line(drawn, SIZES, exact.mean_S, "group mean R̄", palette.other)
    limit = [exact.limit, exact.limit]
    line(drawn, [SIZES[0], SIZES[-1]], limit, "limit of Âᵢ", palette.quiet, "dash")
    points(drawn, SIZES, found.advantage_S, "Âᵢ sampled", palette.exact)
    points(drawn, SIZES, found.mean_S, "R̄ sampled", palette.other)
    return drawn


def draw_law(knobs: KnobsOfClt, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """Distribution function of the standardised group mean, and the normal one."""
    drawn = figure("√G (R̄ − p) / σ", "share of groups at or below")
    size, p = knobs.group_size, knobs.p
    x_K = clt.standard(np.arange(size + 1), size, p)
    seen_K = np.abs(x_K) <= 5
    below_K = np.cumsum(difficulty.pmf(size, p))[seen_K]
    first = below_K[0] - difficulty.pmf(size, p)[seen_K][0]
    line(
        drawn,
        [min(-5.0, x_K[seen_K][0]), *x_K[seen_K], 5.0],
        [first, *below_K, below_K[-1]],
        f"G = {size}",
        palette.exact,
    )
    drawn.data[-1].line.shape = "hv"
    x = np.linspace(-5, 5, 201)
    line(drawn, x, clt.normal(x), "normal law", palette.quiet, "dash")
    at = clt.standard(clt.atoms(size, p), size, p)
    points(drawn, list(at), found.below_A, "sampled", palette.found)
    return drawn


def draw_distance(knobs: KnobsOfClt, exact: Exact, found: Found, palette: Palette) -> go.Figure:
    """How far the group mean's law is from the normal one, between two bounds."""
    drawn = _by_size("sup |F − Φ|", SIZES)
    sizes = [int(size) for size in LAWS]
    law = [clt.distance(size, knobs.p) for size in sizes]
    line(drawn, sizes, law, "distance", palette.exact)
    above = [clt.bound(size, knobs.p) for size in sizes]
    line(drawn, sizes, above, "Berry–Esseen bound", palette.quiet, "dash")
    below = [clt.least(size, knobs.p) for size in sizes]
    line(drawn, sizes, below, "half the highest jump", palette.quiet, "dot")
    ring = {"color": palette.exact, "size": 16, "symbol": "circle-open", "line": {"width": 2}}
    y = exact.distance_S[SIZES.index(knobs.group_size)]
    name = f"G = {knobs.group_size}"
    drawn.add_scatter(x=[knobs.group_size], y=[y], mode="markers", marker=ring, name=name)
    return drawn


def _by_size(y: str, sizes: tuple[int, ...]) -> go.Figure:
    drawn = figure("group size G", y, log_x=True, log_y=True)
    drawn.update_xaxes(tickvals=list(sizes), ticktext=[str(size) for size in sizes])
    return drawn


CARD = Card(
    key="clt",
    knobs=KnobsOfClt,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Variances",
            r"The variance of the group mean falls as $1/G$; that of an advantage does not: it is "
            r"the reward's own, apart from an error that vanishes.",
            draw_variances,
        ),
        Drawing(
            "Law of the mean",
            r"The central limit theorem: the staircase nears the dashed curve. With rewards of "
            r"0 or 1 it has at most $G+1$ steps, and the first one alone is $(1-p)^G$ high.",
            draw_law,
        ),
        Drawing(
            "Distance",
            r"Greatest difference between staircase and curve. It falls as $1/\sqrt G$, and where "
            r"$p$ is near 0 or 1 it stays large up to hundreds of completions.",
            draw_distance,
        ),
    ),
)
