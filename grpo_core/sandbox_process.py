"""One worker process as the parent sees it: its pipes, what it owes, what it says, checked.

What comes out of a worker may have been written by reward code: a frame that is not exactly of the
protocol (see `sandbox_worker.py`) counts as a crash, never as a number.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from grpo_core.records import Outcome

MEMORY_BYTES = 2 << 30
"""Address space of one worker."""
LOCK = sys.platform == "linux"
"""Whether workers give up files, network and other processes, see `sandbox_lock.py`. Only tests
turn it off, to see what it does."""
MAX_FRAME = 1 << 20
"""Bytes of one answer; printed output and tracebacks are cut far below it."""
_GRACE_S = 0.2
_WORKER = str(Path(__file__).resolve().with_name("sandbox_worker.py"))
_ROOT = str(Path(__file__).resolve().parents[1])
# Numbers must not depend on the order of a set; one worker is meant to use one core.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_FRAME = re.compile(r'^  File "([^"\n]{0,600})", line (\d{1,9}) in .*$', re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What a function said about one completion, or why it said nothing."""

    outcome: Outcome
    value: float | None = None
    """Finite; None unless the outcome is `ok`."""
    message: str = ""
    line: int | None = None
    """Line of the reward file that raised or hung, where it is known."""
    trace: str = ""
    printed: str = ""
    """What the call printed; of a batch call, with its first completion."""
    seconds: float = 0.0
    """Of the call, as the worker says; in batch form a completion's share of it."""
    tried: bool = True
    """False when the function was not called: its file did not load, or it was given up."""


class BrokenWorkerError(Exception):
    """The worker has gone or does not keep to the protocol."""


class Owed(NamedTuple):
    """An answer that a worker owes: to loading a file, taking in a request, making a call."""

    kind: Literal["load", "take", "call"]
    filename: str
    call: int = -1


class WorkerProcess:
    """One child process: its pipes and what it owes."""

    def __init__(self, die_with_parent: bool) -> None:
        request_end, self.requests = os.pipe()
        self.answers, answer_end = os.pipe()
        self._trace, trace_end = os.pipe()
        theirs = {"request": request_end, "answer": answer_end, "trace": trace_end}
        parent = os.getpid() if die_with_parent else 0
        limits = {"parent": parent, "memory_bytes": MEMORY_BYTES, "lock": LOCK}
        settings = {**theirs, **limits, "root": _ROOT}
        # Like -I, but with the hash seed of the environment. -B: it may not write files anyway.
        command = [sys.executable, "-s", "-P", "-B", "-X", "utf8", _WORKER, json.dumps(settings)]
        null = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                command, stdin=null, stdout=null, stderr=null, env=_ENVIRONMENT, cwd="/",
                pass_fds=tuple(theirs.values()), start_new_session=True,
            )  # fmt: skip
        finally:
            for end in theirs.values():
                os.close(end)
        for mine in (self.requests, self.answers, self._trace):
            os.set_blocking(mine, False)
        self.owed: deque[Owed] = deque()
        self.since = time.monotonic()
        """When it began what stands first in `owed`."""
        self.loaded: set[str] = set()
        self.failed: dict[str, Verdict] = {}
        """Files that raised when they were loaded, since the current batch began."""
        self.last_words = ""
        """What the fault handler said of the place where it hung or died."""
        self.outbox, self._inbox = bytearray(), bytearray()
        self._nonce = secrets.token_hex(8)
        self._put({"nonce": self._nonce})

    def ask(self, request: dict[str, Any], owed: list[Owed]) -> None:
        """Send a request as far as the pipe takes it now; the answers come in the order `owed`."""
        if not self.owed:
            self.since = time.monotonic()
        self.owed.extend(owed)
        self._put(request)
        self.push()

    def _put(self, frame: dict[str, Any]) -> None:
        data = json.dumps(frame, default=_plain).encode()
        self.outbox += struct.pack("<I", len(data)) + data

    def push(self) -> None:
        """Write what the pipe takes now."""
        try:
            while self.outbox:
                del self.outbox[: os.write(self.requests, self.outbox)]
        except BlockingIOError:
            pass  # the rest goes when the pipe has room
        except BrokenPipeError:
            self.outbox.clear()  # that it is gone shows at the other pipe

    def read(self) -> Iterator[dict[str, Any]]:
        """The answers that have arrived; `BrokenWorkerError` at their end and at nonsense."""
        chunk = os.read(self.answers, 1 << 16)
        if not chunk:
            raise BrokenWorkerError
        self._inbox += chunk
        while len(self._inbox) >= 4:
            (size,) = struct.unpack_from("<I", self._inbox)
            if size > MAX_FRAME:
                raise BrokenWorkerError
            if len(self._inbox) < 4 + size:
                return
            try:
                frame = json.loads(self._inbox[4 : 4 + size])
            except (ValueError, RecursionError):
                raise BrokenWorkerError from None
            if not isinstance(frame, dict) or frame.get("nonce") != self._nonce:
                raise BrokenWorkerError
            del self._inbox[: 4 + size]
            yield frame

    def kill(self, outcome: Literal["", "timeout", "crash"] = "") -> str:
        """End the whole process group; says how the process ended before, if it did."""
        if outcome == "timeout":
            # Have the fault handler say where it hangs; it answers even amid a loop in C.
            self._process.send_signal(signal.SIGUSR1)
            poll = select.poll()
            poll.register(self._trace, select.POLLIN)
            if poll.poll(_GRACE_S * 1000):
                time.sleep(0.01)  # it writes in pieces
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S if outcome == "crash" else 0.0)
        code = self._process.returncode
        with suppress(ProcessLookupError, PermissionError):  # nobody left; macOS: only a zombie
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BlockingIOError):
            self.last_words = os.read(self._trace, 1 << 16).decode("ascii", "replace")
        for mine in (self.requests, self.answers, self._trace):
            os.close(mine)
        if code is None:
            return "stopped answering"
        return f"was killed: {signal.strsignal(-code)}" if code < 0 else f"exited with code {code}"


