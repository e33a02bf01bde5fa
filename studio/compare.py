"""Runs side by side, in numbers: means and bands over seeds, areas under curves, and whether a
difference is more than seeds differ anyway. No Streamlit and no files here.

Shape letters: S seeds, N points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grpo_core.config import RunConfig

Floats = NDArray[np.float64]

ACCURACY = "eval/accuracy"
STEP_S = "time/step_s"
AXES = ("step", "time", "tokens")
STANDARD_ERRORS = 1.96
"""Half width of a band over three seeds or more."""
DECIDES = 2.0
"""Standard errors from which on a difference counts as one."""
MAX_POINTS = 400
"""Of one line: a chart is not much wider."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a run wrote down, as far as it is compared."""

    name: str
    config: RunConfig
    series: dict[str, tuple[list[int], list[float]]]
    """Steps and values of each metric."""
    tokens: tuple[list[int], list[float]] = field(default_factory=lambda: ([], []))
    """Steps, and the tokens sampled in each."""
    device: str = ""
    span: tuple[float, float] = (0.0, 0.0)
    """When its first and its last step ended (seconds since the epoch)."""
    was_changed: bool = False
    """Whether settings or rewards were changed while it trained."""

    @property
    def last_step(self) -> int:
        """The newest step that left a number, 0 before the first."""
        return max((steps[-1] for steps, _ in self.series.values() if steps), default=0)


@dataclass(frozen=True)
class Line:
    """The mean over seeds, and the band around it; no band for one seed."""

    x: Floats
    mean: Floats
    low: Floats | None = None
    high: Floats | None = None


# --- one run -------------------------------------------------------------------------------------


def curve(run: Recorded, metric: str, axis: str) -> tuple[Floats, Floats]:
    """Positions on the axis and values of one metric; what is not finite is left out."""
    steps, values = run.series.get(metric, ([], []))
    y = np.array(values, dtype=float)
    kept = np.isfinite(y)
    return position(run, axis, np.array(steps, dtype=float)[kept]), y[kept]


def position(run: Recorded, axis: str, steps: Floats) -> Floats:
    """Where steps stand: themselves, or seconds of training or tokens sampled up to their end.

    Seconds are those of the steps alone: evaluations and checkpoints are not counted.
    """
    if axis == "step":
        return steps
    known, costs = run.series.get(STEP_S, ([], [])) if axis == "time" else run.tokens
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(np.array(costs, dtype=float)))])
    return total[np.searchsorted(np.array(known, dtype=float), steps, side="right")]


def area(x: Floats, y: Floats, low: float, high: float) -> float:
    """Mean height of the curve between two positions, straight between its points."""
    inside = (x > low) & (x < high)
    nodes = np.concatenate([[low], x[inside], [high]])
    heights = np.interp(nodes, x, y)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(nodes)).sum() / (high - low))


def first_at(run: Recorded, target: float) -> int | None:
    """The first evaluated step at which held-out accuracy was at least `target`."""
    steps, values = run.series.get(ACCURACY, ([], []))
    return next((s for s, value in zip(steps, values, strict=True) if value >= target), None)


# --- over seeds ----------------------------------------------------------------------------------


def band(values_SN: Floats) -> tuple[Floats, Floats] | None:
    """Around the mean: ± 1.96 standard errors of three seeds or more, the range of two."""
    num = len(values_SN)
    if num < 2:
        return None
    if num == 2:
        return values_SN.min(axis=0), values_SN.max(axis=0)
    mean = values_SN.mean(axis=0)
    half = STANDARD_ERRORS * values_SN.std(axis=0, ddof=1) / math.sqrt(num)
    return mean - half, mean + half


def line(
    runs: Sequence[Recorded], metric: str, axis: str, max_points: int = MAX_POINTS
) -> Line | None:
    """The runs as one line with its band, as far as all of them have come; None without points.

    On the axis of steps at the steps that all have; on the others on a common grid, each seed
    interpolated between its own points.
    """
    curves = [curve(run, metric, axis) for run in runs]
    if not curves or any(len(x) == 0 for x, _ in curves):
        return None
    if axis == "step":
        x = _thinned(_common([x for x, _ in curves]), max_points)
    else:
        low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        longest = max(len(x) for x, _ in curves)
        x = np.linspace(low, high, min(max_points, 8 * longest)) if low < high else np.array([low])
        x = x if low <= high else x[:0]
    if len(x) == 0:
        return None
    values_SN = np.stack([np.interp(x, own_x, own_y) for own_x, own_y in curves])
    low_high = band(values_SN)
    return Line(x, values_SN.mean(axis=0), *(low_high or (None, None)))


def common_step(runs: Sequence[Recorded]) -> int | None:
    """The last step at which every run was evaluated."""
    shared = _common([curve(run, ACCURACY, "step")[0] for run in runs])
    return int(shared[-1]) if len(shared) else None


