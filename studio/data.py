"""What the pages show, read from run folders. Every read is short, read-only and bounded in size;
a run that is being written, half written or damaged gives less, never an exception.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from grpo_core.config import RunConfig
from grpo_core.evaluations import Evaluation, find_stored, list_evaluations
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config
from grpo_core.runs import Run, find_run, list_runs
from studio.charts import thin
from studio.columns import Column, Columns, followed, stamp_of
from studio.compare import Recorded

T = TypeVar("T")
R = TypeVar("R", bound=RunReader)

SPARKLINE_POINTS = 48
_runs_dir = Path("runs")


def set_runs_dir(path: Path) -> None:
    """Where the runs are; called once by the server before it answers anything."""
    global _runs_dir
    _runs_dir = path


def runs_dir() -> Path:
    """The folder of runs this studio shows."""
    return _runs_dir


def get_run(name: str | None) -> Run | None:
    """The run called `name`, None if there is none (any more)."""
    if not name:
        return None
    try:
        return find_run(_runs_dir, name)
    except ValueError:
        return None


def get_stored(name: str | None) -> Run | None:
    """The run or the evaluation called `name`, None if there is neither (any more)."""
    if not name:
        return None
    try:
        return find_stored(_runs_dir, name)
    except ValueError:
        return None


def run_names() -> list[str]:
    """Names of all runs, the newest first."""
    return [run.name for run in list_runs(_runs_dir)]


def evaluation_names() -> list[str]:
    """Names of all evaluations, the newest first."""
    names = [one.name for one in list_evaluations(_runs_dir)]
    return [name for name in names if isinstance(get_stored(name), Evaluation)]


@contextmanager
def opened(run: Run, kind: Callable[[Path], R]) -> Iterator[R | None]:
    """The run's database, None while it does not exist or cannot be opened."""
    try:
        reader = kind(run.db_path)
        reader.attempt()  # fails on a file that has no tables yet, or is not a database
    except (OSError, sqlite3.Error):
        yield None
        return
    try:
        yield reader
    finally:
        reader.close()


def read(run: Run, query: Callable[[RunReader], T], default: Any) -> T:
    """`query(reader)`, or `default` where there is nothing to read."""
    return read_with(RunReader, run, query, default)


def read_with(kind: Callable[[Path], R], run: Run, query: Callable[[R], T], default: Any) -> T:
    """`read` by another kind of reader."""
    with opened(run, kind) as reader:
        if reader is None:
            return default
        try:
            return query(reader)
        except (sqlite3.Error, ValueError, KeyError, TypeError):  # not what we wrote
            return default


def unreadable(problem: object, run: Run) -> str:
    """What is wrong with the database, in words; nothing of a run that has only begun, whose
    tables are not there yet."""
    if not problem or ("no such table" in str(problem) and run.status() == "starting"):
        return ""
    what = "evaluation" if isinstance(run, Evaluation) else "run"
    return f"This {what}'s database cannot be read: {problem}. Its other files are untouched."


def config_of(run: Run) -> RunConfig | None:
    """The run's resolved recipe, None if it cannot be read (a newer version wrote it, say)."""
    try:
        stat = run.config_path.stat()
        return _config(run.config_path, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError, yaml.YAMLError):
        return None


@lru_cache(maxsize=256)
def _config(path: Path, _changed: int, _size: int) -> RunConfig:
    return parse_config(yaml.safe_load(path.read_text(encoding="utf-8")))


def columns(run: Run, step: int | None) -> list[str] | None:
    """Names of the data columns that came with a step's problems, None where none is stored."""

    def query(reader: RunReader) -> list[str] | None:
        row = None if step is None else reader.first_row(step)
        return None if row is None else list(row)

    return read(run, query, None)


# --- a whole run, to be compared -----------------------------------------------------------------

_recorded: dict[str, tuple[Any, Recorded | None]] = {}


def recorded(run: Run, metrics: tuple[str, ...]) -> Recorded | None:
    """These metrics of a run with its recipe; None where there is no number or no recipe yet."""
    stamp = (stamp_of(run.db_path), metrics)
    known = _recorded.get(str(run.path))
    if known and known[0] == stamp:
        return known[1]
    config = config_of(run)
    fresh = read(run, lambda r: _read_recorded(r, run.name, config, metrics), None)
    _recorded[str(run.path)] = (stamp, fresh)
    return fresh


def _read_recorded(
    reader: RunReader, name: str, config: RunConfig | None, metrics: tuple[str, ...]
) -> Recorded | None:
    series = {metric: points for metric in metrics if (points := reader.points(metric))[0]}
    if config is None or not series:
        return None
    steps = reader.steps()
    return Recorded(
        name,
        config,
        series,
        ([step["step"] for step in steps], [float(step["num_tokens"]) for step in steps]),
        str(reader.meta().get("device", "")),
        (steps[0]["time"], steps[-1]["time"]) if steps else (0.0, 0.0),
        bool(reader.reward_marks() or reader.events(kinds=["setting"])),
    )


# --- one run at a glance -------------------------------------------------------------------------

SHORT = frozenset({"eval/accuracy", "reward/mean"})
"""Metrics that the table of runs shows."""


def summary(run: Run) -> dict[str, Any]:
    """Status, progress and last numbers of a run, as the pages and `/api/runs` show it."""
    with followed(run.db_path, SHORT) as known:
        return {**now(run), **stored(known, run)}


def now(run: Run) -> dict[str, Any]:
    """The part of the summary that the trainer's state says."""
    state = run.state()
    config_steps = 0 if state else getattr(config_of(run), "num_steps", 0)
    return {
        "name": run.name,
        "status": run.status(),
        "step": state.step if state else 0,
        "num_steps": state.num_steps if state else config_steps,
        "phase": state.phase if state else "",
        "message": state.message if state else "",
        "heartbeat_age_s": round(max(0.0, time.time() - state.heartbeat), 1) if state else None,
    }


def stored(known: Columns, run: Run) -> dict[str, Any]:
    """The part of the summary that stands in the database."""
    accuracy, rewards = (known.metrics.get(name, Column()) for name in sorted(SHORT))
    _, line = thin(rewards.steps, rewards.values(), SPARKLINE_POINTS)
    began = known.attempts[0][1] if known.attempts else run.config_path.stat().st_mtime
    return {
        "started": began,
        "accuracy": float(accuracy.values()[-1]) if len(accuracy) else None,
        "accuracy_first": float(accuracy.values()[0]) if len(accuracy) else None,
        "sparkline": [round(float(value), 5) for value in line],
    }


def overview() -> list[dict[str, Any]]:
    """A summary of every run, the newest first."""
    rows = []
    for run in list_runs(_runs_dir):
        try:
            rows.append(summary(run))
        except OSError:
            continue  # deleted while we looked
    return rows
