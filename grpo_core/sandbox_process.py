"""One worker process as the parent sees it: what it owes, what it says, checked, its programs.

What comes out of a worker may have been written by reward code: a frame that is not exactly of the
protocol (see `sandbox_worker.py`) counts as a crash, never as a number.
"""

from __future__ import annotations

import math
import os
import re
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from grpo_core.programs import MAX_REQUEST
from grpo_core.records import Outcome
from grpo_core.sandbox_child import GRACE_S, BrokenWorkerError, ChildProcess
from grpo_core.sandbox_programs import Programs

MEMORY_BYTES = 2 << 30
"""Address space of one worker, and of one program."""
WATCHED_BYTES = None if sys.platform == "linux" else MEMORY_BYTES
"""Resident memory at which a worker is killed, where the system caps none."""
LOCK = sys.platform in ("linux", "darwin")
"""Whether workers give up files, network and other processes, see `sandbox_lock.py`. Only tests
turn it off, to see what it does."""
LOCK_FAILS = False
"""Where `sandbox_probe.py` found that no worker works with the lock on: they go without."""
_WORKER = str(Path(__file__).resolve().with_name("sandbox_worker.py"))
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


class Owed(NamedTuple):
    """An answer that a worker owes: to loading a file, taking in a request, making a call."""

    kind: Literal["load", "take", "call"]
    filename: str
    call: int = -1


class WorkerProcess(ChildProcess):
    """One child process: what it owes, and the programs that its reward functions run."""

    def __init__(self, die_with_parent: bool) -> None:
        parent = os.getpid() if die_with_parent else 0
        limits = {"parent": parent, "memory_bytes": MEMORY_BYTES, "lock": LOCK and not LOCK_FAILS}
        super().__init__([_WORKER], limits)
        self.owed: deque[Owed] = deque()
        """`since` is when it began what stands first; the time of its programs is not counted."""
        self.loaded: set[str] = set()
        self.failed: dict[str, Verdict] = {}
        """Files that raised when they were loaded, since the current batch began."""
        self.programs = Programs(limits)

    def ask(self, request: dict[str, Any], owed: list[Owed]) -> None:
        """Send a request as far as the pipe takes it now; the answers come in the order `owed`."""
        if not self.owed:
            self.since = time.monotonic()
        self.owed.extend(owed)
        self._put(request)
        self.push()

    def read(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The answers that have arrived; `BrokenWorkerError` at their end and at nonsense."""
        for frame in self._frames(MAX_REQUEST):
            if not self.owed or self.programs.running:
                raise BrokenWorkerError
            yield frame

    def is_too_large(self) -> bool:
        """Whether it holds more memory than it may, where that has to be watched."""
        if WATCHED_BYTES is None:
            return False
        import psutil  # noqa: PLC0415  nobody else pays for it

        try:
            return bool(psutil.Process(self._process.pid).memory_info().rss > WATCHED_BYTES)
        except psutil.Error:
            return False  # it has ended

    def settle(self) -> None:
        """What stands first in `owed` is done."""
        self.owed.popleft()
        self.since = time.monotonic()
        self.programs.spent_s = 0.0

    def run_program(self, asked: Any, program: bytes, budget_s: float) -> None:
        """Begin what a call asks for; `BrokenWorkerError` where that is nonsense."""
        self._tell(self.programs.start(asked, program, budget_s))

    def waits_for(self) -> dict[int, int]:
        """What to poll: descriptors and events."""
        writable = {self.requests: select.POLLOUT} if self.outbox else {}
        return {self.answers: select.POLLIN, **writable, **self.programs.waits_for()}

    def serve(self, ready: set[int]) -> None:
        """Send what waits, and pass on what has become of its program."""
        if self.requests in ready:
            self.push()
        if self.programs.running:
            self._tell(self.programs.hear(ready))

    def lose_program(self) -> None:
        """The program host is overdue."""
        self._tell(self.programs.give_up())

    def _tell(self, ran: dict[str, Any] | None) -> None:
        if ran is not None:
            self.since += self.programs.last_s
            self._put({"ran": ran})
            self.push()

    def kill(self, outcome: Literal["", "timeout", "crash"] = "") -> str:
        """End the whole process group and its programs; says how the process ended before, if it
        did."""
        if outcome == "timeout":
            # Have the fault handler say where it hangs; it answers even amid a loop in C.
            self._process.send_signal(signal.SIGUSR1)
            poll = select.poll()
            poll.register(self._trace, select.POLLIN)
            if poll.poll(GRACE_S * 1000):
                time.sleep(0.01)  # it writes in pieces
        self.programs.kill()
        return self._end(GRACE_S if outcome == "crash" else 0.0)


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
