"""Trying rewards from the page, in the same sandbox that training uses.

A sandbox worker belongs to the thread that started it, and Streamlit's script threads come and go:
so one thread owns all workers here, lives as long as the server, and is reached through a queue.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache

from grpo_core import reward_test
from grpo_core.reader import RunReader
from grpo_core.records import Event, Group
from grpo_core.rewards import RewardFunction, version_of
from grpo_core.runs import Run
from grpo_core.scorer import Scorer
from studio import data

IDLE_S = 120.0
"""Workers that nobody asked anything for so long are ended."""
MAX_COMPLETIONS = 2048
"""Of a step that one try scores; whole groups."""


@dataclass
class Scored:
    """What a reward gave to stored completions."""

    groups: list[Group]
    faults: list[Event]
    seconds: float


@dataclass
class _Task:
    functions: list[RewardFunction]
    groups: list[Group]
    step: int
    timeout_s: float
    answer: Future[Scored]


class Bench:
    """The thread that owns the workers."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[_Task] = queue.Queue()
        self._scorer: Scorer | None = None
        self._loaded: tuple[str, float] | None = None
        threading.Thread(target=self._work, name="reward-bench", daemon=True).start()

    def score(
        self, functions: list[RewardFunction], groups: list[Group], step: int, timeout_s: float
    ) -> Scored:
        """Fill the groups' rewards; waits for its turn and its answer."""
        task = _Task(functions, groups, step, timeout_s, Future())
        self._tasks.put(task)
        return task.answer.result()

    def _work(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=IDLE_S)
            except queue.Empty:
                self._drop()
                continue
            try:
                task.answer.set_result(self._do(task))
            except Exception as error:  # whatever it is, the page that asked shall hear of it
                self._drop()
                task.answer.set_exception(error)

    def _do(self, task: _Task) -> Scored:
        clock = time.perf_counter()
        faults = self._scorer_for(task).score(task.groups, task.step)
        return Scored(task.groups, faults, time.perf_counter() - clock)

    def _scorer_for(self, task: _Task) -> Scorer:
        wanted = (version_of(task.functions), task.timeout_s)
        if self._scorer is None or self._loaded != wanted:
            self._drop()
            self._scorer = Scorer(task.functions, task.timeout_s, 1, die_with_parent=False)
            self._loaded = wanted
        return self._scorer

    def _drop(self) -> None:
        scorer, self._scorer, self._loaded = self._scorer, None, None
        if scorer is not None:
            scorer.close()


@cache
def bench() -> Bench:
    """The one bench of this server."""
    return Bench()


def stored_groups(run: Run, step: int) -> tuple[list[Group], bool]:
    """The completions of a step as the scorer takes them, whole groups; and whether there are more
    than `MAX_COMPLETIONS`."""
    config = data.config_of(run)
    column = config.data.question_column if config else "question"

    def query(reader: RunReader) -> tuple[list[Group], bool]:
        groups = reward_test.stored_groups(reader, step, column, MAX_COMPLETIONS)
        return groups, len(groups) < len(reader.group_summaries(step))

    return data.read(run, query, ([], False))
