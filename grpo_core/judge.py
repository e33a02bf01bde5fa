"""The one judge of answers: whether completions answer their problems.

What can be told at once is (`grading.py`). An answer that takes algebra goes to math-verify
(`symbolic.py`), which may take for ever on what a model wrote: to a worker of the sandbox, one
deadline an answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from grpo_core import grading
from grpo_core.records import Group, Outcome
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_process import Verdict
from grpo_core.verdict import decide

AT_ONCE = 32
"""Answers that the worker is given together."""
_NO_TIME = Verdict("timeout", message="no time was left for it", tried=False)
_SOURCE = """from grpo_core.symbolic import equal


def is_equal(completion, answer):
    return 1.0 if equal(completion, answer) else 0.0
"""


@dataclass
class Grade:
    """What the judge says of one completion."""

    correct: bool
    extracted: str | None
    """What it takes for the answer; None where it finds none."""
    rule: str
    """Which rule found it, see `grading.extract`."""
    seconds: float
    outcome: Outcome = "ok"
    """Otherwise `correct` is False because no verdict came: `timeout`, `crash` or `error`."""


class Judge:
    """Belongs to the thread that made it; its worker starts when an answer needs one.

    `patience_s`: what the worker may take for one call of `grade`; what it has not looked at by
    then gets no verdict. None is for ever. `is_ordered`: see `verdict.decide`.
    """

    def __init__(
        self,
        timeout_s: float = 2.0,
        patience_s: float | None = None,
        is_ordered: bool = True,
        die_with_parent: bool = False,
    ) -> None:
        self._timeout_s, self._patience_s = timeout_s, patience_s
        self._is_ordered, self._die_with_parent = is_ordered, die_with_parent
        self._pool: Pool | None = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """A grade for each `(completion, reference answer)`, in their order."""
        grades: list[Grade] = []
        waiting: dict[tuple[str, str], list[Grade]] = {}  # the same answer is worked out once
        for text, gold in pairs:
            began = time.perf_counter()
            answer, rule = grading.extract(text)
            said = False if answer is None else decide(answer, gold, self._is_ordered)
            grades.append(Grade(bool(said), answer, rule, time.perf_counter() - began))
            if answer is not None and said is None:
                waiting.setdefault((answer, gold), []).append(grades[-1])
        for verdict, same in zip(self._ask([*waiting]), waiting.values(), strict=True):
            for one in same:
                one.correct, one.outcome = verdict.value == 1.0, verdict.outcome
                one.seconds += verdict.seconds
        return grades

    def _ask(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Verdicts of the worker, some at a time; a row of deadlines that pass makes it give up on
        what is left of a batch, and that is asked again."""
        if not pairs:
            return []
        if self._pool is None:
            function = Function(_SOURCE, "judge.py", "is_equal", batch=False, messages=False)
            self._pool = Pool([function], self._timeout_s, 1, self._die_with_parent)
        verdicts: dict[int, Verdict] = {}
        until = math.inf if self._patience_s is None else time.monotonic() + self._patience_s
        while len(verdicts) < len(pairs) and time.monotonic() < until:
            part = [index for index in range(len(pairs)) if index not in verdicts][:AT_ONCE]
            calls = [Call(0, position, (0,)) for position in range(len(part))]
            said = self._pool.run([_payload(*pairs[index]) for index in part], calls)
            is_lost = not any(one.tried for (one,) in said)  # the worker does not even load
            for index, (one,) in zip(part, said, strict=True):
                if one.tried or is_lost:
                    verdicts[index] = one
        return [verdicts.get(index, _NO_TIME) for index in range(len(pairs))]


def _payload(answer: str, gold: str) -> dict[str, object]:
    return {
        "prompt": "", "question": "", "answer": gold, "step": 0, "columns": {},
        "completions": [answer], "completion_ids": [[]],
    }  # fmt: skip


def mark(groups: Sequence[Group], judge: Judge) -> int:
    """Fill `correct` of each completion; without a reference answer none is. Returns how many got
    no verdict and count as wrong."""
    known = [group for group in groups if group.problem.answer]
    pairs = [(one.text, group.problem.answer) for group in known for one in group.rollouts]
    given = judge.grade(pairs)
    grades = iter(given)
    for group in groups:
        for one in group.rollouts:
            one.correct = bool(group.problem.answer) and next(grades).correct
    return sum(grade.outcome != "ok" for grade in given)
