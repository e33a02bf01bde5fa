"""Whose reward code a run holds: written here, or come with a folder that somebody else made.

To go on with a run is to run the reward code that lies in its folder, and a folder can come from
anywhere. So code that is put to use here gets a mark that only this user on this machine can make.
Where the sandbox does not isolate reward code, what has none is shown and not run, until a person
who has read it says so.

A mark is made over texts and weights, not over the version: its 12 hex digits tell versions apart,
but whoever wants to finds two texts that share them.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.rewards import (
    RewardFunction,
    canonical,
    files_in,
    from_dicts,
    load_version,
    resolve,
    save_version,
    to_dicts,
    version_of,
)
from grpo_core.runs import Command, Run, write_atomically
from grpo_core.sandbox_probe import Tier

MARK = "mark"
"""Beside the files of a version, none of which is called so."""
_KEY_BYTES = 32
_MAX_FILES = 8
"""That a refusal names."""


class NoKey(ValueError):
    """Nothing can be marked here; says why and what to do."""


@dataclass(frozen=True)
class Unmarked:
    """Reward code of a run that nothing shows to be from here."""

    version: str
    functions: list[RewardFunction]
    files: tuple[Path, ...]
    """Where a person reads it."""


# --- the key and what it signs -------------------------------------------------------------------


def key_path() -> Path:
    """Where this user's key lies. Raises NoKey where there is no home."""
    try:
        home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError as error:
        raise NoKey(f"no key to mark rewards with: {error}; set XDG_CONFIG_HOME") from None
    return Path(home) / "grpo-studio" / "key"


def _key() -> bytes:
    path = key_path()
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise NoKey(
            f"no key to mark rewards with can be kept in {path.parent} ({error.strerror}); set "
            "XDG_CONFIG_HOME to a folder that you can write to"
        ) from None
    if len(key) != _KEY_BYTES:
        raise NoKey(f"{path} is damaged; delete it, and rewards are marked with a new key")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # for this user only
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster, and its key holds for both
            os.link(temporary, path)
    finally:
        os.unlink(temporary)


def why_no_marks() -> str | None:
    """Why nothing can be marked here, in a sentence; None where it can."""
    try:
        _key()
    except NoKey as error:
        return str(error)
    return None


def mark_of(functions: Sequence[RewardFunction]) -> str:
    """What only this user on this machine can make of them. Raises NoKey."""
    return hmac.new(_key(), b"rewards\n" + canonical(functions), "sha256").hexdigest()


def is_ours(functions: Sequence[RewardFunction], mark: Any) -> bool:
    """Whether `mark` was made here, of these functions; False where there is no key."""
    if not isinstance(mark, str) or why_no_marks():
        return False
    return hmac.compare_digest(mark_of(functions).encode(), mark.encode("utf-8", "replace"))


# --- the marks of a run --------------------------------------------------------------------------


def keep(run: Run, functions: Sequence[RewardFunction]) -> str:
    """Keep these in the run's folder, marked as put to use here; returns the version.

    Raises NoKey where nothing can be marked.
    """
    mark = mark_of(functions)
    try:
        version = save_version(run.rewards, functions)
        write_atomically(run.rewards / version / MARK, mark)
    except OSError as error:
        raise ValueError(f"{run.rewards}: cannot be written: {error.strerror}") from None
    return version


def is_marked(run: Run, functions: Sequence[RewardFunction]) -> bool:
    """Whether these were put to use in this run by this user on this machine."""
    path = run.rewards / version_of(functions) / MARK
    try:
        mark = path.read_text(encoding="ascii") if path.is_file() else None
    except (OSError, UnicodeDecodeError):
        return False
    return is_ours(functions, mark)


