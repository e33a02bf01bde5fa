"""Reward functions: where they come from and how they are kept.

A reward file holds top-level functions with a parameter `completion` (called once a completion) or
`completions` (TRL's batch form, called once a group), or names of others that it brings in. Nothing
here executes one: files are parsed, and run in the workers of `sandbox.py` (see `scorer.py`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import json
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from grpo_core.assets import assets_dir
from grpo_core.config import RewardConfig


@dataclass(frozen=True)
class RewardFunction:
    """One part of the reward."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    """Unique in a set: key of `Rollout.parts` and of the metric `reward/<name>/mean`."""
    source: str
    """Text of the whole file."""
    function: str
    """Which top-level function."""
    weight: float = 1.0
    completion_format: Annotated[str, Field(pattern="^(text|messages)$")] = "text"
    """`text`, or `messages` for TRL's conversational form."""
    filename: str = "reward.py"
    """As errors show it."""


MAX_SOURCE = 200_000
"""Characters of a reward file; the worst that fits takes some seconds to parse, once."""

_FUNCTIONS = TypeAdapter(Annotated[list[RewardFunction], Field(min_length=1)])

# --- where they come from ------------------------------------------------------------------------


def find_functions(source: str) -> list[str]:
    """Names of the reward functions of a file, in order, without executing it.

    Raises ValueError that begins with `line N:` where the text is not Python.
    """
    return list(batch_forms(source))


def batch_forms(source: str) -> dict[str, bool]:
    """By name, whether a reward function takes a whole group."""
    return dict(_parsed(source).forms)


def builtin_names() -> list[str]:
    """Names of the rewards that ship with the product."""
    return sorted(path.stem for path in (assets_dir() / "rewards").glob("*.py"))


def brought_in(source: str) -> list[str]:
    """Names that a file imports or assigns. What they are shows only when it is executed, so they
    are reward functions only where they are asked for by name, and then in TRL's batch form: such
    as what `from trl.rewards import …` or `penalty = get_repetition_penalty_reward()` gives."""
    return list(_parsed(source).brought_in)


@dataclass(frozen=True)
class _Parsed:
    forms: tuple[tuple[str, bool], ...] = ()
    brought_in: tuple[str, ...] = ()
    error: str = ""


def _parsed(source: str) -> _Parsed:
    found = _look_at(source)
    if found.error:
        raise ValueError(found.error)
    return found


@lru_cache(maxsize=256)
def _look_at(source: str) -> _Parsed:
    """A page asks the same of a text many times."""
    forms: dict[str, bool] = {}
    names: list[str] = []
    try:
        for node in _statements(source):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                given = node.args
                asked = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
                if asked & {"completion", "completions"}:
                    forms[node.name] = "completion" not in asked
            elif isinstance(node, ast.ImportFrom):
                names += [alias.asname or alias.name for alias in node.names]
            elif isinstance(node, ast.Assign):
                names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    except ValueError as error:
        return _Parsed(error=str(error))
    return _Parsed(tuple(forms.items()), tuple(names))


def _statements(source: str) -> list[ast.stmt]:
    if len(source) > MAX_SOURCE:
        raise ValueError(
            f"line 1: the file has {len(source):,} characters, {MAX_SOURCE:,} are the most; what "
            "is large belongs into a column of the data"
        )
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"line 1: {str(error) or 'nested too deeply'}") from None


def resolve(configs: Sequence[RewardConfig]) -> list[RewardFunction]:
    """The functions that a recipe names. Raises ValueError that names the key and a remedy."""
    found = []
    for index, config in enumerate(configs):
        path, key = _locate(config, f"rewards.{index}")
        try:
            source = importlib.util.decode_source(path.read_bytes())
            names = find_functions(source)
        except OSError as error:
            raise ValueError(f"{key}: cannot read {path}: {error.strerror}") from None
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{key}: {path.name}, {error}") from None
        name = config.function or (names[0] if len(names) == 1 else "")
        if name not in names and name not in brought_in(source):
            raise ValueError(f"rewards.{index}.function: {_choice(path.name, names)}")
        shape = config.completion_format
        found.append(RewardFunction(name, source, name, config.weight, shape, path.name))
    return _with_unique_names(found)


def _locate(config: RewardConfig, key: str) -> tuple[Path, str]:
    if config.path is not None:
        return Path(config.path).expanduser(), f"{key}.path"
    if config.builtin not in builtin_names():
        there = ", ".join(builtin_names())
        raise ValueError(f"{key}.builtin: {config.builtin!r} does not ship; there are {there}")
    return assets_dir() / "rewards" / f"{config.builtin}.py", f"{key}.builtin"


def _choice(filename: str, names: list[str]) -> str:
    if names:
        return f"name one of the reward functions of {filename}: {', '.join(names)}"
    return f"{filename} has no top-level def with a parameter completion or completions; write one"


