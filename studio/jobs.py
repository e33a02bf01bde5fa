"""Starting trainers: the only place in the studio that starts a process.

A trainer is the same command a person would type, in a session of its own: it survives the tab, the
server and Ctrl-C in the server's terminal. It writes to files, never to a pipe (a pipe that nobody
empties stops the trainer). From then on the run folder alone says how it is doing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from grpo_core.runs import Run, check_name, find_run, free_name, write_atomically

TRAINER = [sys.executable, "-m", "grpo_core.cli"]
STUDY = [sys.executable, "-m", "studio.theory.race_study"]
START_TIMEOUT_S = 60.0
Process = subprocess.Popen[bytes]
_REQUEST = re.compile(r"[0-9a-f]{8,64}")
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Start:
    """What a person asked to be trained."""

    recipe: str
    """A shipped recipe's name or the path of a file."""
    name: str
    """Of the run; empty for the next free name."""
    overrides: tuple[str, ...] = ()
    """`key.path=value`, as on the command line."""

    def arguments(self, runs_dir: Path | None, name: str) -> list[str]:
        """What follows `grpo-studio` on the command line."""
        settings = [part for override in self.overrides for part in ("--set", override)]
        folder = ["--runs-dir", str(runs_dir)] if runs_dir else []
        return ["train", self.recipe, *(["--name", name] if name else []), *folder, *settings]


def command_line(start: Start, runs_dir: Path) -> str:
    """The start as a line to paste into a terminal opened where the studio was started."""
    folder = None if runs_dir == Path("runs").resolve() else runs_dir
    return shlex.join(["grpo-studio", *start.arguments(folder, start.name)])


def start(runs_dir: Path, request: str, wanted: Start) -> Run:
    """Start a run and wait until its folder is there.

    `request` (hex digits) makes a second click, a reload or a second server harmless: the same
    request starts nothing twice. Raises ValueError with the trainer's own sentence if it refuses.
    """
    notes = runs_dir / ".studio"
    ticket = notes / f"{_checked(request)}.json"
    log = ticket.with_suffix(".log")
    process = None
    with locked(notes):
        if ticket.exists():
            name = json.loads(ticket.read_text(encoding="utf-8"))["name"]
        else:
            name = check_name(wanted.name) if wanted.name else next_name(runs_dir, wanted.recipe)
            if (runs_dir / name).exists():
                raise ValueError(f"{name}: a run of this name exists; choose another name")
            process = spawn(wanted.arguments(runs_dir, name), log)
            write_atomically(ticket, json.dumps({"name": name, "pid": process.pid}))
    run = _wait_for_folder(runs_dir, name, process, log)
    # Still open in the trainer: a rename moves the file, not its writer.
    with suppress(OSError):
        log.rename(run.path / "console.txt")
    return run


def resume(run: Run) -> None:
    """Go on from the last checkpoint; ValueError with the trainer's sentence if it refuses."""
    with locked(run.path.parent / ".studio"):
        if run.is_live():
            return  # a second click, or another tab was faster
        before = _state_stamp(run)
        log = run.path / "console.txt"
        offset = log.stat().st_size if log.exists() else 0
        process = spawn(["resume", run.name, "--runs-dir", str(run.path.parent)], log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while _state_stamp(run) == before and time.monotonic() < deadline:
            if process.poll() is not None:
                raise ValueError(said(log, offset) or "the trainer ended at once, without a word")
            time.sleep(0.05)


# --- samples to try a reward on -------------------------------------------------------------------

_sampling: dict[Path, Process] = {}


def samples_path(run: Run) -> Path:
    """Where fresh completions of a run's model are; absent before the first."""
    return run.path / "samples.jsonl"


def sample(run: Run, num_problems: int, group_size: int) -> None:
    """Begin to sample from a run's newest checkpoint, in a process of its own. A fresh seed each
    time: who asks again wants others."""
    if is_sampling(run):
        return
    log, seed = _samples_log(run), secrets.randbelow(1 << 31)
    log.unlink(missing_ok=True)
    options = {"problems": num_problems, "group-size": group_size, "seed": seed}
    named = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    places = ["--out", str(samples_path(run)), "--runs-dir", str(run.path.parent)]
    _sampling[run.path] = spawn(["sample", run.name, *named, *places], log)


def is_sampling(run: Run) -> bool:
    """Whether such a process is at work."""
    process = _sampling.get(run.path)
    return process is not None and process.poll() is None


def sampling_failed(run: Run) -> str:
    """What the last one said when it gave up, empty if it did not."""
    process = _sampling.get(run.path)
    if process is None or not process.returncode:
        return ""
    return said(_samples_log(run)) or "sampling ended at once, without a word"


def _samples_log(run: Run) -> Path:
    return run.path / "samples.log"


# --- what they print ------------------------------------------------------------------------------


def console(run: Run, num_lines: int = 40) -> str:
    """The last lines that the trainer printed, as plain text; empty if it printed nothing."""
    for name in ("log.txt", "console.txt"):
        text = _tail(run.path / name)
        if text:
            return "\n".join(text.splitlines()[-num_lines:])
    return ""


def study(folder: Path) -> Process:
    """The long comparison of the Theory page, in a process of its own that writes to `folder`."""
    return spawn([str(folder)], folder / "console.txt", STUDY)


def end(pid: int) -> None:
    """Ask a process that another server began to end; nothing where it is gone already."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)


def spawn(arguments: list[str], log: Path, program: list[str] | None = None) -> Process:
    """`grpo-studio`, or another program, with these arguments in a session of its own; what it
    prints goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*(program or TRAINER), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
            env=_environment(),
        )
    # Waited for: a dead child that nobody waits for stays a zombie while the server lives.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("STREAMLIT_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def _wait_for_folder(runs_dir: Path, name: str, process: Process | None, log: Path) -> Run:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(ValueError):
            return find_run(runs_dir, name)
        if process is not None and process.poll() is not None:
            raise ValueError(said(log) or "the trainer ended at once, without a word")
        time.sleep(0.05)
    raise ValueError(f"the trainer did not begin within {START_TIMEOUT_S:.0f} s; its log is {log}")


def next_name(runs_dir: Path, recipe: str) -> str:
    """The name that a run of this recipe gets when nobody gives it one."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(recipe).stem).strip("-.")[:40] or "run"
    return free_name(runs_dir, stem)


def said(log: Path, offset: int = 0) -> str:
    """What a process that gave up had to say, without its `error:`."""
    text = _tail(log, offset)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-12:]).removeprefix("error:").removeprefix("Error:").strip()


def _tail(path: Path, offset: int = 0, limit: int = 20_000) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(offset, path.stat().st_size - limit))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    # A progress bar rewrites its line: keep what stood there last.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return _TERMINAL_CODES.sub("", "\n".join(lines)).strip("\n")


def _state_stamp(run: Run) -> tuple[int, float] | None:
    state = run.state()
    return (state.pid, state.create_time) if state else None


def _checked(request: str) -> str:
    assert _REQUEST.fullmatch(request)
    return request


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One start at a time, also between two servers on the same folder of runs.

    What the disk refuses in here becomes a ValueError: a full disk is no fault of ours.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ValueError(f"{error.filename or folder}: {error.strerror}") from None
