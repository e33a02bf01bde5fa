"""The card of `studio.theory.entropy_gradient`."""

from __future__ import annotations

import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.entropy_gradient import (
    Exact,
    Found,
    KnobsOfEntropyGradient,
    estimate,
    exact,
    verdict,
)
from studio.theory.entropy_steps import (
    EVERY,
    GRID,
    MARKS,
    NUM_ACTIONS,
    NUM_STEPS,
    SIGNS,
    after_step,
    law,
)
from studio.theory.plots import Palette

SIGN_NAMES = {1: "+αH", 0: "no entropy term", -1: "−αH"}
FREQUENT, RARE = 0.9, 0.05


def rows(knobs: KnobsOfEntropyGradient, worked: Exact, found: Found) -> list[Row]:
    """Exact beside sampled."""
    parts = worked.parts
    table = [Row(r"Projection of the chosen estimate on $\nabla H$", 1.0, found.agreement.ratio)]
    for sign, path, end in zip(SIGNS, worked.paths, found.ends, strict=True):
        name = {1: r"$+\alpha H$", 0: "no entropy term", -1: r"$-\alpha H$"}[sign]
        label = f"$H$ after {NUM_STEPS} steps, {name}; exact along the expected step"
        table.append(Row(label, float(path[-1]), end, kind="approximation"))
    table += [
        Row(
            r"Later tokens' part of $\nabla H$: its projection on $\nabla H$",
            float(parts.future_shares_T.sum()),
            form="percent",
        ),
        Row(
            r"The same: its length over that of $\nabla H$, for it points elsewhere, too",
            parts.token_error,
            form="percent",
        ),
        Row(r"Cosine of the per-token part with $\nabla H$", parts.token_cosine),
        Row(r"$H$ of $\mathrm{softmax}(R/\alpha)$, where $+\alpha H$ ends", worked.limit),
    ]
    for p, name in ((FREQUENT, "frequent"), (RARE, "rare")):
        label = f"Change of $H$ by rewarding a {name} action ($\\pi={p:g}$), first order"
        found_at = found.changes[MARKS.index(p)]
        table.append(Row(label, law(p, knobs.eta), found_at, kind="approximation"))
    return table


def draw_paths(
    knobs: KnobsOfEntropyGradient, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Entropy against steps, with, without and against the entropy term."""
    drawn = plots.figure("step k", "entropy H (nats)")
    colors = {1: palette.good, 0: palette.found, -1: palette.bad}
    steps = list(range(0, NUM_STEPS + 1, EVERY))
    for sign, path in zip(SIGNS, found.paths, strict=True):
        low, high = zip(*(each.band for each in path), strict=True)
        middle = [each.value for each in path]
        plots.ribbon(drawn, steps, middle, low, high, SIGN_NAMES[sign], colors[sign])
    for path_S in worked.paths:
        plots.line(drawn, steps, path_S[::EVERY], "expected step", palette.exact, "dot")
    for trace in drawn.data[-2:]:
        trace.showlegend = False  # three curves, one meaning
    ends = [0, NUM_STEPS]
    plots.line(drawn, ends, [worked.limit] * 2, "softmax(R/α)", palette.quiet, "dash")
    return drawn


def draw_parts(
    knobs: KnobsOfEntropyGradient, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Shares of the gradient by position of the token, and what the estimator finds of them."""
    drawn = plots.figure("position of the token t", "share of ∇H")
    positions = list(range(1, len(found.shares) + 1))
    parts = worked.parts
    drawn.add_bar(
        x=positions, y=parts.token_shares_T.tolist(), name="own entropy", marker_color=palette.exact
    )
    drawn.add_bar(
        x=positions,
        y=parts.future_shares_T.tolist(),
        name="entropy of later tokens",
        marker_color=palette.other,
    )
    drawn.update_layout(barmode="relative")
    drawn.update_xaxes(dtick=1)
    plots.points(drawn, positions, found.shares, f"sampled: {knobs.estimator}", palette.found)
    return drawn


def draw_step(
    knobs: KnobsOfEntropyGradient, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Change of entropy by one step against the probability of the rewarded action."""
    drawn = plots.figure("π of the rewarded action", "change of H (nats)", log_x=True)
    first_order = [law(p, knobs.eta) for p in GRID]
    plots.line(drawn, GRID, first_order, "−Cov(log π, step)", palette.exact)
    whole = [after_step(p, knobs.eta) for p in GRID]
    plots.line(drawn, GRID, whole, "expected step", palette.other, "dot")
    plots.points(drawn, MARKS, found.changes, "sampled groups", palette.found)
    ends = [min(first_order + whole), max(first_order + whole)]
    plots.line(drawn, [1 / NUM_ACTIONS] * 2, ends, "uniform, π = 1/6", palette.quiet, "dash")
    return drawn


CARD = Card(
    key="entropy_gradient",
    knobs=KnobsOfEntropyGradient,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "With and against",
            "Entropy of six actions while GRPO learns from groups of 8 (48 runs each, 95 % bands), "
            r"with $+\alpha H$, without and with $-\alpha H$ in what is maximised. Dotted: steps "
            "along the expected gradient. The minus sign that many texts print ends with the "
            "*least* exploration.",
            draw_paths,
        ),
        Drawing(
            "Two parts",
            r"How much of $\nabla H$ belongs to the tokens at each position. A usual entropy bonus "
            "holds only the first part; what a token does to the entropy of those after it is the "
            "second, and the last token has none. Points: what the chosen estimator finds.",
            draw_parts,
        ),
        Drawing(
            "One step",
            "What one step does to $H$ when a single one of six actions is right. Left of the "
            "dashed line, rewarding a rare action raises $H$, by hardly anything; right of it, "
            "rewarding what is already likely lowers it.",
            draw_step,
        ),
    ),
)
