"""The run folder: names, state, status and the inbox. Everything a page or a command knows about a
run that is not in `run.db`. Status is derived from disk, so it survives tabs, servers and crashes.

    runs/<name>/  config.yaml  rewards/  run.db  state.json  inbox/  checkpoints/  log.txt  lock
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

Status = Literal[
    "starting", "running", "paused", "stopping", "stopped", "completed", "failed", "crashed"
]
LIVE_STATUSES = ("starting", "running", "paused", "stopping")
COMMAND_KINDS = ("pause", "continue", "stop", "set_rewards", "set")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass
class RunState:
    """`state.json`, written by the trainer alone (by rename, so it is never half there)."""

    status: Status
    pid: int
    create_time: float
    """Start of the process (seconds since the epoch): a recycled pid is not mistaken for it."""
    heartbeat: float
    """When the trainer last made progress (seconds since the epoch)."""
    step: int
    num_steps: int
    phase: str = ""
    """What the trainer is doing: loading, evaluating, rollout, reward, update, checkpoint."""
    message: str = ""
    """Why the run failed or paused, one sentence."""


@dataclass
class Command:
    """One file in the inbox; carrying it out twice changes nothing."""

    kind: str
    args: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=time.time)


class Run:
    """A run folder that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.config_path = path / "config.yaml"
        self.db_path = path / "run.db"
        self.state_path = path / "state.json"
        self.inbox = path / "inbox"
        self.rewards = path / "rewards"
        self.checkpoints = path / "checkpoints"
        self.log_path = path / "log.txt"

    # --- state -----------------------------------------------------------------------------

    def state(self) -> RunState | None:
        """What the trainer last wrote, None before its first word or if it cannot be read."""
        try:
            return RunState(**json.loads(self.state_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write_state(self, state: RunState) -> None:
        """Replace `state.json` in one go (for the trainer)."""
        write_atomically(self.state_path, json.dumps(asdict(state)), sync=False)

    def status(self) -> Status:
        """The true status: what the trainer said, unless its process is gone."""
        state = self.state()
        if state is None:
            # A trainer needs a moment to write its first state; after that it is dead.
            age = time.time() - self.path.stat().st_mtime
            return "starting" if age < 30 else "crashed"
        if state.status in LIVE_STATUSES and not _is_process(state.pid, state.create_time):
            return "crashed"
        return state.status

    def is_live(self) -> bool:
        """Whether a trainer works on this run."""
        return self.status() in LIVE_STATUSES

    # --- inbox -----------------------------------------------------------------------------

    def send(self, command: Command) -> Command:
        """Leave a command for the trainer; it acts between two steps."""
        assert command.kind in COMMAND_KINDS
        self.inbox.mkdir(exist_ok=True)
        target = self.inbox / f"{command.time:017.6f}-{command.id}.json"
        write_atomically(target, json.dumps(asdict(command)))
        return command

    def take_commands(self) -> Iterator[tuple[Command | None, Path]]:
        """Waiting commands, oldest first, with their files; None for a file that is no command."""
        if not self.inbox.is_dir():
            return
        for file in sorted(self.inbox.glob("*.json")):
            try:  # a pipe or a device would block
                text = file.read_text(encoding="utf-8") if file.is_file() else ""
                command = Command(**json.loads(text))
                valid = command.kind in COMMAND_KINDS and isinstance(command.args, dict)
            except (OSError, ValueError, TypeError, RecursionError):
                valid = False
            yield (command if valid else None), file

    def forget_wishes(self) -> None:
        """Drop what was asked of a trainer that is gone; changes of the run keep waiting."""
        for command, file in self.take_commands():
            if command is not None and command.kind in ("pause", "continue", "stop"):
                file.unlink(missing_ok=True)

    # --- the lock --------------------------------------------------------------------------

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        """Held by the one trainer of this run; ValueError when another holds it after `wait_s`.

        `flock` on a descriptor that exec'd children do not inherit: the kernel frees it even
        after SIGKILL, and a reward worker that lives a moment longer does not keep it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + wait_s
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise ValueError(f"{self.name}: another process is training this run")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def delete(self) -> None:
        """Remove the folder and all that is in it; ValueError while a trainer works on it."""
        if self.is_live():
            raise ValueError(f"{self.name}: is {self.status()}; stop it first")
        # Renamed first: a crash in between leaves rubbish, never half a run under its name.
        trash = self.path.with_name(f".trash-{self.name}-{uuid.uuid4().hex[:8]}")
        self.path.rename(trash)
        shutil.rmtree(trash)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_process(pid: int, create_time: float) -> bool:
    """Whether this very process lives (a zombie does not)."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - create_time) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


# --- the folder of runs --------------------------------------------------------------------------


def check_name(name: str) -> str:
    """The name itself if it can be a folder's name everywhere, else ValueError."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise ValueError(
            f"{name!r}: a run's name has 1 to 64 letters, digits, dots, dashes and underscores, "
            "begins with a letter or digit and is not a path"
        )
    return name


def find_run(runs_dir: Path, name: str) -> Run:
    """The run called `name`; ValueError with the names there are."""
    check_name(name)
    path = runs_dir / name
    if path.is_symlink() or not (path / "config.yaml").is_file():
        names = ", ".join(run.name for run in list_runs(runs_dir)) or "none yet"
        raise ValueError(f"{name}: no such run in {runs_dir} (there: {names})")
    return Run(path)


def list_runs(runs_dir: Path) -> list[Run]:
    """All runs, the newest first."""
    if not runs_dir.is_dir():
        return []
    found = [
        Run(path)
        for path in runs_dir.iterdir()
        if _NAME.fullmatch(path.name) and not path.is_symlink() and (path / "config.yaml").is_file()
    ]
    return sorted(found, key=lambda run: run.config_path.stat().st_mtime, reverse=True)


def free_name(runs_dir: Path, stem: str) -> str:
    """`stem-1`, `stem-2`, … whichever is free."""
    number = 1
    while (runs_dir / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def leads() -> bool:
    """Whether this process owns its run: the only one, or the first of `accelerate launch`."""
    return int(os.environ.get("RANK", "0")) == 0


def check_free(runs_dir: Path, name: str) -> None:
    """ValueError if `name` is no name for a run or is taken."""
    if (runs_dir / check_name(name)).exists():
        raise ValueError(
            f"{name}: a run of this name exists; choose another name, resume it or delete it"
        )


def create_run(runs_dir: Path, name: str, config_yaml: str) -> Run:
    """A new run folder with its `config.yaml`; ValueError if the name is taken or no name."""
    check_free(runs_dir, name)
    path = runs_dir / name
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except OSError as error:
        raise ValueError(f"{runs_dir}: cannot make a run folder there: {error.strerror}") from None
    run = Run(path)
    for folder in (run.inbox, run.rewards, run.checkpoints):
        folder.mkdir()
    write_atomically(run.config_path, config_yaml)
    return run


def write_atomically(path: Path, text: str, sync: bool = True) -> None:
    """Write a file by rename, so that a reader sees the old text or the new one.

    Without `sync` a power cut may bring the old text back; enough for a heartbeat.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
