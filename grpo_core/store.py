"""`run.db`: what a run writes down. One connection writes (the trainer's); see `reader.py`.

WAL with `synchronous=FULL`: a step is one transaction, and what was acknowledged survives a power
cut. Readers open the file read-only and keep no transaction open, so they never hold the writer up.
Every row carries the `attempt` that wrote it; a resume removes what lies after its checkpoint and
begins a new attempt, and a reader with an older cursor is told from which step to drop.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grpo_core.records import EvalResult, Event, Group, Rollout, StepStats
from grpo_core.traces import pack_trace

SCHEMA_VERSION = 1

# AUTOINCREMENT: without it SQLite hands out the ids of rows that a resume removed a second time,
# and a reader's cursor would jump over them.
_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE attempts(attempt INTEGER PRIMARY KEY, time REAL NOT NULL, resumed_from INTEGER);
CREATE TABLE steps(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    step INTEGER NOT NULL UNIQUE, time REAL NOT NULL, num_tokens INTEGER NOT NULL,
    reward_version TEXT NOT NULL);
CREATE TABLE metrics(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    step INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL);
CREATE TABLE groups(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    step INTEGER NOT NULL, problem_id TEXT NOT NULL, prompt TEXT NOT NULL, answer TEXT NOT NULL,
    row TEXT NOT NULL);
CREATE TABLE rollouts(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    group_id INTEGER NOT NULL, idx INTEGER NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    num_tokens INTEGER NOT NULL, outcome TEXT NOT NULL, reward REAL, parts TEXT NOT NULL,
    error TEXT NOT NULL, printed TEXT NOT NULL, advantage REAL, correct INTEGER NOT NULL);
CREATE TABLE tokens(rollout_id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE evals(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    step INTEGER NOT NULL UNIQUE, time REAL NOT NULL, num_problems INTEGER NOT NULL,
    num_correct INTEGER NOT NULL, length_mean REAL NOT NULL, truncated_fraction REAL NOT NULL,
    seconds REAL NOT NULL);
CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, attempt INTEGER NOT NULL,
    time REAL NOT NULL, step INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);
"""

# A curve is read from its index alone. Of runs that began before an index was thought of, a resume
# makes it.
_INDEXES = """
DROP INDEX IF EXISTS metrics_by_name;
CREATE INDEX IF NOT EXISTS curves ON metrics(name, step, value);
CREATE INDEX IF NOT EXISTS groups_by_step ON groups(step);
CREATE INDEX IF NOT EXISTS groups_by_problem ON groups(problem_id, step);
CREATE INDEX IF NOT EXISTS rollouts_by_group ON rollouts(group_id);
"""


class RunWriter:
    """The one writing connection of a run; `truncate_after` is the step a resume goes on from."""

    schema = _SCHEMA

    def __init__(self, path: Path, truncate_after: int | None = None) -> None:
        fresh = not path.exists()
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if fresh:
            with self._transaction():
                self._execute_all(self.schema)
                self._db.execute("INSERT INTO meta VALUES('schema', ?)", (str(SCHEMA_VERSION),))
        with self._transaction():
            self._execute_all(_INDEXES)
        self.attempt = self._begin_attempt(truncate_after)

    def _execute_all(self, script: str) -> None:
        for statement in filter(str.strip, script.split(";")):
            self._db.execute(statement)

    def _begin_attempt(self, truncate_after: int | None) -> int:
        last = self._db.execute("SELECT max(attempt) FROM attempts").fetchone()[0] or 0
        with self._transaction():
            if truncate_after is not None:
                self._truncate(truncate_after)
            row = (last + 1, time.time(), truncate_after)
            self._db.execute("INSERT INTO attempts VALUES(?, ?, ?)", row)
        return last + 1

    def _truncate(self, step: int) -> None:
        gone = "SELECT r.id FROM rollouts r JOIN groups g ON g.id = r.group_id WHERE g.step > ?"
        self._db.execute(f"DELETE FROM tokens WHERE rollout_id IN ({gone})", (step,))
        self._db.execute(f"DELETE FROM rollouts WHERE id IN ({gone})", (step,))
        for table in ("groups", "metrics", "steps", "evals"):
            self._db.execute(f"DELETE FROM {table} WHERE step > ?", (step,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def write_meta(self, **values: Any) -> None:
        """Facts about the whole run (model, versions, machine), as JSON values."""
        with self._transaction():
            for key, value in values.items():
                self._db.execute("REPLACE INTO meta VALUES(?, ?)", (key, json.dumps(value)))

    def write_step(self, stats: StepStats, groups: Iterable[Group]) -> None:
        """One finished step with everything that belongs to it, or nothing of it."""
        with self._transaction():
            self._insert(
                "steps",
                step=stats.step,
                time=time.time(),
                num_tokens=stats.num_tokens,
                reward_version=stats.reward_version,
            )
            self._insert_metrics(stats.step, stats.metrics)
            for group in groups:
                self._insert_group(stats.step, group)
            for event in stats.events:
                self._insert_event(stats.step, event)

    def write_eval(self, result: EvalResult) -> None:
        """An evaluation, also as the metric `eval/accuracy` of its step."""
        with self._transaction():
            self._insert("evals", time=time.time(), **asdict(result))
            self._insert_metrics(result.step, {"eval/accuracy": result.accuracy})

    def write_event(self, step: int, event: Event) -> None:
        """An event outside a step's own transaction."""
        with self._transaction():
            self._insert_event(step, event)

    def close(self) -> None:
        """Fold the WAL into the database and close; the file is then complete on its own."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _insert_metrics(self, step: int, metrics: dict[str, float]) -> None:
        self._db.executemany(
            "INSERT INTO metrics(attempt, step, name, value) VALUES(?, ?, ?, ?)",
            [(self.attempt, step, name, float(value)) for name, value in metrics.items()],
        )

    def _insert(self, table: str, **values: Any) -> int | None:
        """One row of this attempt; table and column names are ours, never a user's."""
        values["attempt"] = self.attempt
        marks = ",".join("?" * len(values))
        statement = f"INSERT INTO {table}({','.join(values)}) VALUES({marks})"
        return self._db.execute(statement, tuple(values.values())).lastrowid

    def _insert_event(self, step: int, event: Event) -> None:
        detail = json.dumps(event.detail)
        self._insert("events", time=time.time(), step=step, kind=event.kind, detail=detail)

    def _insert_group(self, step: int, group: Group) -> int | None:
        group_id = self._insert(
            "groups",
            step=step,
            problem_id=group.problem.id,
            prompt=storable(group.prompt),
            answer=storable(group.problem.answer),
            row=json.dumps(group.problem.row, default=str),  # Parquet columns hold dates
        )
        for index, rollout in enumerate(group.rollouts):
            self._insert_rollout(group_id, index, rollout)
        return group_id

    def _insert_rollout(self, group_id: int | None, index: int, rollout: Rollout) -> int | None:
        rollout_id = self._insert(
            "rollouts",
            group_id=group_id,
            idx=index,
            text=storable(rollout.text),
            finish=rollout.finish,
            num_tokens=len(rollout.ids),
            outcome=rollout.outcome,
            reward=rollout.reward,
            parts=json.dumps(rollout.parts),
            error=storable(rollout.error),
            printed=storable(rollout.printed),
            advantage=rollout.advantage,
            correct=int(rollout.correct),
        )
        if rollout.trace is not None:
            self._insert(
                "tokens", rollout_id=rollout_id, blob=pack_trace(rollout.ids, rollout.trace)
            )
        return rollout_id


def storable(text: str) -> str:
    """Text that can be stored: SQLite takes no lone surrogates; model text may hold anything."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