def from_source(
    source: str,
    weights: dict[str, float] | None = None,
    filename: str = "reward.py",
    completion_format: str = "text",
) -> list[RewardFunction]:
    """All functions of a file, and those that it brings in and `weights` names; weights are 1
    where it says nothing.

    Raises ValueError where the file does not parse, has no function, or lacks a weighted one.
    """
    names, weights = find_functions(source), weights or {}
    names += [name for name in brought_in(source) if name in weights and name not in names]
    if not names or not set(weights) <= set(names):
        raise ValueError(_choice(filename, names))
    return [
        RewardFunction(name, source, name, weights.get(name, 1.0), completion_format, filename)
        for name in names
    ]


def check_weights(functions: Sequence[RewardFunction]) -> None:
    """Raises ValueError where no function counts."""
    if not any(function.weight for function in functions):
        raise ValueError("all weights are 0; give at least one function a weight")


def _with_unique_names(functions: list[RewardFunction]) -> list[RewardFunction]:
    names = _unique([function.name for function in functions])
    return [replace(function, name=name) for function, name in zip(functions, names, strict=True)]


def _unique(names: Sequence[str]) -> list[str]:
    """`accuracy`, `accuracy_2`, …; of files `reward.py`, `reward_2.py`, …"""
    taken: list[str] = []
    for name in names:
        stem, dot, ending = name.partition(".")
        numbered = (f"{stem}_{number}{dot}{ending}" for number in itertools.count(2))
        taken.append(next(n for n in itertools.chain([name], numbered) if n not in taken))
    return taken


def files_of(functions: Sequence[RewardFunction]) -> dict[tuple[str, str], str]:
    """A file name of its own for each different `(filename, source)`."""
    keys = list(dict.fromkeys((function.filename, function.source) for function in functions))
    safe = (re.sub(r"[^\w .-]", "_", filename).strip(".") or "reward" for filename, _ in keys)
    return dict(zip(keys, _unique([f"{n.removesuffix('.py')}.py" for n in safe]), strict=True))


# --- how they are kept ---------------------------------------------------------------------------


def to_dicts(functions: Sequence[RewardFunction]) -> list[dict[str, Any]]:
    """JSON form: the value of `functions` in a `set_rewards` command."""
    return [asdict(function) for function in functions]


def from_dicts(dicts: Any) -> list[RewardFunction]:
    """The inverse of `to_dicts`. Raises ValueError on what cannot have come from there."""
    try:
        functions = _FUNCTIONS.validate_python(dicts)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("functions", *first["loc"])))
        raise ValueError(f"{place}: {first['msg']}") from None
    for index, function in enumerate(functions):
        names = find_functions(function.source)
        if function.function not in [*names, *brought_in(function.source)]:
            choice = _choice(function.filename, names)
            raise ValueError(f"functions.{index}.function: {choice}")
    return _with_unique_names(functions)


def version_of(functions: Sequence[RewardFunction]) -> str:
    """12 hex characters that stand for these functions, weights and texts."""
    return hashlib.sha256(canonical(functions)).hexdigest()[:12]


def canonical(functions: Sequence[RewardFunction]) -> bytes:
    """The same bytes for the same functions, weights and texts, and for no others."""
    return json.dumps(to_dicts(functions), sort_keys=True).encode()


def save_version(folder: Path, functions: Sequence[RewardFunction]) -> str:
    """Keep the functions in `folder/<version>/`, all or nothing; returns the version."""
    version, files = version_of(functions), files_of(functions)
    if (folder / version).is_dir():
        return version
    entries = [{**asdict(f), "source": files[f.filename, f.source]} for f in functions]
    contents = {name: source for (_, source), name in files.items()}
    contents["rewards.json"] = json.dumps(entries, indent=1)
    temporary = folder / f".{version}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    for name, text in contents.items():
        with (temporary / name).open("wb") as file:  # bytes: line ends are part of the version
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    temporary.rename(folder / version)
    return version


def load_version(folder: Path, version: str) -> list[RewardFunction]:
    """What `save_version` kept. Raises ValueError where it is missing, damaged or edited."""
    path = folder / version
    try:
        entries = json.loads(_read(path / "rewards.json"))
        for entry, file in zip(entries, _files(path, entries), strict=True):
            entry["source"] = _read(file)
        functions = from_dicts(entries)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"reward version {version}: cannot be read: {error}") from None
    if version_of(functions) != version:
        raise ValueError(f"reward version {version}: its files have been changed")
    return functions


def files_in(folder: Path, version: str) -> list[Path]:
    """The files whose text `load_version` takes, whatever else lies beside them."""
    path = folder / version
    return _files(path, json.loads(_read(path / "rewards.json")))


def _files(path: Path, entries: list[dict[str, Any]]) -> list[Path]:
    return [path / Path(entry["source"]).name for entry in entries]


def _read(path: Path) -> str:
    if not path.is_file():  # also refuses pipes and devices, which would block
        raise ValueError(f"{path.name} is missing or not a file")
    return path.read_bytes().decode()
