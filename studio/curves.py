"""Curves on their way to the browser: what is new since the last answer, thinned where a run is
longer than a chart is wide.
"""

from __future__ import annotations

from typing import Any

from grpo_core.reader import RunReader
from grpo_core.runs import Run
from studio import data
from studio.charts import thin

MAX_POINTS = 2000
"""Points of one curve that leave the server at once; a chart is no wider than this."""


def since(run: Run, cursor: int, attempt: int, max_points: int = MAX_POINTS) -> dict[str, Any]:
    """What is new since `cursor`: `{attempt, cursor, drop_after, thinned, series}`.

    `series[name]` is `[steps, values]`. `drop_after` is the step after which the caller's points
    are void because a resume undid them. The first answer (cursor 0) holds the whole run, thinned.
    """
    empty: dict[str, Any] = {"attempt": attempt, "cursor": cursor, "series": {}}
    empty |= {"drop_after": None, "thinned": False}
    if cursor == 0:
        return data.read(run, lambda reader: _all_curves(reader, max_points), empty)
    return data.read(run, lambda reader: _new_points(reader, cursor, attempt), empty)


def _all_curves(reader: RunReader, max_points: int) -> dict[str, Any]:
    # The cursor first: a step written meanwhile is then sent twice rather than lost.
    attempt, cursor = reader.attempt(), reader.last_metric_id()
    series, thinned = {}, False
    for name in reader.metric_names():
        steps, values = reader.points(name)
        thinned = thinned or len(steps) > max_points
        series[name] = list(thin(steps, values, max_points))
    return {
        "attempt": attempt,
        "cursor": cursor,
        "drop_after": None,
        "thinned": thinned,
        "series": series,
    }


def _new_points(reader: RunReader, cursor: int, attempt: int) -> dict[str, Any]:
    answer = reader.metrics(since=cursor, attempt=attempt)
    series: dict[str, list[list[float]]] = {}
    for row in answer["rows"]:
        steps, values = series.setdefault(row["name"], [[], []])
        steps.append(row["step"])
        values.append(row["value"])
    return {
        "attempt": answer["attempt"],
        "cursor": answer["last_id"],
        "drop_after": answer["truncated_after_step"],
        "thinned": False,
        "series": series,
    }


def window(
    run: Run, names: list[str], low: float, high: float, max_points: int = MAX_POINTS
) -> dict[str, Any]:
    """The named curves between two steps, in full where they fit: for a chart that was zoomed."""

    def query(reader: RunReader) -> dict[str, Any]:
        return {name: list(thin(*reader.points(name, low, high), max_points)) for name in names}

    return {"series": data.read(run, query, {})}
