"""Reading `run.db`: short read-only queries, safe while the trainer writes."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Self

from grpo_core.records import TokenTrace
from grpo_core.traces import unpack_trace

MAX_GROUPS = 4096
"""Of a step, as the recipe bounds them."""
SHORT_PROMPT = "substr(coalesce(json_extract(g.row, ?1), g.prompt), 1, 1200)"
"""The beginning of a prompt, or of the data column at the path `?1`."""


def column_path(column: str | None) -> str | None:
    """Where SQLite finds a data column in a stored row; None where it could not be said."""
    return f'$."{column}"' if column and '"' not in column else None


class RunReader:
    """Short read-only queries on one run. Safe while the trainer writes; usable as a context."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(path)
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=5,
            check_same_thread=False,
        )
        self._db.row_factory = sqlite3.Row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(query, values).fetchall()]

    def meta(self) -> dict[str, Any]:
        """Facts about the run: schema, model, versions, machine."""
        return {row["key"]: json.loads(row["value"]) for row in self._rows("SELECT * FROM meta")}

    def began(self) -> float | None:
        """When the run began (seconds since the epoch), None before its first attempt."""
        return self._db.execute("SELECT min(time) FROM attempts").fetchone()[0]

    def attempt(self) -> int:
        """Number of the newest attempt; 1 for a run that was never resumed."""
        return self._db.execute("SELECT max(attempt) FROM attempts").fetchone()[0] or 0

    def metrics(
        self, since: int = 0, attempt: int = 0, names: list[str] | None = None
    ) -> dict[str, Any]:
        """Metric rows with `id > since`: `{attempt, truncated_after_step, last_id, rows}`.

        `attempt` is the attempt of the caller's last answer (0 at first). When a resume has begun
        a newer one, `truncated_after_step` is the step after which the caller's rows are void.
        """
        wanted = f" AND name IN ({','.join('?' * len(names))})" if names else ""
        self._db.execute("BEGIN")  # the three reads see one state
        try:
            rows = self._rows(
                f"SELECT id, step, name, value FROM metrics WHERE id > ?{wanted} ORDER BY id",
                since,
                *(names or []),
            )
            newest = self.attempt()
            resumed = self._rows(
                "SELECT min(resumed_from) AS step FROM attempts WHERE attempt > ?", attempt
            )[0]["step"]
        finally:
            self._db.execute("COMMIT")
        return {
            "attempt": newest,
            "truncated_after_step": resumed if attempt else None,
            "last_id": rows[-1]["id"] if rows else since,
            "rows": rows,
        }

    def series(self, name: str) -> list[tuple[int, float]]:
        """`(step, value)` of one metric, by step."""
        rows = self._rows("SELECT step, value FROM metrics WHERE name = ? ORDER BY step", name)
        return [(row["step"], row["value"]) for row in rows]

    def last_metrics(self) -> dict[str, float]:
        """The newest value of every metric."""
        rows = self._rows(
            "SELECT name, value FROM metrics"
            " WHERE id IN (SELECT max(id) FROM metrics GROUP BY name)"
        )
        return {row["name"]: row["value"] for row in rows}

    def steps(self) -> list[dict[str, Any]]:
        """All steps: `step, time, num_tokens, reward_version, attempt`."""
        return self._rows("SELECT * FROM steps ORDER BY step")

    def last_step(self) -> int | None:
        """The newest finished step, None before the first."""
        return self._db.execute("SELECT max(step) FROM steps").fetchone()[0]

    def groups(self, step: int) -> list[dict[str, Any]]:
        """The groups of one step with their completions, in sampling order."""
        groups = self._rows("SELECT * FROM groups WHERE step = ? ORDER BY id", step)
        return [self._whole(group) for group in groups]

    def group(self, group_id: int) -> dict[str, Any] | None:
        """One group with its completions, in sampling order."""
        found = self._rows("SELECT * FROM groups WHERE id = ?", group_id)
        return self._whole(found[0]) if found else None

    def first_row(self, step: int) -> dict[str, Any] | None:
        """The data columns of a step's first problem, None where the step is not stored."""
        found = self._rows("SELECT row FROM groups WHERE step = ? ORDER BY id LIMIT 1", step)
        row = json.loads(found[0]["row"]) if found else None
        return row if isinstance(row, dict) else None

    def _whole(self, group: dict[str, Any]) -> dict[str, Any]:
        return {**group, "row": json.loads(group["row"]), "rollouts": self._rollouts(group["id"])}

    def group_summaries(self, step: int, question: str | None = None) -> list[dict[str, Any]]:
        """One short row a group, without the texts: `id, problem_id, prompt, answer, num, …`;
        `num_traced` completions have kept their tokens, `advantage_max` is the largest in size.
        `question`: the data column that stands for the prompt, where prompts begin all alike."""
        return self._rows(
            f"SELECT g.id, g.problem_id, {SHORT_PROMPT} AS prompt, g.answer,"
            " count(*) AS num, max(abs(r.advantage)) AS advantage_max,"
            " avg(r.reward) AS reward_mean, min(r.reward) AS reward_min,"
            " max(r.reward) AS reward_max, sum(r.correct) AS num_correct,"
            " avg(r.num_tokens) AS length_mean, sum(r.finish = 'length') AS num_truncated,"
            " sum(r.outcome NOT IN ('ok', 'abstain')) AS num_faults, count(t.rollout_id)"
            " AS num_traced FROM groups g JOIN rollouts r ON r.group_id = g.id"
            " LEFT JOIN tokens t ON t.rollout_id = r.id WHERE g.step = ?2"
            " GROUP BY g.id ORDER BY g.id LIMIT ?3",
            column_path(question),
            step,
            MAX_GROUPS,
        )

    def _rollouts(self, group_id: int) -> list[dict[str, Any]]:
        rows = self._rows("SELECT * FROM rollouts WHERE group_id = ? ORDER BY idx", group_id)
        for row in rows:
            row["parts"] = json.loads(row["parts"])
            row["correct"] = bool(row["correct"])
        return rows

    def trace(self, rollout_id: int) -> tuple[list[int], TokenTrace] | None:
        """Token ids and per-token numbers of a completion, None where they were not kept."""
        row = self._db.execute(
            "SELECT blob FROM tokens WHERE rollout_id = ?", (rollout_id,)
        ).fetchone()
        return unpack_trace(row["blob"]) if row else None

    def evals(self) -> list[dict[str, Any]]:
        """All evaluations by step."""
        return self._rows("SELECT * FROM evals ORDER BY step")

    def events(self, since: int = 0, kinds: list[str] | None = None) -> list[dict[str, Any]]:
        """Events with `id > since`, oldest first."""
        wanted = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        rows = self._rows(
            f"SELECT * FROM events WHERE id > ?{wanted} ORDER BY id", since, *(kinds or [])
        )
        for row in rows:
            row["detail"] = json.loads(row["detail"])
        return rows

    def metric_names(self) -> list[str]:
        """All metrics of the run, by name."""
        rows = self._rows("SELECT DISTINCT name FROM metrics ORDER BY name")
        return [row["name"] for row in rows]

    def points(
        self, name: str, low: float = -1, high: float = 1e18
    ) -> tuple[list[int], list[float]]:
        """Steps and values of one metric between two steps, both included."""
        rows = self._db.execute(
            "SELECT step, value FROM metrics WHERE name = ? AND step >= ? AND step <= ?"
            " ORDER BY step",
            (name, low, high),
        ).fetchall()
        return [row[0] for row in rows], [row[1] for row in rows]

    def reward_marks(self) -> list[dict[str, Any]]:
        """`step, version, number` of each step at which other reward code came into force.

        Read off the steps, not off the events: what a resume undid is gone from the steps.
        """
        rows = self._rows(
            "SELECT step, version FROM (SELECT step, reward_version AS version,"
            " lag(reward_version) OVER (ORDER BY step) AS before FROM steps)"
            " WHERE before IS NOT NULL AND before != version ORDER BY step"
        )
        return [{**row, "number": number} for number, row in enumerate(rows, start=2)]

    def step_range(self) -> tuple[int, int] | None:
        """First and last step whose completions can be looked at, None where there is none."""
        found = self._rows("SELECT min(step) AS first, max(step) AS last FROM groups")[0]
        return None if found["first"] is None else (found["first"], found["last"])

    def step_at(self, wanted: int) -> int | None:
        """The newest step up to `wanted` whose completions can be looked at."""
        return self._rows("SELECT max(step) AS step FROM groups WHERE step <= ?", wanted)[0]["step"]

    def reward_version(self, step: int | None = None) -> str | None:
        """The version of the reward code that scored a step; without one, the newest step."""
        rows = self._rows(
            "SELECT reward_version FROM steps WHERE ?1 IS NULL OR step = ?1"
            " ORDER BY step DESC LIMIT 1",
            step,
        )
        return rows[0]["reward_version"] if rows else None

    def first_reward_version(self) -> str | None:
        """The version that the run began with, None before its first word."""
        events = self.events(kinds=["reward_version"])
        return events[0]["detail"]["version"] if events else None

    def traced(self, rollout_ids: list[int]) -> set[int]:
        """Those of the completions whose tokens were kept."""
        marks = ",".join("?" * len(rollout_ids))
        rows = self._rows(
            f"SELECT rollout_id FROM tokens WHERE rollout_id IN ({marks})", *rollout_ids
        )
        return {row["rollout_id"] for row in rows}
