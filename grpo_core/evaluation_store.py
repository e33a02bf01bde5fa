"""`run.db` of an evaluation: that of a run, and what the judge took for the answer of each
completion. A batch of problems is a step: all of it is there, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grpo_core.group_reader import GroupReader
from grpo_core.judge import Grade
from grpo_core.records import Event, Group, Rollout, StepStats
from grpo_core.store import RunWriter, storable

Kind = Literal["greedy", "sampled"]
GREEDY: Kind = "greedy"
SAMPLED: Kind = "sampled"
_TABLES = """
CREATE TABLE answers(rollout_id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL,
    kind TEXT NOT NULL, extracted TEXT, rule TEXT NOT NULL, verdict TEXT NOT NULL);
CREATE TABLE asked(group_id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE, question TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Judged:
    """A problem with its completions and what the judge says of each, in their order."""

    group: Group
    kinds: Sequence[Kind]
    grades: Sequence[Grade]
    key: str
    """The same for the same question and reference answer, in every evaluation."""


class EvaluationWriter(RunWriter):
    """The one writing connection of an evaluation."""

    schema = RunWriter.schema + _TABLES

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._current: Judged | None = None

    def write_batch(
        self, batch: int, judged: Sequence[Judged], seconds: float, events: Sequence[Event]
    ) -> None:
        """A batch whose completions are judged, or nothing of it."""
        groups = [one.group for one in judged]
        num_tokens = sum(len(one.ids) for group in groups for one in group.rollouts)
        stats = StepStats(batch, num_tokens, "", {"time/batch_s": seconds}, list(events))
        self.write_step(stats, self._one_by_one(judged))

    def _one_by_one(self, judged: Sequence[Judged]) -> Iterator[Group]:
        for one in judged:  # a group is written before the next is asked for
            self._current = one
            yield one.group
        self._current = None

    def _insert_group(self, step: int, group: Group) -> int | None:
        group_id = super()._insert_group(step, group)
        assert self._current is not None
        question = storable(group.problem.question)
        self._insert("asked", group_id=group_id, key=self._current.key, question=question)
        return group_id

    def _insert_rollout(self, group_id: int | None, index: int, rollout: Rollout) -> int | None:
        rollout_id = super()._insert_rollout(group_id, index, rollout)
        assert self._current is not None
        grade = self._current.grades[index]
        self._insert(
            "answers",
            rollout_id=rollout_id,
            kind=self._current.kinds[index],
            extracted=None if grade.extracted is None else storable(grade.extracted),
            rule=grade.rule,
            verdict=grade.outcome,
        )
        return rollout_id


class EvaluationReader(GroupReader):
    """What reports ask of an evaluation's database."""

    def num_done(self) -> tuple[int, int]:
        """Finished batches and the problems in them."""
        batches = self._rows("SELECT count(*) AS num FROM steps")[0]["num"]
        return batches, self._rows("SELECT count(*) AS num FROM asked")[0]["num"]

    def seconds(self) -> float:
        """What the finished batches took together."""
        query = "SELECT total(value) AS sum FROM metrics WHERE name = 'time/batch_s'"
        return float(self._rows(query)[0]["sum"])

    def problems(self) -> list[dict[str, Any]]:
        """All problems in the order asked, without texts of completions: `group_id, step, key,
        question, answer, row` (JSON text), `prompt`."""
        return self._rows(
            "SELECT a.group_id, g.step, a.key, a.question, g.answer, g.row, g.problem_id"
            " FROM asked a JOIN groups g ON g.id = a.group_id ORDER BY g.id"
        )

    def answers(self) -> list[dict[str, Any]]:
        """All completions in the order asked, without their texts: `group_id, rollout_id, kind,
        extracted, rule, verdict, correct, finish, num_tokens`."""
        return self._rows(
            "SELECT r.group_id, r.id AS rollout_id, a.kind, a.extracted, a.rule, a.verdict,"
            " r.correct, r.finish, r.num_tokens FROM rollouts r"
            " JOIN answers a ON a.rollout_id = r.id ORDER BY r.id"
        )

    def texts(self) -> list[dict[str, Any]]:
        """All completions with their texts: `rollout_id, text`."""
        return self._rows("SELECT id AS rollout_id, text FROM rollouts ORDER BY id")