def unmarked(run: Run) -> list[Unmarked]:
    """All reward code that going on with the run could execute and nothing shows to be from here.

    A resume loads rewards from three places only: versions in the run's folder, commands that
    wait in its inbox, and before the first version its recipe. All that lies there counts, in force
    or not, so that neither a database nor a checkpoint has to be believed. Files that resume could
    not load do not count: it refuses them itself. Raises ValueError for a run that cannot be read.
    """
    kept = [one for one in _kept(run) if not is_marked(run, one.functions)]
    waiting = [
        one
        for one, mark in _waiting(run)
        if not is_ours(one.functions, mark) and not is_marked(run, one.functions)
    ]
    first = [one for one in _of_recipe(run) if not is_marked(run, one.functions)]
    return [*kept, *waiting, *first]


def _kept(run: Run) -> Iterator[Unmarked]:
    folders = sorted(run.rewards.iterdir()) if run.rewards.is_dir() else []
    for version in [folder.name for folder in folders if not folder.name.startswith(".")]:
        with suppress(ValueError):
            functions = load_version(run.rewards, version)
            yield Unmarked(version, functions, tuple(files_in(run.rewards, version)))


def _waiting(run: Run) -> Iterator[tuple[Unmarked, Any]]:
    for command, file in run.take_commands():
        if command is not None and command.kind == "set_rewards":
            with suppress(ValueError):
                functions = from_dicts(command.args.get("functions"))
                yield Unmarked(version_of(functions), functions, (file,)), command.args.get("mark")


def _of_recipe(run: Run) -> Iterator[Unmarked]:
    """What a run that was ended before its first word would begin with."""
    if any(run.checkpoints.glob("step_[0-9]*")) or _began_with(run):
        return
    with suppress(ValueError):
        configs = load_recipe(run.config_path).rewards
        functions = resolve(configs)
        files = [Path(config.path) for config in configs if config.path] or [run.config_path]
        yield Unmarked(version_of(functions), functions, tuple(files))


def _began_with(run: Run) -> str | None:
    if not run.db_path.exists():
        return None
    try:
        with RunReader(run.db_path) as reader:
            return reader.first_reward_version()
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{run.name}: {run.db_path.name} cannot be read: {error}") from None


# --- what follows from them ----------------------------------------------------------------------


def check(run: Run, functions: Sequence[RewardFunction], tier: Tier) -> None:
    """ValueError with what to read and to do where going on with the run, beginning with
    `functions`, takes a person's consent first."""
    if tier == "isolated":
        return
    found = unmarked(run)
    if not found and not is_marked(run, functions):  # not what `unmarked` has seen a moment ago
        found = [Unmarked(version_of(functions), list(functions), (run.config_path,))]
    if found:
        raise ValueError(refusal(run, found))


def refusal(run: Run, found: Sequence[Unmarked]) -> str:
    """Why these are not run, and what a person can do, in one sentence."""
    files = files_of_all(found)
    more = f" and {len(files) - _MAX_FILES} more files" if len(files) > _MAX_FILES else ""
    reason = why_no_marks()
    return (
        f"{run.name}: nothing shows that its rewards were written by you on this machine"
        f"{f' ({reason})' if reason else ''}, where they could do harm (`grpo-studio check` says "
        f"which): read {', '.join(files[:_MAX_FILES])}{more}, and if you trust that, go on with "
        f"`grpo-studio resume {run.name} --trust-rewards`"
    )


def files_of_all(found: Sequence[Unmarked]) -> list[str]:
    """Each file once, fit for a terminal: a name can hold what moves its cursor."""
    names = dict.fromkeys(str(file) for one in found for file in one.files)
    return ["".join(c if c.isprintable() else "?" for c in name) for name in names]


def consent(run: Run, shown: Sequence[Unmarked]) -> None:
    """A person has read `shown` (from `unmarked`) and trusts it: nothing else is marked, so what
    changes on disk meanwhile is still refused. Raises NoKey."""
    for one in shown:
        keep(run, one.functions)


def rewards_command(run: Run, functions: Sequence[RewardFunction]) -> Command:
    """The command that makes these the run's rewards, marked as given here.

    Not in a run that holds unmarked code: these may be that code, kept or opened in an editor,
    and to apply it is not to have read it.
    """
    args: dict[str, Any] = {"functions": to_dicts(functions)}
    if why_no_marks() is None and not unmarked(run):
        args["mark"] = mark_of(functions)
    return Command("set_rewards", args)