def _plain(value: Any) -> Any:
    """A column's value that JSON does not know: arrays as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


# --- what a worker says, checked, as reward code may have written it -----------------------------


def read_verdicts(frame: dict[str, Any], num: int) -> list[Verdict]:
    match frame:
        case {"fault": _, "printed": str(printed), "seconds": float(seconds)}:
            verdicts = [read_fault(frame)] * num
        case {"verdicts": list(items), "printed": str(printed), "seconds": float(seconds)} if (
            len(items) == num > 0
        ):
            verdicts = [_verdict(item) for item in items]
        case _:
            raise BrokenWorkerError
    if not 0 <= seconds < math.inf:
        raise BrokenWorkerError
    verdicts = [replace(verdict, seconds=seconds / num) for verdict in verdicts]
    if printed:
        verdicts[0] = replace(verdicts[0], printed=printed)
    return verdicts


def _verdict(item: Any) -> Verdict:
    match item:
        case ["ok", float(value), ""] if math.isfinite(value):
            return Verdict("ok", value)
        case [("abstain" | "badtype" | "nonfinite") as outcome, None, str(message)]:
            return Verdict(outcome, message=message)
    raise BrokenWorkerError


def read_fault(frame: dict[str, Any]) -> Verdict:
    match frame["fault"]:
        case {"message": str(message), "line": int() | None as line, "trace": str(trace)}:
            return Verdict("error", message=message, line=line, trace=trace)
    raise BrokenWorkerError


def own_frames(dump: str, filename: str) -> tuple[int | None, str]:
    """Line in `filename` and the frames outside the worker, from a dump of the fault handler."""
    shown = filename.encode("ascii", "backslashreplace").decode()
    line, frames = None, []
    for frame in _FRAME.finditer(dump):
        if frame[1] == _WORKER:
            break
        if line is None and frame[1] == shown:
            line = int(frame[2])
        frames.append(frame[0])
    return line, "\n".join(reversed(frames[:8]))
