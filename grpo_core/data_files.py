"""Rows of the files that a user brings: JSONL, CSV, Parquet, and folders that `datasets` has saved.

A row is a dict, or a string: why it cannot be read. Files are read as they are asked for, so that
the first rows of a large one cost what they are; no line costs more memory than its limit.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

Row = dict[str, Any] | str
MAX_LINE = 10_000_000
"""Characters of a line."""
_BATCH = 256
_SHARD = re.compile(r"(?P<split>\w+?)(?:-\d{5}-of-\d{5})?\.(?P<kind>jsonl|csv|parquet)")


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSONL, CSV or Parquet file.

    Raises ValueError naming the file, and what to do, where it cannot be read at all.
    """
    rows = list(iter_rows(path))
    if not rows:
        raise ValueError(f"data.path: {path.name} has no rows")
    return rows


def iter_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, one after another; raises as `read_rows` does, when it comes to it."""
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file():  # also refuses pipes and devices, which would block
        raise ValueError(f"data.path: {path} is not a file")
    if reader is None:
        raise ValueError(f"data.path: {path.name}: expected a .jsonl, .csv or .parquet file")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(path, error)) from None
    except OSError as error:
        raise ValueError(f"data.path: {path}: cannot be read: {error.strerror or error}") from None


def folder_splits(folder: Path) -> dict[str, Callable[[], Iterator[Row]]]:
    """The splits of a folder by name, each with what reads its rows: `train.jsonl`, the shards
    `train-00000-of-00002.parquet` (there or in `data`), or what `save_to_disk` has written."""
    saved = _saved_splits(folder)
    if saved:
        return {name: _reads(_saved_rows, [at]) for name, at in saved.items()}
    found: dict[str, dict[str, list[Path]]] = {}
    for place in (folder / "data", folder):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if (match := _SHARD.fullmatch(file.name)) and file.is_file():
                found.setdefault(match["split"], {}).setdefault(match["kind"], []).append(file)
    kinds = [suffix.removeprefix(".") for suffix in _READERS]
    return {
        split: _reads(iter_rows, next(files[kind] for kind in kinds if kind in files))
        for split, files in found.items()
    }


def _reads(
    reader: Callable[[Path], Iterator[Row]], files: list[Path]
) -> Callable[[], Iterator[Row]]:
    return lambda: (row for file in files for row in reader(file))


# --- text ----------------------------------------------------------------------------------------


def _not_utf8(path: Path, error: UnicodeDecodeError) -> str:
    return (
        f"data.path: {path.name} is not UTF-8 ({error.reason}); convert it with "
        f"`iconv -f {_encoding(path)} -t UTF-8 {path.name} > converted{path.suffix}`"
    )


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(b"\0") > len(head) // 4
    return "UTF-16" if wide else "WINDOWS-1252"


def _opened(path: Path) -> TextIO:
    """The file as text, line breaks as they are. ValueError for UTF-16 without its mark, whose
    bytes are UTF-8 as well."""
    if _encoding(path) == "UTF-16":
        raise UnicodeDecodeError("utf-8", b"", 0, 0, "it looks like UTF-16")
    return path.open(encoding="utf-8-sig", newline="")


class _Lines:
    """The lines of a file; one that is too long raises csv.Error, and the next follows it."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.number, self.is_quoted = file, 0, False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) < MAX_LINE or line.endswith("\n"):
            return line
        while (rest := self._read()) and not rest.endswith("\n"):
            pass
        raise csv.Error(f"line {self.number} is longer than {MAX_LINE:,} characters")

    def _read(self) -> str:
        part = self.file.readline(MAX_LINE)
        self.is_quoted ^= part.count('"') % 2 == 1
        return part


def _read_jsonl(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        lines = _Lines(file)
        while True:
            try:
                line = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield str(error)
                continue
            if line.strip():
                yield _from_json(line, lines.number)


def _from_json(line: str, number: int) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return f"line {number} is not JSON"
    return row if isinstance(row, dict) else f"line {number} is not a JSON object"


def _read_csv(path: Path) -> Iterator[Row]:
    with _opened(path) as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while True:
            lines.is_quoted = False
            first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if header is None:
                    raise ValueError(f"data.path: {path.name}: header: {error}") from None
                _close_quote(lines, first, path.name)
                yield f"line {first}: {error}"
                continue
            if header is None:
                header = cells
            elif len(cells) > len(header):
                yield f"line {first} has more cells than the header"
            elif cells:
                yield dict(zip(header, [*cells, *[None] * len(header)], strict=False))


def _close_quote(lines: _Lines, first: int, name: str) -> None:
    """Pass over the rest of a cell in which reading was given up. Where it never ends, all that
    follows is lost, and what a row would be can only be guessed."""
    while lines.is_quoted:
        try:
            next(lines)
        except StopIteration:
            raise ValueError(
                f"data.path: {name}: the quote that opens in line {first} is never closed"
            ) from None
        except csv.Error:
            continue


# --- Arrow ---------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow  # noqa: PLC0415  heavy, and needed for these formats only
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"data.path: {path.name} is not a readable Parquet file: {_one_line(error)}"
        ) from None


def _saved_splits(folder: Path) -> dict[str, Path]:
    """The folders of the splits that `save_to_disk` has written; a single one is called `train`."""
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json").get("splits", [])
        return {str(name): folder / Path(str(name)).name for name in names}
    return {"train": folder} if (folder / "dataset_info.json").is_file() else {}


def _saved_rows(folder: Path) -> Iterator[Row]:
    import pyarrow  # noqa: PLC0415  heavy, and needed for these formats only

    for entry in _json(folder / "state.json").get("_data_files", []):
        file = folder / Path(str(entry["filename"])).name  # never outside the folder
        try:
            with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
                for batch in stream:
                    for start in range(0, batch.num_rows, _BATCH):
                        yield from batch.slice(start, _BATCH).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"data.path: {file} is not readable: {_one_line(error)}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"data.path: {path} is not readable: {_one_line(error)}") from None
    return found if isinstance(found, dict) else {}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


_READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