def _common(steps: Sequence[Floats]) -> Floats:
    found = steps[0] if steps else np.array([])
    for other in steps[1:]:
        found = np.intersect1d(found, other)
    return found


def _thinned(x: Floats, max_points: int) -> Floats:
    if len(x) <= max_points:
        return x
    return x[np.unique(np.linspace(0, len(x) - 1, max_points).round().astype(int))]


# --- one row of the table ------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """An accuracy over seeds: mean, half of the band (None for one seed), and its step."""

    mean: float
    half: float | None
    step: int


@dataclass(frozen=True)
class Figures:
    """What a group came to; None where nothing was measured."""

    best: Level | None
    last: Level | None
    """At the step that all runs of the comparison have reached."""
    step_s: float | None
    critic_s: float
    memory_gb: float | None
    """Mean over seeds of a run's peak."""
    memory_error: float | None
    """Its standard error over seeds; None for one seed."""
    critic_gb: float | None
    num_reached: int
    """Seeds that came to the target."""
    steps_to: float | None
    """Mean over those seeds."""
    seconds_to: float | None


def figures(runs: Sequence[Recorded], at_step: int | None, target: float) -> Figures:
    """The numbers of one group's row."""
    accuracy = line(runs, ACCURACY, "step", max_points=10**9)
    peaks = np.array([p for run in runs if (p := _highest([run], "perf/memory_gb")) is not None])
    reached = [(run, step) for run in runs if (step := first_at(run, target)) is not None]
    seconds = [position(run, "time", np.array([float(step)]))[0] for run, step in reached]
    return Figures(
        best=_level(accuracy, int(accuracy.mean.argmax())) if accuracy else None,
        last=_level_at(accuracy, at_step),
        step_s=_mean_of(runs, STEP_S),
        critic_s=_mean_of(runs, "time/critic_s") or 0.0,
        memory_gb=float(peaks.mean()) if len(peaks) else None,
        memory_error=float(peaks.std(ddof=1) / math.sqrt(len(peaks))) if len(peaks) > 1 else None,
        critic_gb=_highest(runs, "critic/memory_gb"),
        num_reached=len(reached),
        steps_to=float(np.mean([step for _, step in reached])) if reached else None,
        seconds_to=float(np.mean(seconds)) if reached else None,
    )


def _level(of: Line, index: int) -> Level:
    half = None
    if of.low is not None and of.high is not None:
        half = float(of.high[index] - of.low[index]) / 2
    return Level(float(of.mean[index]), half, int(of.x[index]))


def _level_at(of: Line | None, step: int | None) -> Level | None:
    if of is None or step is None:
        return None
    found = np.flatnonzero(of.x == step)
    return _level(of, int(found[0])) if len(found) else None


def _all(runs: Sequence[Recorded], metric: str) -> Floats:
    return np.concatenate([curve(run, metric, "step")[1] for run in runs])


def _mean_of(runs: Sequence[Recorded], metric: str) -> float | None:
    values = _all(runs, metric)
    return float(values.mean()) if len(values) else None


def _highest(runs: Sequence[Recorded], metric: str) -> float | None:
    values = _all(runs, metric)
    return float(values.max()) if len(values) else None


# --- two groups ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """Mean held-out accuracy over a stretch, first group minus second."""

    low: float
    high: float
    """The stretch of the axis that all runs cover."""
    difference: float
    error: float | None
    """Standard error of the difference over seeds; None where a group has a single seed."""

    @property
    def is_distinct(self) -> bool:
        """Whether the difference is more than seeds differ anyway."""
        return self.error is not None and abs(self.difference) > DECIDES * self.error


def contrast(first: Sequence[Recorded], second: Sequence[Recorded], axis: str) -> Contrast | None:
    """Which group was better on average along the axis; None where they share no stretch."""
    curves = [[curve(run, ACCURACY, axis) for run in runs] for runs in (first, second)]
    ends = [(x[0], x[-1]) for side in curves for x, _ in side if len(x)]
    if not all(curves) or len(ends) < len(first) + len(second):
        return None
    low, high = max(start for start, _ in ends), min(end for _, end in ends)
    if high <= low:
        return None
    a, b = (np.array([area(x, y, low, high) for x, y in side]) for side in curves)
    error = None
    if min(len(a), len(b)) > 1:
        error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return Contrast(float(low), float(high), float(a.mean() - b.mean()), error)


def simultaneous(runs: Sequence[Recorded]) -> list[str]:
    """Names of runs that took steps while another of them did: their times say little."""
    known = sorted((run for run in runs if run.span[1] > 0), key=lambda run: run.span)
    found: set[str] = set()
    for index, run in enumerate(known):
        for other in known[index + 1 :]:
            if other.span[0] < run.span[1]:
                found |= {run.name, other.name}
    return sorted(found)
