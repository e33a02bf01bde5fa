"""Data sets as problems: the bundled arithmetic, GSM8K, MATH, CMATH, and files a user brings.

Training and held-out problems never share a question, and none stands there twice; what is left out
is said. Worked examples are training problems that are not trained on. `draw(step)` is a function
of the seed and the step alone, so a resumed run sees the prompts it would have seen. No torch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from grpo_core import arithmetic
from grpo_core.data_config import DataConfig
from grpo_core.data_files import Row
from grpo_core.data_files import read_rows as read_rows
from grpo_core.data_splits import Split, find_splits, find_test
from grpo_core.gold import gold_of, is_missing
from grpo_core.prompts import worked
from grpo_core.records import Problem

NUM_ARITHMETIC_PROBLEMS = 8000
MAX_NAMED = 3
"""Rows that a note names."""


@dataclass(frozen=True)
class Task:
    """Training problems and held-out ones."""

    train: Sequence[Problem]
    held_out: Sequence[Problem]
    notes: tuple[str, ...] = ()
    """What was left out, and why; one sentence each."""
    has_test_split: bool = True
    """Whether the held-out problems are a split of their own, not a part of the training file."""

    def draw(self, step: int, num: int, seed: int) -> list[Problem]:
        """The problems of a step: pass after pass over the data, each in its own seeded order."""
        start = (step - 1) * num
        drawn: list[Problem] = []
        while len(drawn) < num:
            epoch, offset = divmod(start + len(drawn), len(self.train))
            order = list(range(len(self.train)))
            random.Random(f"draw/{seed}/{epoch}").shuffle(order)
            wanted = order[offset : offset + num - len(drawn)]
            drawn += [self.train[index] for index in wanted]
        return drawn


def load_task(config: DataConfig, num_held_out: int) -> Task:
    """The problems of a recipe. Raises ValueError that says which file, row or column is wrong."""
    notes: list[str] = []
    is_split = True
    if config.task == "arithmetic":
        train = _arithmetic("train", NUM_ARITHMETIC_PROBLEMS)
        held_out = _arithmetic("eval", num_held_out)
    else:
        train, held_out, is_split = _from_rows(config, num_held_out, notes)
    train, examples = _take_examples(train, config)
    held_out = held_out[:num_held_out]
    for problem in (*train, *held_out):
        problem.examples = examples
    return Task(train, held_out, tuple(notes), is_split)


def load_test(
    config: DataConfig, examples: tuple[tuple[str, str], ...] = ()
) -> tuple[list[Problem], list[str]]:
    """The problems of the `test` split, or all of a file that has none, and what was left out.
    Worked examples are those given, else training problems beside it. Raises ValueError as
    `load_task` does."""
    split, beside, notes = find_test(config)
    problems = problems_of(split, config, notes)
    if config.shots and not examples:
        train = problems_of(beside, config, []) if beside else []
        _, examples = _take_examples(_without_held_out(train, problems, []), config)
    for problem in problems:
        problem.examples = examples
    return problems, notes


def num_shared(problems: Iterable[Problem], train: Iterable[Problem]) -> int:
    """How many of the problems ask what one of `train` asks."""
    known = {_alike(problem.question) for problem in train}
    return sum(_alike(problem.question) in known for problem in problems)


def _from_rows(
    config: DataConfig, num_held_out: int, notes: list[str]
) -> tuple[list[Problem], list[Problem], bool]:
    """Training problems, held-out ones, and whether these are a split of their own."""
    split, other, chosen = find_splits(config)
    notes += chosen
    train = problems_of(split, config, notes)
    if other is not None:
        held_out = problems_of(other, config, notes)
    else:
        train, held_out = _hold_out(train, num_held_out)
    train = _without_held_out(train, held_out, notes)
    if not train or not held_out:
        what = "training" if not train else "held-out"
        said = f"; {'; '.join(notes)}" if notes else ""
        raise ValueError(
            f"data: no {what} problems are left; the file is empty, too small to hold problems "
            f"out, or training and held-out questions are the same{said}"
        )
    return train, held_out, other is not None


def _take_examples(
    train: list[Problem], config: DataConfig
) -> tuple[list[Problem], tuple[tuple[str, str], ...]]:
    """What is left to train on, and the worked examples taken out of it: `(question, solution)`.
    Which ones they are does not depend on the run's seed."""
    if not config.shots:
        return train, ()
    if len(train) <= config.shots:
        raise ValueError(
            f"data.shots: {config.shots} examples are taken from the training problems, and there "
            f"are {len(train)}; lower data.shots to {max(0, len(train) - 1)} or less, or bring "
            "more data"
        )
    taken = random.Random("shots").sample(range(len(train)), config.shots)
    examples = tuple((train[i].question, worked(config.task, train[i])) for i in taken)
    out = set(taken)
    return [problem for index, problem in enumerate(train) if index not in out], examples


