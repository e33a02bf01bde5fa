"""Which curves the Live page draws, and how numbers look everywhere.

A format is a name that Python and the page's scripts know alike: `percent`, `number`, `signed`,
`count`, `rate`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from grpo_core.follow import Floats, Ints

CHARTS: list[dict[str, Any]] = [
    {
        "title": "Accuracy",
        "help": "Share answered correctly: held-out problems, answered greedily, and the sampled "
        "completions of each step.",
        "format": "percent",
        "zero": True,
        "series": [
            {"name": "eval/accuracy", "label": "held-out", "points": True},
            {"name": "train/accuracy", "label": "sampled", "smooth": True},
        ],
    },
    {
        "title": "Reward",
        "help": "Mean reward of the step's completions.",
        "format": "number",
        "series": [{"name": "reward/mean", "label": "mean", "smooth": True}],
    },
    {
        "title": "Completion length",
        "help": "Mean number of tokens in a completion.",
        "format": "count",
        "zero": True,
        "series": [{"name": "completion/length_mean", "label": "tokens", "smooth": True}],
    },
    {
        "title": "KL to the start",
        "help": "How far the policy has moved from where the run began: mean per token, in nats.",
        "format": "number",
        "series": [{"name": "train/kl", "label": "KL", "smooth": True}],
    },
    {
        "title": "Loss",
        "help": "The policy loss. It need not fall: watch accuracy and reward.",
        "format": "number",
        "series": [{"name": "train/loss", "label": "loss", "smooth": True}],
    },
    {
        "title": "Entropy",
        "help": "How undecided the policy is about the next token, in nats. Near 0 it no longer "
        "explores.",
        "format": "number",
        "zero": True,
        "series": [{"name": "train/entropy", "label": "entropy", "smooth": True}],
    },
    {
        "title": "Health",
        "help": "Shares that should stay low: flat groups (all rewards equal, no signal), "
        "completions cut off, completions with a reward fault, tokens clipped.",
        "format": "percent",
        "zero": True,
        "series": [
            {"name": "reward/zero_variance_fraction", "label": "flat", "smooth": True},
            {"name": "completion/truncated_fraction", "label": "cut off", "smooth": True},
            {"name": "reward/error_fraction", "label": "faults", "smooth": True},
            {"name": "train/clip_fraction", "label": "clipped", "smooth": True},
        ],
    },
    {
        "title": "Gradient norm",
        "help": "Length of the gradient before clipping.",
        "format": "number",
        "zero": True,
        "series": [{"name": "train/grad_norm", "label": "norm", "smooth": True}],
    },
    {
        "title": "Tokens per second",
        "help": "Sampled tokens divided by the time of the whole step.",
        "format": "rate",
        "zero": True,
        "series": [{"name": "perf/tokens_per_s", "label": "tokens/s", "smooth": True}],
    },
    {
        "title": "Value loss",
        "help": "Squared error of the critic, halved. It moves on as the policy does: watch the "
        "explained variance.",
        "format": "number",
        "zero": True,
        "optional": True,
        "series": [{"name": "critic/loss", "label": "loss", "smooth": True}],
    },
    {
        "title": "Explained variance",
        "help": "How much of the returns the critic foresees: 1 all of it, 0 no more than their "
        "mean, below 0 less than that.",
        "format": "number",
        "optional": True,
        "series": [{"name": "critic/explained_variance", "label": "explained", "smooth": True}],
    },
    {
        "title": "Critic",
        "help": "What the critic expects on average, and the share of tokens whose value the value "
        "clip held back.",
        "format": "number",
        "zero": True,
        "optional": True,
        "series": [
            {"name": "critic/value_mean", "label": "value", "smooth": True},
            {"name": "critic/clip_fraction", "label": "clipped", "smooth": True},
        ],
    },
    {
        "title": "Effective samples",
        "help": "Prefix attention: how many of the other completions carry a token's baseline.",
        "format": "count",
        "zero": True,
        "optional": True,
        "series": [{"name": "advantage/effective_samples", "label": "samples", "smooth": True}],
    },
    {
        "title": "Resampled groups",
        "help": "Dynamic sampling: flat groups of the step that were replaced by new prompts.",
        "format": "count",
        "zero": True,
        "optional": True,
        "series": [{"name": "rollout/resampled_groups", "label": "groups", "smooth": True}],
    },
    {
        "title": "Engine and trainer",
        "help": "Mean over tokens of the capped π_old / π_engine: 1 where the engine that samples "
        "and the trainer agree.",
        "format": "number",
        "optional": True,
        "series": [{"name": "rollout/importance_ratio_mean", "label": "ratio", "smooth": True}],
    },
]
"""An `optional` chart appears once the run has numbers for it."""

TILES: list[dict[str, str]] = [
    {"name": "eval/accuracy", "label": "Held-out accuracy", "format": "percent", "since": "first"},
    {"name": "reward/mean", "label": "Reward", "format": "number", "since": "before"},
    {"name": "completion/length_mean", "label": "Length", "format": "count", "since": "before"},
    {"name": "train/kl", "label": "KL to the start", "format": "number", "since": "before"},
    {"name": "train/entropy", "label": "Entropy", "format": "number", "since": "before"},
    {"name": "perf/tokens_per_s", "label": "Tokens per s", "format": "rate", "since": "before"},
]


NONE = "—"
"""Where there is no number."""


def number(value: float | None, form: str = "number") -> str:
    """A number as a person reads it; an em dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    if form == "percent":
        return f"{100 * value:.1f} %"
    if form == "signed":
        return f"{value:+.2f}" if value else "0.00"
    if form == "count":
        return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"
    if form == "rate":
        return f"{value:,.0f}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    # The same number of digits from one step to the next; very small ones keep three.
    return f"{value:.3f}" if size >= 0.01 or value == 0 else f"{value:.2g}"


def memory(gb: float | None) -> str:
    """Memory (GB) as a person reads it."""
    if gb is None or not math.isfinite(gb):
        return NONE
    if gb >= 0.1:
        return f"{gb:.1f} GB" if gb >= 10 else f"{gb:.2f} GB"
    if 0 < gb < 0.001:
        return f"{1e6 * gb:.0f} kB"
    return f"{1000 * gb:.1f} MB" if 0 < gb < 0.01 else f"{1000 * gb:.0f} MB"


def ago(moment: float | None, now: float | None = None) -> str:
    """How long ago a moment (seconds since the epoch) was, in words."""
    if moment is None:
        return NONE
    seconds = max(0.0, (now or time.time()) - moment)
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86_400:.0f} days ago"


def thin(
    steps: Sequence[int] | Ints, values: Sequence[float] | Floats, max_points: int
) -> tuple[list[int], list[float]]:
    """At most `max_points` points that keep every bucket's lowest and highest value, in order.

    A spike of one step stays visible at any zoom; an average would hide it.
    """
    num = len(steps)
    if num <= max_points:
        return list(steps), list(values)
    array = np.asarray(values)
    edges = np.linspace(0, num, max_points // 2 + 1).astype(int)
    kept: list[int] = []
    for low, high in pairwise(edges):
        extremes = {low + int(array[low:high].argmin()), low + int(array[low:high].argmax())}
        kept += sorted(extremes)
    kept[-1] = num - 1  # the newest value is always the real one
    return [steps[index] for index in kept], [values[index] for index in kept]
