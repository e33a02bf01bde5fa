"""How the figures of the experiments look: one set of colours, one layout, bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from studio import theme
from studio.theory.sampled import Estimate

HEIGHT = 380
BARE = {"displaylogo": False, "displayModeBar": False}
"""For `st.plotly_chart`."""


@dataclass(frozen=True)
class Palette:
    """Colours of one theme, as hex."""

    exact: str
    """What is worked out exactly: a line."""
    found: str
    """What was sampled: points with bands."""
    good: str
    other: str
    fourth: str
    bad: str
    quiet: str
    """Bounds, limits, what is only for orientation."""

    @classmethod
    def of(cls, kind: str | None) -> Palette:
        """`light` or `dark`."""
        return cls(*theme.chart_colors(kind))


def figure(x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    """An empty figure with titled axes."""
    drawn = go.Figure()
    drawn.update_layout(
        height=HEIGHT,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        legend={"orientation": "h", "y": 1.12, "x": 0, "xanchor": "left"},
        hovermode="closest",
    )
    drawn.update_xaxes(title=x, type="log" if log_x else None)
    drawn.update_yaxes(title=y, type="log" if log_y else None)
    return drawn


def line(
    drawn: go.Figure,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    name: str,
    color: str,
    dash: str = "solid",
) -> None:
    """A curve: exact, or a bound where dashed."""
    style = {"color": color, "width": 2, "dash": dash}
    drawn.add_scatter(x=list(x), y=list(y), name=name, mode="lines", line=style)


def points(
    drawn: go.Figure, x: Sequence[float], found: Sequence[Estimate], name: str, color: str
) -> None:
    """Sampled values with their 95 % bands."""
    drawn.add_scatter(
        x=list(x),
        y=[each.value for each in found],
        error_y={
            "type": "data",
            "array": [each.band[1] - each.value for each in found],
            "thickness": 1.5,
            "width": 5,
        },
        name=name,
        mode="markers",
        marker={"color": color, "size": 8},
    )


def ribbon(
    drawn: go.Figure,
    x: Sequence[float] | np.ndarray,
    middle: Sequence[float] | np.ndarray,
    low: Sequence[float] | np.ndarray,
    high: Sequence[float] | np.ndarray,
    name: str,
    color: str,
) -> None:
    """A mean over runs with its 95 % band."""
    edge = [*high, *reversed(list(low))]
    drawn.add_scatter(
        x=[*x, *reversed(list(x))], y=edge, fill="toself", fillcolor=_faint(color),
        line={"width": 0}, hoverinfo="skip", showlegend=False, name=name,
    )  # fmt: skip
    line(drawn, x, middle, name, color)


def bars(
    drawn: go.Figure, names: Sequence[str], found: Sequence[Estimate | float], name: str, color: str
) -> None:
    """One bar each, with a band where it was sampled."""
    halves = [f.band[1] - f.value if isinstance(f, Estimate) else 0.0 for f in found]
    drawn.add_bar(
        x=list(names),
        y=[f.value if isinstance(f, Estimate) else f for f in found],
        error_y={"type": "data", "array": halves, "thickness": 1.5, "visible": any(halves)},
        name=name,
        marker_color=color,
    )


def finished(drawn: go.Figure) -> go.Figure:
    """Axes that are read at once: powers of ten where an axis is logarithmic and long, no letters
    for thousandths."""
    drawn.update_xaxes(exponentformat="power", showexponent="all")
    drawn.update_yaxes(exponentformat="power", showexponent="all")
    for axis, values in (("xaxis", "x"), ("yaxis", "y")):
        laid_out = drawn.layout[axis]
        if laid_out.type == "log" and laid_out.tickvals is None:
            laid_out.dtick = 1 if _decades(drawn, values) > 1.5 else "D2"
    return drawn


def _decades(drawn: go.Figure, values: str) -> float:
    """How many powers of ten the main axis spans."""
    found = [
        float(value)
        for trace in drawn.data
        if getattr(trace, f"{values}axis", None) in (None, values)
        for value in trace[values]
        if isinstance(value, int | float | np.number) and value > 0
    ]
    return float(np.log10(max(found) / min(found))) if found else 0.0


def _faint(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
