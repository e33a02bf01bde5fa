"""Question C3: policy invariance."""

from __future__ import annotations

import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.invariance import (
    ROUNDING,
    SHARES,
    SIZES,
    Found,
    KnobsOfInvariance,
    Law,
    Runs,
    estimate,
    exact,
    verdict,
)

KINDS = {
    "shift": "R + c",
    "scale": "a R",
    "potential": "Φ on the return",
    "steps": "Φ per token",
    "penalty": "−0.1 per token",
}
FLOOR = -12
"""Power of ten at which the logarithmic axis begins."""


def kept(knobs: KnobsOfInvariance, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """What each change of the rewards does to the mean update."""
    drawn = plots.figure("change of the rewards", "relative change of E[ĝ]", log_y=True)
    names = list(KINDS.values())
    pairs = [exact.changes[kind] for kind in KINDS]
    for i, (name, color) in enumerate((("R − mean", palette.exact), ("z-score", palette.bad))):
        shown = [pair[i] if pair[i] > ROUNDING else 10.0**FLOOR for pair in pairs]
        plots.bars(drawn, names, shown, name, color)
        drawn.data[-1].update(
            text=["" if pair[i] > ROUNDING else "unchanged" for pair in pairs],
            textposition="outside",
            textangle=-90,
        )
    drawn.add_scatter(
        x=names,
        y=[ROUNDING] * len(names),
        name="rounding",
        mode="lines",
        line={"color": palette.quiet, "width": 2, "dash": "dash"},
    )
    drawn.update_yaxes(range=[FLOOR, 2], dtick=3, exponentformat="power")
    return drawn


def forces(knobs: KnobsOfInvariance, exact: Law, found: Found, palette: plots.Palette) -> go.Figure:
    """Where the z-score pushes."""
    drawn = plots.figure("group size G", "force on the worse arm, E[ĝ] of its logit", log_x=True)
    drawn.update_xaxes(tickvals=SIZES, ticktext=[str(size) for size in SIZES])
    plots.line(drawn, [SIZES[0], SIZES[-1]], [0, 0], "no force", palette.quiet, "dash")
    colors = (palette.other, palette.exact, palette.good)
    for x, (share, color) in enumerate(zip(SHARES, colors, strict=True)):
        plots.line(drawn, SIZES, exact.force_XS[x], f"π(A) = {share}", color)
        plots.points(drawn, SIZES, found.force_XS[x], "sampled", color)
        drawn.data[-1].showlegend = x == 0
    return drawn


def learned(
    knobs: KnobsOfInvariance, exact: Law, found: Found, palette: plots.Palette
) -> go.Figure:
    """Which arm is learned."""
    drawn = plots.figure("step", "π(B), the better arm")
    for runs, name, color in (
        (found.mean, "R − mean", palette.good),
        (found.zscore, "z-score", palette.found),
    ):
        _ribbon(drawn, runs, name, color)
    drawn.update_yaxes(range=[-0.02, 1.02])
    return drawn


def _ribbon(drawn: go.Figure, runs: Runs, name: str, color: str) -> None:
    low, high = runs.mean - runs.half_width, runs.mean + runs.half_width
    plots.ribbon(drawn, runs.steps, runs.mean, low, high, name, color)


def rows(knobs: KnobsOfInvariance, exact: Law, found: Found) -> list[Row]:
    """Exact beside sampled."""
    scale_free = knobs.delta == 0 or knobs.scale == 1
    potential, steps = exact.changes["potential"], exact.changes["steps"]
    return [
        Row(
            "Force on the worse arm at $\\pi(A)=\\frac12$: z-score",
            exact.force(knobs.size),
            found.force(knobs.size),
        ),
        Row("The same: $R-\\bar R$", exact.true_force),
        Row("Reward learned (A 1, B 3): z-score", None, found.zscore.reward),
        Row("The same: $R-\\bar R$", None, found.mean.reward),
        Row("Change of an advantage by $R+c$: z-score", 0.0, _beyond(found.by_shift["zscore"])),
        Row("The same: no baseline", None, found.by_shift["none"]),
        Row("The same: $R-\\bar R$", 0.0, _beyond(found.by_shift["mean"])),
        Row(
            "Change of an advantage by $aR$: z-score",
            0.0 if scale_free else None,
            _beyond(found.by_scale["zscore"]),
        ),
        Row("Change of the mean update by $\\Phi$: $R-\\bar R$", _beyond(potential[0])),
        Row("The same: z-score", _beyond(potential[1])),
        Row("By $\\Phi$ on each token: $R-\\bar R$", _beyond(steps[0])),
        Row("The same: steps z-scored", _beyond(steps[1])),
        Row("Of 50 problems, other optimum by −0.1 a token", exact.moved_optima, form="count"),
    ]


def _beyond(change: float) -> float:
    """0 where it is rounding."""
    return change if change > ROUNDING else 0.0


CARD = Card(
    key="invariance",
    knobs=KnobsOfInvariance,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Noisy rewards",
            "Arm A pays 1 surely, arm B pays 10 with probability 0.3, so B is worth three times as "
            "much. Above the dashed line the z-score pushes towards A, the worse one; the true "
            "gradient is below it everywhere. Lines are sums over all groups there are.",
            forces,
        ),
        Drawing(
            "Learned",
            "The same two arms, learned: mean of 64 runs from one half each, with 95 % bands, one "
            "group a step. A small scale slows down $R-\\bar R$, not the z-score.",
            learned,
        ),
        Drawing(
            "Kept or broken",
            "How much each change of the rewards changes the mean update of a toy (logarithmic). "
            "Below the dashed line it is rounding, which is not drawn: kept. $\\Phi$ is a "
            "potential on prefixes with the $\\gamma$ above; *per token* gives its parts "
            "out token by token, where the z-score is that of all steps of the group.",
            kept,
        ),
    ),
)
