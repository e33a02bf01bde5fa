"""A KL to a reference: where each form points, how noisy its values are, where learning rests."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import kl_fixed, plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.kl import (
    ExactOfKl,
    FoundOfKl,
    KnobsOfKl,
    estimate,
    exact,
    total_variation,
    verdict,
)
from studio.theory.kl_forms import FORMS, values
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH

NAMES = ("k1", "k2", "k3")
ANSWERS = tuple("ABCDE")


def rows(knobs: KnobsOfKl, exact: ExactOfKl, found: FoundOfKl) -> list[Row]:
    """The chosen form, the values, and the end of learning."""
    rewards_A = kl_fixed.REWARDS
    value = sum(each.value * r for each, r in zip(found.learned, rewards_A, strict=True))
    whole = r"$\nabla\mathrm{KL}(\pi\Vert\pi_{ref})$"
    apart = total_variation(exact.rest, exact.wanted)
    along, sampled_along = exact.plane[knobs.form][0], found.plane[knobs.form][0]
    return [
        Row(f"Along {whole} of whole completions, which is 1", along, sampled_along),
        Row(f"Distance from {whole} of whole completions", exact.off_whole, form="percent"),
        Row(f"Distance from {whole} of the next token", exact.off_reverse, form="percent"),
        Row(
            r"Distance from $\nabla\mathrm{KL}(\pi_{ref}\Vert\pi)$ of the next token",
            exact.off_forward,
            form="percent",
        ),
        Row("Total variation between where it rests and wanted", apart),
        Row("Variance (trace) of one completion's gradient", exact.trace, found.trace),
        *(
            Row(f"Standard deviation of {name}, one token out of 16", float(sd), sampled)
            for name, sd, sampled in zip(NAMES, exact.sds, found.sds, strict=True)
        ),
        Row("Force on the best answer, halfway to the wanted policy", exact.force, found.force),
        Row(
            "Value where learning rests; sampled: after 400 updates",
            float(exact.rest @ rewards_A),
            value,
            kind="approximation",
        ),
        Row("Value where it was wanted", float(exact.wanted @ rewards_A)),
    ]


SYMBOLS = ("circle", "triangle-up", "diamond", "triangle-down", "star", "cross")
"""Of the six forms; the two triangles lie on each other on fresh samples."""


def directions(knobs: KnobsOfKl, exact: ExactOfKl, found: FoundOfKl, palette: Palette) -> go.Figure:
    """Each form's expected gradient, as a line to its mark."""
    drawn = plots.figure("along ∇KL(π‖π_ref) of completions", "beside it, along ∇KL(π_ref‖π)")
    p = palette
    colors = (p.other, p.good, p.bad, p.fourth, p.exact, p.found)
    for form, color, symbol in zip(FORMS, colors, SYMBOLS, strict=True):
        x, y = exact.plane[form]
        width = 4 if form == knobs.form else 1.5
        sampled_x, sampled_y = found.plane[form]
        drawn.add_scatter(
            x=[0.0, x], y=[0.0, y], name=form, mode="lines+markers", legendgroup=form,
            line={"color": color, "width": width},
            marker={"size": [0, 11], "symbol": symbol, "color": color},
        )  # fmt: skip
        plots.points(drawn, [sampled_x.value], [sampled_y], f"{form}, sampled", color)
        drawn.data[-1].update(
            error_x={"type": "data", "array": [HALF_WIDTH * sampled_x.se], "thickness": 1.5},
            marker={"size": 4, "symbol": symbol},
            legendgroup=form,
            showlegend=False,
        )
    aims = (
        ("completion", "circle-open", (1.0, 0.0)),
        ("next token", "square-open", exact.reverse),
        ("other direction", "x-open", exact.forward),
    )
    for name, symbol, (x, y) in aims:
        drawn.add_scatter(
            x=[x], y=[y], name=name, mode="markers",
            marker={"color": palette.quiet, "size": 18, "symbol": symbol, "line": {"width": 2}},
        )  # fmt: skip
    # by what is exact: a wide band of a noisy form would else set the scale
    ends = np.array([(0.0, 0.0), *exact.plane.values(), *(at for _, _, at in aims)])
    low, high = ends.min(0), ends.max(0)
    pad = 0.12 * (high - low)
    drawn.update_xaxes(range=[float(low[0] - pad[0]), float(high[0] + pad[0])])
    drawn.update_yaxes(range=[float(low[1] - pad[1]), float(high[1] + pad[1])])
    return drawn


def noise(knobs: KnobsOfKl, exact: ExactOfKl, found: FoundOfKl, palette: Palette) -> go.Figure:
    """Standard deviation of the three values against the KL."""
    drawn = plots.figure("KL(π‖π_ref) of a token", "standard deviation", log_x=True, log_y=True)
    along = [values(float(drift)) for drift in np.geomspace(0.05, 4, 40)]
    kls = [float(each.mean_3[0]) for each in along]
    for k, (name, dash) in enumerate(zip(NAMES, ("solid", "dot", "dash"), strict=True)):
        plots.line(drawn, kls, [each.sd_3[k] for each in along], name, palette.exact, dash)
    plots.points(drawn, [exact.kl] * 3, found.sds, "sampled", palette.found)
    plots.line(drawn, kls, kls, "the KL itself", palette.quiet, "dash")
    return drawn


def rest(knobs: KnobsOfKl, exact: ExactOfKl, found: FoundOfKl, palette: Palette) -> go.Figure:
    """Shares of the five answers."""
    drawn = plots.figure("answer (its reward)", "π")
    names = [f"{a} ({r:.2f})" for a, r in zip(ANSWERS, kl_fixed.REWARDS, strict=True)]
    plots.bars(drawn, names, list(kl_fixed.REFERENCE), "reference", palette.quiet)
    plots.bars(drawn, names, list(exact.wanted), "wanted", palette.good)
    plots.bars(drawn, names, list(exact.rest), "rests at", palette.exact)
    plots.bars(drawn, names, found.learned, "after 400 updates", palette.found)
    return drawn


CARD = Card(
    key="kl",
    knobs=KnobsOfKl,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Where each points",
            r"The expected gradient of each form (lines to marks, exact; small, sampled), in "
            r"the plane of $\nabla\mathrm{KL}(\pi\Vert\pi_{ref})$ of whole completions (grey "
            r"circle, length 1) and the other direction. Square: the next token's part of the "
            r"first; grey x: the other direction, "
            r"$\nabla\mathrm{KL}(\pi_{ref}\Vert\pi)$. Thick: the "
            "chosen one; wide bands are cut off.",
            directions,
        ),
        Drawing(
            "Noise of the values",
            "Standard deviation of one sampled value, while a policy over 16 tokens moves away "
            "from its reference. Near it k3 is far quieter than k1; from a KL of about a half on "
            "it is the noisier one. Where its noise sits in rare tokens, samples miss it.",
            noise,
        ),
        Drawing(
            "Where learning rests",
            r"Five answers. Wanted: $\pi_{ref}e^{R/\beta}/Z$, the best policy for reward minus "
            r"$\beta$ times $\mathrm{KL}(\pi\Vert\pi_{ref})$. The mean of 32 runs of 400 updates "
            "with 16 groups each, with 95 % bands, keeps a little of its start and of its noise.",
            rest,
        ),
    ),
)
