"""Curves on their way to the browser: what is new since the last answer, thinned where a run is
longer than a chart is wide, and where its steps stand in seconds and tokens.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grpo_core.follow import Floats, Ints
from grpo_core.runs import Run
from studio import decimate
from studio.columns import Column, Columns, followed
from studio.compare import STEP_S

MAX_NAMES = 64
PART = re.compile(r"reward/.+/mean")
"""A part of the reward: in force only while the reward code has it."""


def fresh(known: Columns, cursor: int) -> dict[str, Any]:
    """What is new since `cursor`, for 0 the whole run: `{attempt, cursor, series, breaks, places}`.

    `series[name]` is what `decimate.thinned` makes of the new points; at the steps in
    `breaks[name]` its line begins anew. `places` are `[steps, seconds, tokens, clock]` of the new
    steps, see `places`.
    """
    answer = {"attempt": known.attempt, "cursor": known.cursors.metric}
    if cursor and cursor == known.cursors.metric:
        return {**answer, "series": {}, "breaks": {}, "places": [[], [], [], []]}
    series, broken = {}, {}
    changes = known.chronicle.changes
    for name, column in known.metrics.items():
        at = int(column.ids.searchsorted(cursor, side="right")) if cursor else 0
        if at == len(column):
            continue
        # One point earlier: a line that begins anew does so between an old point and a new one.
        new = decimate.breaks(column.steps[max(0, at - 1) :], changes) if PART.match(name) else []
        if new:
            broken[name] = new
        series[name] = decimate.thinned(column.steps[at:], column.values()[at:], new)
    return {**answer, "series": series, "breaks": broken, "places": _new_places(known, cursor)}


# --- where steps stand ---------------------------------------------------------------------------


def places(known: Columns, since: int = 0) -> tuple[Ints, Floats, Floats, Floats]:
    """The steps, the first `since` left out, with their places on the other axes, as
    `compare.position` has them: seconds of the steps alone and tokens sampled, both up to a step's
    end; and when it ended by the clock.
    """
    steps = known.steps.steps[since:]
    timed = known.metrics.get(STEP_S, Column())
    seconds = np.concatenate([[0.0], np.cumsum(np.nan_to_num(timed.values()))])
    tokens = np.cumsum(known.steps.values(1))[since:]
    at = np.searchsorted(timed.steps, steps, side="right")
    return steps, seconds[at], tokens, known.steps.values(0)[since:]


def _new_places(known: Columns, cursor: int) -> list[list[Any]]:
    if cursor == 0:
        began = known.attempts[0][1] if known.attempts else 0.0
        origin: tuple[int, float, float, float] = (0, 0.0, 0.0, began)
        kept = _thin(places(known))
        return [[first, *column.tolist()] for first, column in zip(origin, kept, strict=True)]
    # Steps and metrics are written together: what has a newer time has a newer place.
    timed = known.metrics.get(STEP_S, Column())
    at = int(timed.ids.searchsorted(cursor, side="right"))
    if at == len(timed):
        return [[], [], [], []]
    since = int(known.steps.steps.searchsorted(timed.steps[at]))
    return [column.tolist() for column in _thin(places(known, since))]


def _thin(columns: tuple[Ints, Floats, Floats, Floats]) -> list[NDArray[Any]]:
    """At most so many rows of the columns, the first and the last among them."""
    num = len(columns[0])
    kept = np.unique(np.linspace(0, num - 1, min(num, decimate.MAX_POINTS)).astype(np.int64))
    return [column[kept] for column in columns]


# --- one stretch, and everything as a table ------------------------------------------------------


def window(run: Run, names: list[str], low: float, high: float) -> dict[str, Any]:
    """The named curves between two steps, in full where they fit: for a chart that was zoomed."""
    with followed(run.db_path) as known:
        series, broken = {}, {}
        for name in names:
            column = known.metrics.get(name, Column())
            steps = column.steps
            left = int(np.searchsorted(steps, low, side="left")) if low == low else 0
            right = int(np.searchsorted(steps, high, side="right")) if high == high else len(steps)
            part = slice(left, max(left, right))
            broken[name] = decimate.breaks(steps[part], known.chronicle.changes)
            broken[name] = broken[name] if PART.match(name) else []
            series[name] = decimate.thinned(steps[part], column.values()[part], broken[name])
    return {"series": series, "breaks": broken}


def table(runs: list[Run], names: list[str]) -> Iterator[str]:
    """CSV of all stored points: `run, step, seconds, tokens` and the metrics, nothing thinned,
    every number so that it reads back as the same one. One piece of text a run.
    """
    yield _csv([["run", "step", "seconds", "tokens", *map(_header, names)]])
    for run in runs:
        with followed(run.db_path) as known:
            rows = _rows(known, names)
        yield _csv([run.name, *row] for row in rows)


def _csv(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _rows(known: Columns, names: list[str]) -> list[list[str]]:
    columns = [known.metrics.get(name, Column()) for name in names]
    if not any(map(len, columns)):
        return []
    steps = np.unique(np.concatenate([column.steps for column in columns]))
    own, seconds, tokens, _ = places(known)
    at = np.searchsorted(own, steps, side="right")
    shown = [[str(step) for step in steps.tolist()]]
    for place in (seconds, tokens):
        numbers = np.concatenate([[0.0], place])[at]
        shown.append([repr(number) for number in numbers.tolist()])
    for column in columns:
        cells = [""] * len(steps)
        found = np.searchsorted(steps, column.steps).tolist()
        for index, value in zip(found, column.values().tolist(), strict=True):
            cells[index] = repr(value)
        shown.append(cells)
    return [list(row) for row in zip(*shown, strict=True)]


def _header(name: str) -> str:
    """A spreadsheet takes a cell that begins like a formula for one."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name
