"""The one judge of answers: whether completions answer their problems.

What can be told at once is (`grading.py`). An answer that takes algebra goes to math-verify
(`symbolic.py`), which may take for ever on what a model wrote: to a worker of the sandbox, one
deadline an answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from grpo_core import grading
from grpo_core.records import Group, Outcome
from grpo_core.sandbox import Call, Function, Pool
from grpo_core.sandbox_process import Verdict

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

    A row of deadlines that pass makes the worker give up on a batch. One who is patient asks again
    for what it did not look at; else that gets no verdict, as while training.
    """

    def __init__(
        self, timeout_s: float = 2.0, is_patient: bool = True, die_with_parent: bool = False
    ) -> None:
        self._timeout_s, self._is_patient = timeout_s, is_patient
        self._die_with_parent = die_with_parent
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
        grades, open_pairs = [], []
        for index, (text, gold) in enumerate(pairs):
            began = time.perf_counter()
            answer, rule = grading.extract(text)
            verdict = False if answer is None else grading.decide(answer, gold)
            grades.append(Grade(bool(verdict), answer, rule, time.perf_counter() - began))
            if answer is not None and verdict is None:
                open_pairs.append((index, answer, gold))
        for (index, _, _), said in zip(open_pairs, self._ask(open_pairs), strict=True):
            one = grades[index]
            one.correct, one.outcome = said.value == 1.0, said.outcome
            one.seconds += said.seconds
        return grades

    def _ask(self, open_pairs: Sequence[tuple[int, str, str]]) -> list[Verdict]:
        """Verdicts of the worker."""
        if not open_pairs:
            return []
        if self._pool is None:
            function = Function(_SOURCE, "judge.py", "is_equal", batch=False, messages=False)
            self._pool = Pool([function], self._timeout_s, 1, self._die_with_parent)
        groups = [_payload(answer, gold) for _, answer, gold in open_pairs]
        verdicts: list[Verdict | None] = [None] * len(groups)
        while waiting := [i for i, one in enumerate(verdicts) if one is None]:
            calls = [Call(0, position, (0,)) for position in range(len(waiting))]
            said = self._pool.run([groups[i] for i in waiting], calls)
            if not any(one.tried for (one,) in said):
                raise RuntimeError(f"the judge's own code does not load: {said[0][0].message}")
            for i, (one,) in zip(waiting, said, strict=True):
                if one.tried or not self._is_patient:
                    verdicts[i] = one
        return [one for one in verdicts if one is not None]


def mark(groups: Sequence[Group], judge: Judge) -> None:
    """Fill `correct` of each completion; without a reference answer none is."""
    known = [group for group in groups if group.problem.answer]
    pairs = [(one.text, group.problem.answer) for group in known for one in group.rollouts]
    grades = iter(judge.grade(pairs))
    for group in groups:
        for one in group.rollouts:
            one.correct = bool(group.problem.answer) and next(grades).correct


def _payload(answer: str, gold: str) -> dict[str, object]:
    return {
        "prompt": "", "question": "", "answer": gold, "step": 0, "columns": {},
        "completions": [answer], "completion_ids": [[]],
    }  # fmt: skip
