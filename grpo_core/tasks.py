"""Data sets as problems: the bundled arithmetic, GSM8K, MATH, CMATH, and files a user brings.

Training and held-out problems never share a question, and none stands there twice; what is left out
is said. `draw(step)` is a function of the seed and
the step alone, so a resumed run sees the prompts it would have seen. No torch; `datasets` and
`pyarrow` are imported only where a hub data set or a Parquet file is read.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from grpo_core import arithmetic
from grpo_core.config import DataConfig
from grpo_core.gold import gold_of, is_missing
from grpo_core.records import Problem

NUM_ARITHMETIC_PROBLEMS = 8000
MAX_NAMED = 3
"""Rows that a note names."""
_SUFFIXES = (".jsonl", ".csv", ".parquet")
_MAX_LINE = 10_000_000


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
    if config.task == "arithmetic":
        return Task(
            _arithmetic("train", NUM_ARITHMETIC_PROBLEMS), _arithmetic("eval", num_held_out)
        )
    train_rows, held_out_rows = _read_splits(config)
    notes: list[str] = []
    train = _problems(train_rows, config, "train", notes)
    if held_out_rows is not None:
        held_out = _problems(held_out_rows, config, "test", notes)
    else:
        train, held_out = _hold_out(train, num_held_out)
    train = _without_held_out(train, held_out, notes)
    if not train or not held_out:
        what = "training" if not train else "held-out"
        raise ValueError(
            f"data: no {what} problems are left; the file is empty, too small to hold problems "
            "out, or training and held-out questions are the same"
        )
    return Task(train, held_out[:num_held_out], tuple(notes), held_out_rows is not None)


def load_test(config: DataConfig) -> tuple[list[Problem], list[str]]:
    """The problems of the `test` split, or all of a file that has none, and what was left out.
    Raises ValueError as `load_task` does."""
    train_rows, held_out_rows = _read_splits(config)
    rows = train_rows if held_out_rows is None else held_out_rows
    notes: list[str] = []
    return _problems(rows, config, "test", notes), notes


def num_shared(problems: Iterable[Problem], train: Iterable[Problem]) -> int:
    """How many of the problems ask what one of `train` asks."""
    known = {_alike(problem.question) for problem in train}
    return sum(_alike(problem.question) in known for problem in problems)


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


def _problems(
    rows: Iterable[dict[str, Any]], config: DataConfig, split: str, notes: list[str]
) -> list[Problem]:
    """Each question once. A row without question or reference answer is left out and noted; where
    no row has any, ValueError says what is missing."""
    found: dict[str, Problem] = {}
    lost: list[str] = []
    twice = contrary = number = 0
    for number, row in enumerate(rows, start=1):
        try:
            problem = _problem(row, config, f"{split}-{number}")
        except ValueError as error:
            lost.append(f"row {number}: {error}")
            continue
        first = found.setdefault(" ".join(problem.question.split()), problem)
        twice += first is not problem
        contrary += first is not problem and first.answer != problem.answer
    if lost and not found:
        raise ValueError(f"data: no row of {split} can be used; {lost[0]}")
    if lost:
        shown = "; ".join(lost[:MAX_NAMED]) + (" …" if len(lost) > MAX_NAMED else "")
        notes.append(f"{len(lost):,} of {number:,} rows of {split} are left out ({shown})")
    if twice:
        other = f", {contrary:,} of them with another answer" if contrary else ""
        notes.append(f"{twice:,} rows of {split} ask what one before them asks{other}: left out")
    return list(found.values())


def _problem(row: dict[str, Any], config: DataConfig, name: str) -> Problem:
    for column in (config.question_column, config.answer_column):
        if column not in row:
            raise ValueError(
                f"there is no column {column!r} (there: {', '.join(map(str, row)) or 'nothing'}); "
                "set data.question_column and data.answer_column"
            )
    question, written = row[config.question_column], row[config.answer_column]
    if is_missing(question) or not str(question).strip():
        raise ValueError(f"{config.question_column!r} is empty")
    answer = gold_of(config.task, written)
    if config.task in ("gsm8k", "math"):
        row = {**row, "solution": written}
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


# --- files ---------------------------------------------------------------------------------------


def _read_splits(
    config: DataConfig,
) -> tuple[Iterable[dict[str, Any]], Iterable[dict[str, Any]] | None]:
    if config.path is None:
        return _from_hub("openai/gsm8k", "main")
    path = Path(config.path)
    if path.is_dir():
        train, test = _split_file(path, "train"), _split_file(path, "test")
        if train is None:
            raise ValueError(f"data.path: {path} holds no train.jsonl, train.csv or train.parquet")
    else:
        train, test = path, None
    held_out = Path(config.eval_path) if config.eval_path else test
    return read_rows(train), read_rows(held_out) if held_out else None


def _split_file(folder: Path, split: str) -> Path | None:
    files = [folder / f"{split}{suffix}" for suffix in _SUFFIXES]
    return next((file for file in files if file.is_file()), None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSONL, CSV or Parquet file as dicts.

    Raises ValueError naming the file and the line for anything that cannot be read.
    """
    if not path.is_file():  # also refuses pipes and devices, which would block
        raise ValueError(f"data.path: {path} is not a file")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"data.path: {path.name}: expected a .jsonl, .csv or .parquet file")
    try:
        rows = reader(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"data.path: {path.name} is not UTF-8: {error.reason}") from None
    if not rows:
        raise ValueError(f"data.path: {path.name} has no rows")
    return rows


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), ""), start=1):
            if not line.strip():
                continue
            if len(line) == _MAX_LINE:
                raise ValueError(
                    f"data.path: {path.name}: line {number} is longer than {_MAX_LINE:,} characters"
                )
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"data.path: {path.name}: line {number} is not JSON") from None
            if not isinstance(row, dict):
                raise ValueError(f"data.path: {path.name}: line {number} is not a JSON object")
            rows.append(row)
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(csv.DictReader(file, strict=True))
        except csv.Error as error:
            raise ValueError(f"data.path: {path.name}: {error}") from None
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise ValueError(f"data.path: {path.name}: row {number} has more cells than the header")
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow  # noqa: PLC0415  heavy, and needed for this one format only
    import pyarrow.parquet  # noqa: PLC0415

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"data.path: {path.name} is not a readable Parquet file: {error}"
        ) from None


def _from_hub(name: str, subset: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    import datasets  # noqa: PLC0415  heavy, and only needed when the data come from the hub

    try:
        loaded = datasets.load_dataset(name, subset)
    except Exception as error:  # the library raises a dozen unrelated kinds when offline
        raise ValueError(
            f"data: {name} could not be loaded from the hub ({type(error).__name__}); "
            "set data.path to a local copy"
        ) from None
    splits = [list(islice(loaded[split], None)) for split in ("train", "test")]
    return splits[0], splits[1]
