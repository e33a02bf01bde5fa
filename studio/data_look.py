"""What the data of a recipe come to, before anything is started: its columns, what the first rows
become, how many problems there are, and the turns of the first prompt.

Bounded: the first rows of any file; all rows of small ones. A data set of the hub is not read.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from grpo_core.config import DataConfig
from grpo_core.data_config import HUB
from grpo_core.data_files import Row
from grpo_core.data_splits import find_splits
from grpo_core.prompts import Turn, turns, worked
from grpo_core.records import Problem
from grpo_core.tasks import load_task, to_problem

SHOWN = 5
"""Rows in the tables."""
WHY = "Left out because"
MAX_CELL, MAX_COLUMNS = 160, 12
MAX_BYTES = 16 << 20
"""Of all files together; larger ones are not counted here."""
_PEEK = 40
_PEEK_CHARACTERS = 4_000_000
_PEEK_S = 1.0
_PACKED = {".parquet": 4}  # a byte on disk is several in memory

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Looked:
    """What there is to show."""

    rows: tuple[dict[str, str], ...] = ()
    """The first rows as they are, cells cut."""
    become: tuple[dict[str, str], ...] = ()
    """The same rows as problems, or why they are left out; nothing where none of all rows can be
    used, which `wrong` says."""
    said: str = ""
    """How much there is, one sentence."""
    notes: tuple[str, ...] = ()
    chat: tuple[Turn, ...] = ()
    """Of the first prompt."""
    wrong: str = ""
    """Why the data cannot be used, one sentence."""


def columns(config: DataConfig) -> tuple[str, ...]:
    """The columns of the first training rows; none where they cannot be read here."""
    try:
        rows = _first_rows(config.path, config.train_split, _stamp(config))
    except ValueError:
        return ()
    return tuple(dict.fromkeys(str(key) for row in rows if isinstance(row, dict) for key in row))


def look(config: DataConfig, num_held_out: int) -> Looked:
    """What to show of these data; cached until a file changes."""
    return _look(config, num_held_out, _stamp(config))


@lru_cache(maxsize=16)
def _look(config: DataConfig, num_held_out: int, stamp: Stamp) -> Looked:
    if _is_far(config.path, config):
        said = "A data set of the hub is read when the run starts, not here."
        return Looked(said=said, chat=_chat(config, []))
    rows: tuple[Row, ...] = ()
    try:
        if config.task != "arithmetic":
            rows = _first_rows(config.path, config.train_split, stamp)
        shown = Looked(tuple(map(_cut_row, rows[:SHOWN])), tuple(_become(rows[:SHOWN], config)))
    except ValueError as error:
        return Looked(wrong=str(error))
    if _is_far(config.eval_path, config) or _size(stamp) > MAX_BYTES:
        return _uncounted(config, rows, shown)
    try:
        task = load_task(config, num_held_out)
    except ValueError as error:
        lost = all(row[WHY] for row in shown.become)
        return Looked(shown.rows, () if lost else shown.become, wrong=str(error))
    first = task.train[0]
    chat = turns(config, first.question, first.examples)
    said = f"{len(task.train):,} training problems, {len(task.held_out):,} held out."
    if config.shots:
        said += f" The {config.shots:,} worked examples are taken out of the training problems."
    return Looked(shown.rows, shown.become, said, task.notes, tuple(chat))


def _uncounted(config: DataConfig, rows: tuple[Row, ...], shown: Looked) -> Looked:
    problems = [problem for _, problem in _tried(rows, config) if isinstance(problem, Problem)]
    said = (
        "The held-out problems come from the hub; they are counted when the run starts."
        if _is_far(config.eval_path, config)
        else f"More than {MAX_BYTES >> 20} MB: counted when the run starts, not here."
    )
    if config.shots:
        said += " The worked examples below stand in for those that the run will draw."
    return Looked(shown.rows, shown.become, said, (), _chat(config, problems))


def _chat(config: DataConfig, problems: list[Problem]) -> tuple[Turn, ...]:
    if not problems:
        return tuple(turns(config, "{question}"))
    first, *others = problems
    shots = [(one.question, worked(config.task, one)) for one in others[: config.shots]]
    return tuple(turns(config, first.question, shots))


def _is_far(path: str | None, config: DataConfig) -> bool:
    if path is None:
        return config.task == "gsm8k" and config.path is None
    return path.startswith(HUB)


# --- the first rows ------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _first_rows(path: str | None, train_split: str | None, stamp: Stamp) -> tuple[Row, ...]:
    if not path or path.startswith(HUB):
        return ()
    source, _, _ = find_splits(DataConfig(task="file", path=path, train_split=train_split))
    found: list[Row] = []
    characters, until = 0, time.monotonic() + _PEEK_S
    for row in islice(source.read(), _PEEK):
        found.append(row)
        characters += len(str(row))
        if characters > _PEEK_CHARACTERS or time.monotonic() > until:
            break
    return tuple(found)


def _tried(rows: tuple[Row, ...], config: DataConfig) -> Iterator[tuple[int, Problem | str]]:
    for number, row in enumerate(rows, start=1):
        try:
            yield number, to_problem(row, config, f"row {number}")
        except ValueError as error:
            yield number, str(error)


def _become(rows: tuple[Row, ...], config: DataConfig) -> Iterator[dict[str, str]]:
    for number, one in _tried(rows, config):
        lost = isinstance(one, str)
        yield {
            "Row": str(number),
            "Question": "" if isinstance(one, str) else _cut(one.question),
            "Reference answer": "" if isinstance(one, str) else _cut(one.answer),
            WHY: _cut(one) if lost else "",
        }


def _cut_row(row: Row) -> dict[str, str]:
    if isinstance(row, str):
        return {}
    return {_cut(key)[:60] or " ": _cut(cell) for key, cell in list(row.items())[:MAX_COLUMNS]}


def _cut(cell: Any) -> str:
    text = "" if cell is None else str(cell)[: 4 * MAX_CELL]
    text = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


# --- files ---------------------------------------------------------------------------------------


def _stamp(config: DataConfig) -> Stamp:
    """Name, size and time of change of the files: what is cached holds until one changes."""
    paths = [path for path in (config.path, config.eval_path) if path and not path.startswith(HUB)]
    found: list[tuple[str, int, int]] = []
    for file in islice((file for path in paths for file in _files(Path(path))), 1000):
        try:
            stat = file.stat()
        except OSError:
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for pattern in ("*.*", "*/*.*"):
        yield from (file for file in path.glob(pattern) if file.is_file())


def _size(stamp: Stamp) -> int:
    return sum(size * _PACKED.get(Path(name).suffix, 1) for name, size, _ in stamp)
