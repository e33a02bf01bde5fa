"""Figures of a step: which rewards it got, and whether they follow the length."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st

from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run
from studio import groups, theme

HEIGHT = 300
MAX_BINS = 24


def show(run: Run, group_id: int) -> None:
    """Both figures, of the step that the group is from."""

    def query(reader: GroupReader) -> tuple[int, list[dict]]:
        group = reader.group_of(group_id)
        return (group["step"], reader.step_rollouts(group["step"])) if group else (0, [])

    step, rows = groups.read(run, query, (0, []))
    known = [row for row in rows if row["reward"] is not None]
    if not known:
        st.caption("No completion of this step has a reward." if rows else "This group is gone.")
        return
    left, right = st.columns(2, gap="medium")
    colors = theme.chart_colors(st.context.theme.type)
    with left:
        _draw(rewards_figure(known, step, colors), "rewards")
    with right:
        _draw(length_figure(known, group_id, colors), "lengths")


def _draw(figure: go.Figure, name: str) -> None:
    st.plotly_chart(
        figure, key=f"figure_{name}", config={"displaylogo": False, "displayModeBar": False}
    )


def rewards_figure(rows: list[dict], step: int, colors: list[str]) -> go.Figure:
    """How often each reward came up, right and wrong apart."""
    figure = go.Figure()
    for label, is_right, color in (("right", True, colors[2]), ("wrong", False, colors[6])):
        values = [row["reward"] for row in rows if bool(row["correct"]) is is_right]
        figure.add_histogram(x=values, name=label, nbinsx=MAX_BINS, marker_color=color)
    figure.update_layout(barmode="stack", **_layout(f"Rewards of step {step:,}"))
    figure.update_xaxes(title="reward")
    figure.update_yaxes(title="completions")
    return figure


def length_figure(rows: list[dict], group_id: int, colors: list[str]) -> go.Figure:
    """Reward against length, the group at hand in colour."""
    figure = go.Figure()
    for label, is_here, color in (("others", False, colors[6]), ("this group", True, colors[0])):
        points = [row for row in rows if (row["group_id"] == group_id) is is_here]
        figure.add_scatter(
            x=[row["num_tokens"] for row in points],
            y=[row["reward"] for row in points],
            mode="markers",
            name=label,
            marker={
                "color": color,
                "size": 8 if is_here else 6,
                "opacity": 0.9 if is_here else 0.5,
            },
        )
    said = correlation([row["num_tokens"] for row in rows], [row["reward"] for row in rows])
    figure.update_layout(**_layout(f"Reward against length{said}"))
    figure.update_xaxes(title="tokens")
    figure.update_yaxes(title="reward")
    return figure


def correlation(lengths: list[float], rewards: list[float]) -> str:
    """Pearson's r as an addition to a title; empty where one of them does not vary."""
    num = len(lengths)
    mean_x, mean_y = sum(lengths) / num, sum(rewards) / num
    xx = sum((x - mean_x) ** 2 for x in lengths)
    yy = sum((y - mean_y) ** 2 for y in rewards)
    if num < 3 or not xx or not yy:
        return ""
    xy = sum((x - mean_x) * (y - mean_y) for x, y in zip(lengths, rewards, strict=True))
    return f" · correlation {xy / (xx * yy) ** 0.5:+.2f}".replace("-", "−")


def _layout(title: str) -> dict:
    return {
        "title": {"text": title, "font": {"size": 14}},
        "height": HEIGHT,
        "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
        "legend": {"orientation": "h", "y": 1.16, "x": 1, "xanchor": "right"},
    }
