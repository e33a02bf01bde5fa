"""Attention over the members of a group: bias and noise of each kind, the error of a batch, and
two clusters that are never compared."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from studio.theory import clusters, plots
from studio.theory.attention import (
    ExactOfAttention,
    FoundOfAttention,
    KnobsOfAttention,
    crossing,
    estimate,
    exact,
    hows,
    verdict,
)
from studio.theory.card import Card, Drawing, Row
from studio.theory.plots import Palette
from studio.theory.sampled import HALF_WIDTH

NAMES = {
    "loo": "leave-one-out",
    "key": "key only",
    "prefix": "prefix",
    "shrunk": "prefix, shrunk",
    "output": "output",
}
EVERY = 3
"""Updates between two points of a curve."""


def rows(knobs: KnobsOfAttention, exact: ExactOfAttention, found: FoundOfAttention) -> list[Row]:
    """Noise, bias, and the two clusters."""
    unbiased = max(value for kind, value in exact.of_three.items() if kind != "output")
    (uniform, attending), kinds, output = found.learned, found.kinds, exact.bias["output"]
    ratio, bias = "Variance over that of leave-one-out", r"Bias over $\Vert\nabla V\Vert$"
    true_force, force = (each[0] for each in exact.forces)
    return [
        Row(f"{ratio}, prefix", None, kinds["prefix"].ratio),
        Row(f"{ratio}, output", None, kinds["output"].ratio),
        Row(f"{bias}, prefix", exact.bias["prefix"], kinds["prefix"].bias),
        Row(f"{bias}, output", output, kinds["output"].bias),
        Row(
            "Groups in a batch from which on output has the larger error",
            None,
            crossing(exact, found),
            "count",
        ),
        Row("Effective others after the first token, prefix", None, found.effective),
        Row(f"{ratio}, prefix shrunk", None, kinds["shrunk"].ratio),
        Row(f"{ratio}, key only", None, kinds["key"].ratio),
        Row(f"{bias}, output: bound", exact.bound, kinds["output"].bias.value, kind="bound"),
        Row(f"{bias} in all groups of 3, largest of all but output", unbiased),
        Row("Two clusters: force on A, true", float(true_force)),
        Row("Two clusters: force on A, output", float(force), found.forces[0]),
        Row("Two clusters: value after 300 updates, leave-one-out", None, uniform.last),
        Row("Two clusters: value after 300 updates, output", None, attending.last),
    ]


def bias_and_noise(
    knobs: KnobsOfAttention, exact: ExactOfAttention, found: FoundOfAttention, palette: Palette
) -> go.Figure:
    """Both of each kind, side by side."""
    drawn = plots.figure("weights of the others", "over leave-one-out, over ‖∇V‖")
    names, kinds = list(NAMES.values()), [found.kinds[kind] for kind in NAMES]
    plots.bars(drawn, names, [each.ratio for each in kinds], "variance", palette.found)
    plots.bars(drawn, names, [each.bias for each in kinds], "bias", palette.bad)
    drawn.add_scatter(
        x=names,
        y=[exact.bias[kind] for kind in NAMES],
        name="bias, exact",
        mode="markers",
        marker={"color": palette.exact, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
    )
    for value, name in ((exact.to_prompt, "V(q) known"), (exact.to_prefix, "V(prefix) known")):
        dash = "dash" if name == "V(q) known" else "dot"
        line_of = [value] * len(names)
        drawn.add_scatter(
            x=names, y=line_of, name=name, mode="lines",
            line={"color": palette.quiet, "width": 2, "dash": dash},
        )  # fmt: skip
    return drawn


def error_of_batch(
    knobs: KnobsOfAttention, exact: ExactOfAttention, found: FoundOfAttention, palette: Palette
) -> go.Figure:
    """Mean squared error against the number of groups."""
    drawn = plots.figure("groups in a batch", "E‖ĝ − ∇V‖²", log_x=True, log_y=True)
    num = np.geomspace(1, 1024, 41)
    for kind, color in (("output", palette.bad), ("prefix", palette.found)):
        spread = found.kinds[kind].variance
        bias2 = exact.bias[kind] ** 2 * exact.length2
        low, high = spread.band
        middle, below, above = (value / num + bias2 for value in (spread.value, low, high))
        plots.ribbon(drawn, num, middle, below, above, NAMES[kind], color)
    plots.line(drawn, num, exact.variance / num, NAMES["loo"], palette.exact)
    bias2 = exact.bias["output"] ** 2 * exact.length2
    if exact.bias["output"] > 1e-9:
        plots.line(drawn, num, np.full(len(num), bias2), "bias², output", palette.quiet, "dash")
    return drawn


def two_clusters(
    knobs: KnobsOfAttention, exact: ExactOfAttention, found: FoundOfAttention, palette: Palette
) -> go.Figure:
    """What is learned with each."""
    drawn = plots.figure("updates", "value V")
    steps = np.arange(0, clusters.NUM_STEPS + 1, EVERY)
    names = ("leave-one-out", "output")
    for how, learned, name, color in zip(
        hows(knobs), found.learned, names, (palette.found, palette.bad), strict=True
    ):
        value, half = learned.value_K[::EVERY], HALF_WIDTH * learned.se_K[::EVERY]
        plots.ribbon(drawn, steps, value, value - half, value + half, name, color)
        path = clusters.expected_path(how)[::EVERY]
        dash = "solid" if name == "leave-one-out" else "dot"
        plots.line(drawn, steps, path, f"{name}, expected updates", palette.exact, dash)
    plots.line(drawn, steps, np.ones(len(steps)), "best answer", palette.quiet, "dash")
    return drawn


CARD = Card(
    key="attention",
    knobs=KnobsOfAttention,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Bias and noise",
            "Variance of a group's gradient over that of leave-one-out, and bias over the length "
            "of the true gradient, sampled with 95 % bands; diamonds: the bias exactly. Dashed: "
            "the variance if the prompt's value were known; dotted: if each prefix's were.",
            bias_and_noise,
        ),
        Drawing(
            "Error and batch",
            "Mean squared error of the averaged gradient. Variance goes down with the number of "
            "groups, bias does not: the red curve ends on the dashed line.",
            error_of_batch,
        ),
        Drawing(
            "Two clusters",
            "Four answers: A pays 0.6 and C 1.0, in one cluster; B 0.4 and D 0, in the other. "
            "Attention between answers compares A with C only, so that A is pushed down although "
            "it is better than the mean of all. One group an update, mean of 60 runs with 95 % "
            "band; there is no prefix here, so attention over prefixes is leave-one-out.",
            two_clusters,
        ),
    ),
)
