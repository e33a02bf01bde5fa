"""Held-out accuracy over the steps of a run, with intervals: what it measured itself while it
trained, and the evaluations of its checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from grpo_core.intervals import wilson
from studio.evaluation_view import Known

HEIGHT = 320


def figure(
    evals: Sequence[dict[str, Any]], asked: Sequence[Known], colors: Sequence[str]
) -> go.Figure:
    """`evals`: rows of the run's database; `asked`: evaluations of its checkpoints, of one task."""
    chart = go.Figure()
    if evals:
        _band(chart, evals, colors[0])
    alike: dict[tuple[str, int], list[Known]] = {}
    for one in asked:
        if one.found["status"] == "completed":
            key = (one.settings.problems, one.settings.max_new_tokens)
            alike.setdefault(key, []).append(one)
    for index, ((_, length), same) in enumerate(alike.items(), start=1):
        title = f"evaluated on {same[0].settings.num_problems:,}, up to {length:,} tokens"
        _points(chart, title, same, colors[index % len(colors)])
    chart.update_layout(
        title={"text": "Solved greedily over the steps, with 95 % intervals", "font": {"size": 14}},
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 44, "b": 8},
        legend={"orientation": "h", "y": 1.16, "x": 1, "xanchor": "right"},
    )
    last = max(
        [row["step"] for row in evals] + [one.settings.step or 0 for one in asked], default=1
    )
    chart.update_xaxes(title="step", range=[-0.02 * last, 1.02 * last])  # the start is not cut off
    chart.update_yaxes(tickformat=".0%", range=[0, 1.03])
    return chart


def _band(chart: go.Figure, evals: Sequence[dict[str, Any]], color: str) -> None:
    """The run's own evaluations, a line with the intervals as a band."""
    steps = [row["step"] for row in evals]
    bounds = [wilson(row["num_correct"], row["num_problems"]) for row in evals]
    edges = [high for _, high in bounds] + [low for low, _ in reversed(bounds)]
    chart.add_scatter(
        x=steps + steps[::-1], y=edges, fill="toself", fillcolor=_faint(color), mode="none",
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    num = evals[-1]["num_problems"]
    chart.add_scatter(
        x=steps,
        y=[row["num_correct"] / row["num_problems"] for row in evals],
        mode="lines+markers",
        name=f"while training, on {num:,}",
        line={"color": color},
        marker={"size": 5},
    )


def _points(chart: go.Figure, title: str, asked: Sequence[Known], color: str) -> None:
    """Evaluations of checkpoints on the same problems."""
    same = sorted(asked, key=lambda one: one.settings.step or 0)
    shares = [one.found["greedy"]["accuracy"] for one in same]
    bounds = [one.found["greedy"]["interval"] for one in same]
    chart.add_scatter(
        x=[one.settings.step for one in same],
        y=shares,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - share for (_, high), share in zip(bounds, shares, strict=True)],
            "arrayminus": [share - low for (low, _), share in zip(bounds, shares, strict=True)],
        },
        mode="markers",
        name=title,
        marker={"color": color, "size": 9, "symbol": "diamond"},
    )


def _faint(color: str) -> str:
    """`#rrggbb` at a sixth of its strength."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.16)"
