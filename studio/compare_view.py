"""What the Compare page shows, as texts and lists: lines, verdicts, and the rows of its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from studio import charts, compare
from studio import compare_words as words
from studio.compare import Figures, Level
from studio.run_groups import RunGroup

Y_AXES: dict[str, dict[str, Any]] = {
    "Held-out accuracy": {"name": compare.ACCURACY, "format": "percent", "share": True},
    "Sampled accuracy": {"name": "train/accuracy", "format": "percent", "share": True},
    "Reward": {"name": "reward/mean", "format": "number"},
    "Completion length": {"name": "completion/length_mean", "format": "count", "zero": True},
    "KL to the start": {"name": "train/kl", "format": "number", "zero": True},
    "Entropy": {"name": "train/entropy", "format": "number", "zero": True},
}
"""Curves that can be compared, by the name the page gives them."""
X_AXES: dict[str, dict[str, str]] = {
    "Step": {"name": "step", "unit": "step", "title": "Step"},
    "Time": {
        "name": "time",
        "unit": "s",
        "title": "Seconds of training; evaluations and checkpoints are not counted",
    },
    "Tokens": {"name": "tokens", "unit": "tokens", "title": "Tokens sampled"},
}
METRICS = (
    *(str(spec["name"]) for spec in Y_AXES.values()),
    compare.STEP_S,
    "time/critic_s",
    "perf/memory_gb",
    "critic/memory_gb",
)
"""What is read of each run."""


def view(
    groups: list[RunGroup], x: str, y: str, target: float, empty: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything the component shows.

    `x`, `y`: names of axes above. `target`: a share, 0..1. `empty`: names of chosen runs that
    have no number yet.
    """
    runs = [run for group in groups for run in group.runs]
    at_step = compare.common_step(runs)
    rows = [(group, compare.figures(group.runs, at_step, target)) for group in groups]
    return {
        "x": X_AXES[x],
        "y": {**Y_AXES[y], "title": y},
        "lines": [_line(group, X_AXES[x]["name"], Y_AXES[y]) for group in groups],
        "note": words.note(groups),
        "remarks": [
            *({"tone": "warn", "text": text} for text in words.warnings(runs)),
            *({"tone": "plain", "text": text} for text in words.omissions(groups, empty)),
        ],
        "verdicts": words.verdicts(rows),
        "table": {
            "head": head(at_step, target),
            "rows": [cells(group, figures) for group, figures in rows],
        },
    }


# --- the chart -----------------------------------------------------------------------------------


def _line(group: RunGroup, axis: str, spec: dict[str, Any]) -> dict[str, Any]:
    found = compare.line(group.runs, spec["name"], axis)
    own = {"label": group.label, "seeds": words.seeds(len(group.runs))}
    if found is None:
        return {**own, "x": [], "mean": [], "low": None, "high": None, "dots": False}
    return {
        **own,
        "x": found.x.tolist(),
        "mean": found.mean.tolist(),
        "low": None if found.low is None else found.low.tolist(),
        "high": None if found.high is None else found.high.tolist(),
        "dots": axis == "step" and spec["name"] == compare.ACCURACY,
    }


# --- the table -----------------------------------------------------------------------------------


def head(at_step: int | None, target: float) -> list[dict[str, str]]:
    """Titles of the columns, and what each means."""
    share = f"{100 * target:g} %"
    return [
        {"label": "Algorithm", "help": ""},
        {"label": "Seeds", "help": ""},
        {"label": "Best held-out", "help": "Highest mean over seeds, ± half of the band"},
        {
            "label": f"At step {at_step}" if at_step is not None else "At the end",
            "help": "Held-out accuracy at the last step that all runs here have reached",
        },
        {"label": f"Steps to {share}", "help": "First evaluation there or above; mean over seeds"},
        {"label": f"Time to {share}", "help": "Training only: evaluations are not counted"},
        {"label": "Time per step", "help": "Mean over all steps of all seeds"},
        {"label": "of it critic", "help": "Time per step in forward and backward of the critic"},
        {"label": "Memory", "help": "Highest measured"},
        {"label": "of it critic", "help": "Weights, gradients and optimizer state"},
    ]


def cells(group: RunGroup, figures: Figures) -> list[dict[str, str]]:
    """One row: a text for each column, and a fainter one beside it."""
    num = len(group.runs)
    part = f"{figures.num_reached} of {num}" if 0 < figures.num_reached < num else ""
    seconds = figures.seconds_to
    return [
        _cell(group.label),
        _cell(str(num)),
        _level(figures.best, with_step=True),
        _level(figures.last, with_step=False),
        _cell(charts.NONE if figures.steps_to is None else f"{figures.steps_to:,.0f}", part),
        _cell(charts.NONE if seconds is None else _seconds(seconds), part),
        _cell(charts.NONE if figures.step_s is None else _seconds(figures.step_s)),
        _cell(_seconds(figures.critic_s) if figures.critic_s else "0 s"),
        _cell(charts.memory(figures.memory_gb)),
        _cell(charts.memory(figures.critic_gb)),
    ]


def _cell(text: str, more: str = "") -> dict[str, str]:
    return {"text": text, "more": more}


def _level(level: Level | None, with_step: bool) -> dict[str, str]:
    if level is None:
        return _cell(charts.NONE)
    half = "" if level.half is None else f"± {100 * level.half:.1f}"
    where = f"step {level.step}" if with_step else ""
    return _cell(charts.number(level.mean, "percent"), " · ".join(filter(None, [half, where])))


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{1000 * value:.1f} ms"
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
