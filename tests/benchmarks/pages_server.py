"""What the server does for a page: each read of the database with its plan, and each route."""

from __future__ import annotations

import gzip
import http.client
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pages_browser import Watched
from benchmarks.pages_tabs import BIG, WIDE, Scene

from grpo_core.reader import RunReader
from grpo_core.runs import Run, find_run
from studio import api_live, curves, data

REPEATS = 7
SAME_PROMPT = "SELECT step, id FROM groups WHERE problem_id = ? ORDER BY step"
ROUTES = (
    "/api/runs",
    "/api/runs/{big}/metrics?since=0",
    "/api/runs/{big}/metrics?since={cursor}&attempt={attempt}",
    "/api/runs/{big}/window?low={low}&high={high}&name=train/loss&name=reward/mean",
    "/api/runs/{big}/groups/{step}",
    "/api/runs/{wide}/groups/2",
    "/api/runs/{wide}/tokens/{rollout}",
)
"""What the pages ask for; more with `--route`."""


def measure_server(scene: Scene, routes: list[str]) -> dict[str, Any]:
    """Reads and routes of the big run and the wide one."""
    runs_dir = scene.studio.runs_dir
    big, wide = find_run(runs_dir, BIG), find_run(runs_dir, WIDE)
    data.set_runs_dir(runs_dir)
    calls = _reads(big) | _whole(big)
    return {"calls": calls, "routes": _routes(scene, big, wide, [*ROUTES, *routes])}


# --- reads ---------------------------------------------------------------------------------------


def _reads(run: Run) -> dict[str, Any]:
    """Every read of a `RunReader` that grows with the run, in the middle of it."""
    with RunReader(run.db_path) as reader:
        step = (reader.last_step() or 2) // 2
        group = reader.groups(step)[0]
        ids = [rollout["id"] for rollout in group["rollouts"]]
        cursor, attempt = reader.last_metric_id(), reader.attempt()
    wanted: dict[str, tuple[Any, ...]] = {
        "step_range": (), "group_summaries": (step,), "groups": (step,),
        "group": (group["id"],), "traced": (ids,), "trace": (ids[0],), "first_row": (step,),
        "metrics": (cursor - 30, attempt), "metric_names": (), "points": ("train/loss",),
        "last_metric_id": (), "last_metrics": (), "series": ("eval/accuracy",), "steps": (),
        "last_step": (), "evals": (), "events": (), "last_events": (12,), "reward_marks": (),
        "reward_version": (step,), "first_reward_version": (),
    }  # fmt: skip
    found = {
        name: _measure(run, lambda reader, name=name, args=args: getattr(reader, name)(*args))
        for name, args in wanted.items()
        if hasattr(RunReader, name)
    }
    found["(same prompt, by SQL)"] = _measure(
        run, lambda reader: reader._rows(SAME_PROMPT, group["problem_id"])
    )
    return found


def _whole(run: Run) -> dict[str, Any]:
    """What a route does, as if the run had just been written to."""
    with RunReader(run.db_path) as reader:
        cursor, attempt = reader.last_metric_id(), reader.attempt()

    def afresh(work: Callable[[], Any]) -> Callable[[RunReader], Any]:
        def call(_: RunReader) -> Any:
            data._summaries.clear()
            return work()

        return call

    works: dict[str, Callable[[], Any]] = {
        "data.summary": lambda: data.summary(run),
        "data.overview": data.overview,
        "curves.since, all": lambda: curves.since(run, 0, 0),
        "live_state, a tick": lambda: api_live.live_state(run, cursor - 30, attempt),
    }
    return {name: _measure(run, afresh(work)) for name, work in works.items()}


def _measure(run: Run, call: Callable[[RunReader], Any]) -> dict[str, Any]:
    """ms on a fresh connection, with the file out of the system's cache and in it."""
    forget(run.db_path)
    cold, found, _ = _timed(run, call)
    times = [_timed(run, call)[0] for _ in range(REPEATS)]
    _, _, queries = _timed(run, call)
    rows = len(found) if isinstance(found, list | set) else None
    return {"cold_ms": cold, "warm_ms": median(times), "rows": rows, "plan": plan(run, queries)}


def _timed(run: Run, call: Callable[[RunReader], Any]) -> tuple[float, Any, list[str]]:
    queries: list[str] = []
    started = time.perf_counter()
    with RunReader(run.db_path) as reader:
        reader._db.set_trace_callback(queries.append)
        found = call(reader)
    return 1000 * (time.perf_counter() - started), found, queries


def plan(run: Run, queries: list[str]) -> list[str]:
    """How SQLite goes about these queries, each line once."""
    with sqlite3.connect(f"{run.db_path.resolve().as_uri()}?mode=ro", uri=True) as db:
        lines = [
            row[3]
            for query in queries
            if query.lstrip().upper().startswith(("SELECT", "WITH"))
            for row in db.execute(f"EXPLAIN QUERY PLAN {query}")
        ]
    db.close()
    return list(dict.fromkeys(lines))


def forget(path: Path) -> None:
    """Take a file out of the system's cache, so that the next read goes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


# --- routes --------------------------------------------------------------------------------------


def _routes(scene: Scene, big: Run, wide: Run, routes: list[str]) -> dict[str, Any]:
    """Status, time and size of each answer; the first request may find nothing prepared."""
    watched = Watched(scene.browser, scene.studio)
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in watched.cookies())
    watched.close()
    with RunReader(big.db_path) as reader:
        last = reader.last_step() or 0
        values = {
            "big": big.name, "step": last // 2, "low": last // 2, "high": last // 2 + 1000,
            "cursor": reader.last_metric_id() - 30, "attempt": reader.attempt(),
        }  # fmt: skip
    with RunReader(wide.db_path) as reader:
        values |= {"wide": wide.name, "rollout": reader.groups(2)[0]["rollouts"][0]["id"]}
    headers = {"cookie": cookies, "accept-encoding": "gzip"}
    return {route: _asked(scene.studio.port, route.format(**values), headers) for route in routes}


def _asked(port: int, path: str, headers: dict[str, str]) -> dict[str, Any]:
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for _ in range(REPEATS):
        started = time.perf_counter()
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        times.append(1000 * (time.perf_counter() - started))
    connection.close()
    whole = gzip.decompress(body) if response.headers["content-encoding"] == "gzip" else body
    return {
        "status": response.status, "first_ms": times[0], "ms": median(times[1:]),
        "kb": len(whole) / 1e3, "kb_sent": len(body) / 1e3,
    }  # fmt: skip
