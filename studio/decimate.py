"""Curves thinned for a chart that is narrower than they are long, without losing a spike and
without losing what a moving average needs.

A thinned curve is a list of buckets: the steps it covers, its lowest and its highest point, and
mean and count of its values. Shape letters: N points, B buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from grpo_core.follow import Floats, Ints

MAX_POINTS = 1000
"""Points of a curve that are sent as they are; a longer one is sent as half as many buckets."""
NUM_RECENT = 100
"""The newest points are always sent as they are: what is said of the last steps is exact."""


def thinned(
    steps: Ints, values: Floats, breaks: Iterable[int] = (), max_points: int = MAX_POINTS
) -> list[list[Any]]:
    """`[steps, values]` where all points fit, else eight lists, one entry a bucket.

    They are `first, last, low_at, low, high_at, high, mean, count`: the steps it begins and ends
    with, where its extremes lie and what they are, mean and number of its values. No bucket
    reaches over a step in `breaks`, at which a new stretch of the line begins. What is not finite
    is no point.
    """
    finite = np.isfinite(values)
    if not finite.all():
        steps, values = steps[finite], values[finite]
    num = len(steps)
    if num <= max_points:
        return [steps.tolist(), values.tolist()]
    edges_B = _edges(num, np.searchsorted(steps, sorted(breaks)), max_points)
    starts_B, counts_B = edges_B[:-1], np.diff(edges_B)
    lows_B, highs_B = _extremes(values, edges_B)
    columns = [
        steps[starts_B], steps[edges_B[1:] - 1], steps[lows_B], values[lows_B],
        steps[highs_B], values[highs_B], np.add.reduceat(values, starts_B) / counts_B, counts_B,
    ]  # fmt: skip
    return [column.tolist() for column in columns]


def _edges(num: int, cuts: Ints, max_points: int) -> Ints:
    """Where buckets begin: the first point and the newest ones have one each."""
    recent = min(NUM_RECENT, max_points // 4)
    body = num - recent
    even = np.linspace(1, body, max_points // 2 - recent).astype(np.int64)
    own = np.arange(body, num + 1)
    return np.unique(np.concatenate([[0], even, cuts[(cuts > 0) & (cuts < num)], own]))


def _extremes(values: Floats, edges_B: Ints) -> tuple[Ints, Ints]:
    """Index of the lowest and of the highest value of each bucket."""
    lows, highs = [], []
    for low, high in pairwise(edges_B.tolist()):
        if high - low == 1:
            lows.append(low)
            highs.append(low)
        else:
            part = values[low:high]
            lows.append(low + int(part.argmin()))
            highs.append(low + int(part.argmax()))
    return np.array(lows), np.array(highs)


def breaks(steps: Ints, changes: Iterable[int]) -> list[int]:
    """Steps at which a line begins anew: it has none for a while, and in between the reward code
    changed, so that this part was not in force.
    """
    gaps = np.flatnonzero(np.diff(steps) > 1)
    if not len(gaps):
        return []
    wanted = np.array(sorted(changes), dtype=np.int64)
    before = np.searchsorted(wanted, steps[gaps], side="right")
    after = np.searchsorted(wanted, steps[gaps + 1], side="right")
    return [int(step) for step in steps[gaps + 1][after > before]]
