"""The card of `studio.theory.exploration`."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from studio.theory import plots
from studio.theory.card import Card, Drawing, Row
from studio.theory.exploration import (
    PEAK,
    TEMPERATURES,
    Exact,
    Found,
    KnobsOfExploration,
    estimate,
    exact,
    verdict,
)
from studio.theory.exploration_laws import NUM_ACTIONS, boltzmann
from studio.theory.exploration_runs import NOISE_EVERY, NOISE_STEPS, NUM_MARKS
from studio.theory.plots import Palette

FRONTIER = tuple(np.geomspace(0.03, 20, 80).tolist())
"""Temperatures of the curve."""


def rows(knobs: KnobsOfExploration, worked: Exact, found: Found) -> list[Row]:
    """Exact beside sampled."""
    law, runs, k = worked.settled, found.runs, knobs.attempts
    first, sharp = worked.passes[0], worked.passes[-1]
    seen, seen_sharp = found.passes[0], found.passes[-1]
    return [
        Row(
            "Change of $H$ by the first step of noise",
            worked.drop,
            found.drop,
            kind="approximation",
        ),
        Row(f"$H$ after {NOISE_STEPS} steps of noise", None, found.noise[-1]),
        Row("$V$ where runs with a signal settle", law.value, runs.value, kind="approximation"),
        Row("$H$ there", law.entropy, runs.entropy, kind="approximation"),
        Row(f"pass@{k}, as it is", first[1], seen[1], "percent"),
        Row(f"pass@{k}, sharpened to 0.2", sharp[1], seen_sharp[1], "percent"),
        Row("pass@1, as it is", first[0], seen[0], "percent"),
        Row("pass@1, sharpened to 0.2", sharp[0], seen_sharp[0], "percent"),
        *(
            [
                Row(
                    "$1/T$, the coldness there",
                    1 / law.temperature,
                    runs.coldness,
                    kind="approximation",
                )
            ]
            if knobs.beta
            else []
        ),
        Row(
            f"Change of $H$ by a step of noise where one way has $\\pi={PEAK:g}$",
            worked.peaked_drop,
            found.peaked_drop,
            kind="approximation",
        ),
    ]


def draw_noise(
    knobs: KnobsOfExploration, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Entropy against steps where rewards say nothing."""
    drawn = plots.figure("step k", "entropy H (nats)")
    steps = list(range(0, NOISE_STEPS + 1, NOISE_EVERY))
    low, high = zip(*(each.band for each in found.noise), strict=True)
    middle = [each.value for each in found.noise]
    plots.ribbon(drawn, steps, middle, low, high, "coin-flip rewards", palette.found)
    top = math.log(NUM_ACTIONS)
    plots.line(drawn, [0, NOISE_STEPS], [top, top], "expected update", palette.exact)
    # the law of the first steps: no further than half of what there is to lose
    last = min(NOISE_STEPS, 0.5 * top / abs(worked.drop))
    ends = [top, top + last * worked.drop]
    plots.line(drawn, [0, last], ends, "law of the first steps", palette.exact, "dash")
    return drawn


def draw_frontier(
    knobs: KnobsOfExploration, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """Value against entropy: the best there is, and where runs go."""
    drawn = plots.figure("entropy H (nats)", "value V")
    best = [boltzmann(t) for t in FRONTIER]
    plots.line(
        drawn, [b.entropy for b in best], [b.value for b in best], "best V at each H", palette.exact
    )
    every = (len(worked.values_S) - 1) // NUM_MARKS
    expected = worked.entropies_S[::every], worked.values_S[::every]
    plots.line(drawn, *expected, "expected update", palette.other, "dot")
    way = [each.value for each in found.runs.entropies]
    plots.line(drawn, way, found.runs.values, "runs", palette.found)
    _mark(drawn, found.runs.entropy.value, found.runs.value.value, "settled", palette.found)
    law, nominal = worked.settled, worked.nominal
    _mark(drawn, law.entropy, law.value, "law", palette.exact, "circle-open")
    _mark(drawn, nominal.entropy, nominal.value, "temperature β", palette.bad, "x")
    return drawn


def _mark(
    drawn: go.Figure, x: float, y: float, name: str, color: str, symbol: str = "circle"
) -> None:
    marker = {"color": color, "size": 11, "symbol": symbol, "line": {"width": 2, "color": color}}
    drawn.add_scatter(x=[x], y=[y], name=name, mode="markers", marker=marker)


def draw_passes(
    knobs: KnobsOfExploration, worked: Exact, found: Found, palette: Palette
) -> go.Figure:
    """pass@1 and pass@k against the temperature that sharpens the policy."""
    drawn = plots.figure("temperature of the policy", "problems solved")
    drawn.update_xaxes(autorange="reversed")
    drawn.update_yaxes(tickformat=".0%", range=[0, 1.05])
    colors = (palette.exact, palette.other)
    for i, (attempts, color) in enumerate(zip((1, knobs.attempts), colors, strict=True)):
        law = [each[i] for each in worked.passes]
        plots.line(drawn, TEMPERATURES, law, f"pass@{attempts}", color)
        seen = [each[i] for each in found.passes]
        plots.points(drawn, TEMPERATURES, seen, f"sampled pass@{attempts}", color)
    return drawn


CARD = Card(
    key="exploration",
    knobs=KnobsOfExploration,
    exact=exact,
    estimate=estimate,
    verdict=verdict,
    rows=rows,
    drawings=(
        Drawing(
            "Noise alone",
            "Entropy of a policy over eight ways to solve a problem while rewards are coin flips "
            "(200 runs, 95 % band). The expected update is 0 and leaves $H$ alone; the noise of "
            "sampled groups lowers it. An entropy term would hold it up.",
            draw_noise,
        ),
        Drawing(
            "Value and entropy",
            "Each way is right with its own probability. No policy lies above the solid line. "
            r"With $-\beta\,\mathrm{KL}$ the runs settle where the advantages put the temperature "
            r"(circle), which need not be $\beta$ (cross). With $\beta=0$ they go to the corner: "
            "all value, no entropy.",
            draw_frontier,
        ),
        Drawing(
            "Sharpening",
            "Two kinds of problems; the likeliest answer is right on one (60 %) and wrong on the "
            "other (right in 20 %). To the right the policy is sharper: one attempt gains a "
            "little in the end, several attempts lose much.",
            draw_passes,
        ),
    ),
)