def _arithmetic(split: arithmetic.Split, num: int) -> list[Problem]:
    seen: dict[str, Problem] = {}
    for expression, question in arithmetic.questions(split, seed=0):
        if len(seen) == num:
            break
        if question not in seen:
            answer = str(expression.value)
            row = {"question": question, "answer": answer, "kind": expression.kind}
            seen[question] = Problem(f"{split}-{len(seen)}", question, answer, row)
    return list(seen.values())


def _hold_out(problems: list[Problem], num: int) -> tuple[list[Problem], list[Problem]]:
    """At most half of a file becomes held out; which half does not depend on the run's seed."""
    order = list(range(len(problems)))
    random.Random("held out").shuffle(order)
    held = set(order[: min(num, len(problems) // 2)])
    train = [p for index, p in enumerate(problems) if index not in held]
    return train, [problems[index] for index in sorted(held)]


# --- rows to problems ----------------------------------------------------------------------------


def problems_of(split: Split, config: DataConfig, notes: list[str]) -> list[Problem]:
    """Each question once. A row that cannot be read, or has no question or reference answer, is
    left out and noted; where no row can be used, ValueError says what is missing."""
    found: dict[str, Problem] = {}
    lost: list[str] = []  # the first ones
    num_lost = twice = contrary = number = 0
    for number, row in enumerate(islice(split.read(), config.max_rows), start=1):
        try:
            problem = to_problem(row, config, f"{split.name}-{number}")
        except ValueError as error:
            num_lost += 1
            if len(lost) < MAX_NAMED:
                lost.append(f"row {number}: {error}")
            continue
        first = found.setdefault(" ".join(problem.question.split()), problem)
        twice += first is not problem
        contrary += first is not problem and first.answer != problem.answer
    if not number:
        raise ValueError(f"data: {split.name} has no rows")
    if lost and not found:
        raise ValueError(f"data: no row of {split.name} can be used; {lost[0]}")
    if lost:
        shown = "; ".join(lost) + (" …" if num_lost > MAX_NAMED else "")
        notes.append(f"{num_lost:,} of {number:,} rows of {split.name} are left out ({shown})")
    if twice:
        other = f", {contrary:,} of them with another answer" if contrary else ""
        notes.append(
            f"{twice:,} rows of {split.name} ask what one before them asks{other}: left out"
        )
    return list(found.values())


def to_problem(row: Row, config: DataConfig, name: str) -> Problem:
    """A row as a problem; ValueError says why it is none."""
    if isinstance(row, str):
        raise ValueError(row)
    for column in (config.question_column, config.answer_column):
        if column not in row:
            raise ValueError(
                f"there is no column {column!r} (there: {', '.join(map(str, row)) or 'nothing'}); "
                "set data.question_column and data.answer_column"
            )
    question, written = row[config.question_column], row[config.answer_column]
    if is_missing(question) or not str(question).strip():
        raise ValueError(f"{config.question_column!r} is empty")
    for column in (config.question_column, config.answer_column):
        if isinstance(row[column], list | dict | bytes):
            raise ValueError(f"{column!r} holds a {type(row[column]).__name__}, not text")
    answer = gold_of(config.task, written)
    row = {column: None if is_missing(cell) else cell for column, cell in row.items()}
    if config.task in ("gsm8k", "math"):
        row["solution"] = written
    return Problem(name, str(question), answer, row)


def _alike(question: str) -> str:
    """Questions that differ in case and white space alone are one."""
    return " ".join(question.split()).casefold()


def _without_held_out(
    train: list[Problem], held_out: list[Problem], notes: list[str]
) -> list[Problem]:
    """Training problems that are not asked in an evaluation."""
    asked = {_alike(problem.question) for problem in held_out}
    kept = [problem for problem in train if _alike(problem.question) not in asked]
    if len(kept) < len(train):
        notes.append(
            f"{len(train) - len(kept):,} training questions are held-out ones as well and are left "
            "out of training"
        )
    return kept
