"""Which rows are trained on and which are held out: the splits of a file, a folder or a hub data
set. No row is read before it is asked for; `datasets` is imported for the hub alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grpo_core.data_config import HUB, DataConfig, hub_name
from grpo_core.data_files import Row, folder_splits, iter_rows

Reader = Callable[[], Iterator[Row]]
_GSM8K = "hub:openai/gsm8k:main"
_VALIDATION = ("validation", "valid", "val", "dev")
_BATCH = 256


@dataclass(frozen=True)
class Split:
    """Rows under the name that their place gives them."""

    name: str
    read: Reader


def find_splits(config: DataConfig) -> tuple[Split, Split | None, list[str]]:
    """What is trained on, what is held out (None: a part of the former), and what was chosen
    where `train` and `test` are not both there.

    Raises ValueError that says which path or split is wrong.
    """
    where = config.path or _GSM8K
    source = _source(where, "path")
    notes: list[str] = []
    rest: dict[str, Reader]
    if isinstance(source, Split):
        _refuse_split(config.train_split, "train_split", where)
        train, rest = source, {}
    else:
        name, notes = _train_split(source, config.train_split, where)
        train = Split(name, source[name])
        rest = {split: read for split, read in source.items() if split != name}
    if not config.eval_path:
        if isinstance(source, Split):
            _refuse_split(config.eval_split, "eval_split", where)
        return train, _held_out(rest, config.eval_split, where, notes), notes
    other = _source(config.eval_path, "eval_path")
    if isinstance(other, Split):
        _refuse_split(config.eval_split, "eval_split", config.eval_path)
        return train, Split("test", other.read), notes
    only = next(iter(other)) if len(other) == 1 else None
    held_out = _held_out(other, config.eval_split or only, config.eval_path, notes)
    if held_out is None:
        raise ValueError(f"data.eval_path: {_which(other, config.eval_path)}; set data.eval_split")
    return train, held_out, notes


def find_test(config: DataConfig) -> tuple[Split, Split | None, list[str]]:
    """What an evaluation asks: the held-out split, or all of what is no more than one; the training
    split beside it, if there is one; and what was chosen. Raises ValueError as `find_splits`."""
    if config.eval_path:
        train, held_out, notes = find_splits(config)
        assert held_out is not None
        return held_out, train, notes
    where = config.path or _GSM8K
    source = _source(where, "path")
    if isinstance(source, Split):
        _refuse_split(config.eval_split, "eval_split", where)
        return Split("test", source.read), None, []
    chosen: list[str] = []
    found = _held_out(source, config.eval_split, where, chosen)
    if found is None and len(source) > 1:
        raise ValueError(f"data.path: {_which(source, where)}; set data.eval_split")
    if found is None:
        found = Split(*next(iter(source.items())))
        chosen.append(f"{_short(where)} has no split 'test'; {found.name!r} is asked")
    beside = source.get("train") if found.name != "train" else None
    return found, None if beside is None else Split("train", beside), chosen


def _train_split(
    source: Mapping[str, Reader], wanted: str | None, where: str
) -> tuple[str, list[str]]:
    if wanted:
        return _checked(source, wanted, "train_split", where), []
    if "train" in source:
        return "train", []
    name = next((name for name in _VALIDATION if name in source), None)
    if name is None or len(source) == 1:
        raise ValueError(f"data.path: {_which(source, where)}; set data.train_split")
    return name, [f"{_short(where)} has no split 'train'; {name!r} is trained on"]


def _held_out(
    source: Mapping[str, Reader], wanted: str | None, where: str, notes: list[str]
) -> Split | None:
    if wanted:
        return Split(wanted, source[_checked(source, wanted, "eval_split", where)])
    if "test" in source:
        return Split("test", source["test"])
    name = next((name for name in _VALIDATION if name in source), None)
    if name is None:
        return None
    notes.append(f"{_short(where)} has no split 'test'; {name!r} is held out")
    return Split(name, source[name])


def _checked(source: Mapping[str, Reader], name: str, knob: str, where: str) -> str:
    if name not in source:
        raise ValueError(f"data.{knob}: there is no split {name!r}; {_which(source, where)}")
    return name


def _refuse_split(wanted: str | None, knob: str, where: str) -> None:
    if wanted:
        raise ValueError(f"data.{knob}: {_short(where)} is one file and has no splits")


def _which(source: Mapping[str, Reader], where: str) -> str:
    return f"{_short(where)} has the splits {', '.join(map(repr, source))}"


def _short(where: str) -> str:
    return where if where.startswith(HUB) else Path(where).name


def _source(where: str, knob: str) -> Split | dict[str, Reader]:
    """A file as one split, or the splits of a folder or hub data set by name."""
    if where.startswith(HUB):
        return _hub_splits(*hub_name(where, knob))
    path = Path(where)
    if not path.exists():
        raise ValueError(
            f"data.{knob}: {path} is not a file or folder that is there; write "
            "hub:OWNER/NAME for a data set of the hub"
        )
    if not path.is_dir():
        return Split("train", lambda: iter_rows(path))
    found = folder_splits(path)
    if not found:
        raise ValueError(
            f"data.{knob}: {path} holds no train.jsonl, train.csv or train.parquet, and nothing "
            "that `datasets` has saved"
        )
    return dict(found)


# --- the hub -------------------------------------------------------------------------------------


def _hub_splits(name: str, subset: str | None) -> dict[str, Reader]:
    import datasets  # noqa: PLC0415  heavy, and only needed when the data come from the hub

    try:
        # files alone: since its version 4 the library runs no code that comes with a data set
        loaded = datasets.load_dataset(name, subset)
    except Exception as error:  # the library raises a dozen unrelated kinds
        raise ValueError(f"data: {_refused(name, subset, error)}") from None
    return {str(split): _hub_reader(rows) for split, rows in loaded.items()}


def _hub_reader(rows: object) -> Reader:
    def read() -> Iterator[Row]:
        # as Arrow: rows stay on disk, and no image or sound is decoded
        for batch in rows.with_format("arrow").iter(_BATCH):  # type: ignore[attr-defined]
            yield from batch.to_pylist()

    return read


def _refused(name: str, subset: str | None, error: Exception) -> str:
    """One sentence about why the hub gave nothing, and what to do."""
    said = " ".join(str(error).split())
    kind = type(error).__name__
    if kind == "DatasetNotFoundError":
        return f"the hub has no data set {name!r} that you may read; check the name, or log in"
    if "Please pick one" in said or "BuilderConfig" in said:
        there = (
            found[0].strip("[]") if (found := re.findall(r"\[[^]]{1,1000}\]", said)) else "others"
        )
        has = f"has no subset {subset!r}" if subset else "has several subsets"
        return f"{name} {has}; write hub:{name}:SUBSET with one of {there}"
    if "scripts are no longer supported" in said:
        return f"{name} comes as a program, which is never run; download its files and name them"
    return (
        f"{name} could not be loaded from the hub ({kind}: {said[:200] or 'no reason given'}); "
        "check the network, or set data.path to a local copy"
    )
