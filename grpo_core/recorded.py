"""Recorded completions and what the judge says of them: a file whose rows are those of a data set,
with a `completion` each. A row that cannot be judged is counted and says why; the others are.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from grpo_core.data_config import columns_of
from grpo_core.gold import gold_of, is_missing
from grpo_core.intervals import wilson
from grpo_core.judge import Grade, Judge
from grpo_core.tasks import read_rows

MAX_LINE = 16 << 20
"""Bytes of a line of JSONL, characters of a cell of CSV."""
AT_ONCE = 256
"""Completions that the judge is given together."""


@dataclass(frozen=True)
class Recorded:
    """A completion and the reference answer of its row, or why there are none."""

    where: str
    """For people: on which line of the file it begins, or which row of a table it is."""
    text: str = ""
    gold: str = ""
    why: str = ""


def read_recorded(path: Path, task: str, answer_column: str | None = None) -> list[Recorded]:
    """All rows of a JSONL, CSV or Parquet file, in its order; empty lines are no rows.

    Raises ValueError if the file cannot be read, or if no row has both columns.
    """
    column = answer_column or columns_of(task)[1]
    if not path.is_file():  # also refuses pipes and devices, which would block
        raise ValueError(f"{path}: is not a file")
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows}
    reader = readers.get(path.suffix.lower(), _table_rows)
    place = "row" if reader is _table_rows else "line"
    found: list[Recorded] = []
    columns: set[str] = set()
    for number, row in reader(path):
        if isinstance(row, dict):
            columns |= row.keys()
        found.append(_recorded(f"{place} {number}", row, task, column))
    if not found:
        raise ValueError(f"{path}: has no rows")
    if not columns:
        raise ValueError(f"{path}: no row can be read; {found[0].where}: {found[0].why}")
    missing = [name for name in ("completion", column) if name not in columns]
    if missing:
        there = ", ".join(sorted(map(str, columns))) or "nothing"
        raise ValueError(
            f"{path}: no row has a column {missing[0]!r} (there: {there}); task {task} needs the "
            f"data set's own columns and `completion`"
        )
    return found


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line numbers with their rows; a line that is no JSON object stands there as the reason."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                if line is None or line.strip():
                    yield number, _row(line)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines; None in place of one that is too long, of which nothing is kept."""
    while line := file.readline(MAX_LINE):
        if len(line) < MAX_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None


def _row(line: bytes | None) -> dict[str, Any] | str:
    if line is None:
        return f"the line is longer than {MAX_LINE >> 20} MB"
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    except (ValueError, RecursionError):
        return "the line is not JSON"
    return row if isinstance(row, dict) else "the line is not a JSON object"


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The lines that rows begin on with the rows, or why one is none."""
    try:
        # surrogates stand for what is no UTF-8, so that only its own row is lost
        with (
            path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file,
            _long_cells(),
        ):
            yield from _records(path, csv.reader(file, strict=True))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def _long_cells() -> Iterator[None]:
    """The limit of the library ends a row in its middle, and what follows is then read awry."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(path: Path, reader: Any) -> Iterator[tuple[int, dict[str, Any] | str]]:
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"the row is not CSV: {error}"
            continue
        if not cells:
            continue
        if header is None:
            header = cells
            if not _is_unicode(header):
                raise ValueError(f"{path}: is not UTF-8; save it as UTF-8")
        else:
            yield line, _csv_row(header, cells)


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | str:
    if len(cells) > len(header):
        return f"the row has {len(cells)} cells, the header has {len(header)}"
    if max(map(len, cells)) > MAX_LINE:
        return f"a cell is longer than {MAX_LINE:,} characters"
    if not _is_unicode(cells):
        return "the row is not UTF-8"
    return dict(zip(header, cells, strict=False))


def _is_unicode(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _table_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Row numbers with the rows of a Parquet file."""
    try:
        yield from enumerate(read_rows(path), start=1)
    except ValueError as error:  # here the path is no setting but an argument
        raise ValueError(str(error).removeprefix("data.path: ")) from None


def _recorded(where: str, row: dict[str, Any] | str, task: str, column: str) -> Recorded:
    if isinstance(row, str):
        return Recorded(where, why=row)
    text = _said(row.get("completion"))
    if text is None:
        return Recorded(where, why="there is no completion")
    try:
        return Recorded(where, text, gold_of(task, row.get(column)))
    except ValueError as error:
        return Recorded(where, text, why=str(error))


def _said(completion: Any) -> str | None:
    """A text, or the last of chat messages."""
    match completion:
        case str(text) | [*_, {"content": str(text)}]:
            return text
        case int() | float() if not is_missing(completion):
            return str(completion)
    return None


def judged(recorded: Sequence[Recorded], judge: Judge) -> Iterator[tuple[Recorded, Grade | None]]:
    """Each row with its grade, in order; None where it cannot be judged."""
    for start in range(0, len(recorded), AT_ONCE):
        part = recorded[start : start + AT_ONCE]
        grades = iter(judge.grade([(one.text, one.gold) for one in part if not one.why]))
        for one in part:
            yield one, None if one.why else next(grades)


def report(task: str, found: list[tuple[Recorded, Grade | None]]) -> dict[str, Any]:
    """`total, correct, ungradable`, the accuracy of what could be judged with Wilson's 95 %
    interval, how often each rule found the answer, and every row."""
    grades = [grade for _, grade in found if grade is not None]
    correct = sum(grade.correct for grade in grades)
    rules = Counter(grade.rule for grade in grades)
    right = Counter(grade.rule for grade in grades if grade.correct)
    return {
        "task": task,
        "total": len(found),
        "correct": correct,
        "ungradable": len(found) - len(grades),
        "accuracy": correct / len(grades) if grades else None,
        "interval": list(wilson(correct, len(grades))),
        "rules": {rule: {"num": num, "correct": right[rule]} for rule, num in rules.most_common()},
        "undecided": sum(grade.outcome != "ok" for grade in grades),
        "rows": [_as_row(one, grade) for one, grade in found],
    }


def _as_row(one: Recorded, grade: Grade | None) -> dict[str, Any]:
    if grade is None:
        said = {"correct": None, "extracted": None, "rule": None, "seconds": 0.0}
        return {**said, "outcome": None, "where": one.where, "why": one.why}
    return {**asdict(grade), "where": one.where, "why": ""}
