"""The programs of one worker as the parent sees them: their host, their time, what they gave out.

A worker cannot start processes, so it asks here; the answer comes from a second process, the
program host (`sandbox_host.py`), which starts with the first program. What a program gave out is
passed on as it is: only `programs.py`, in the worker, reads it.
"""

from __future__ import annotations

import math
import os
import select
import time
from typing import Any

from grpo_core.programs import MAX_OUTPUT
from grpo_core.sandbox_child import GRACE_S, ROOT, BrokenWorkerError, ChildProcess

HOST_GRACE_S = 5.0
"""For the host beyond a program's time: to start, which takes it less than a tenth of a second."""
_START = f"import sys; sys.path.append({ROOT!r}); from grpo_core.sandbox_host import main; main()"


class ProgramHost(ChildProcess):
    """The process that starts programs, one at a time."""

    def __init__(self, limits: dict[str, Any]) -> None:
        super().__init__(["-c", _START], {**limits, "max_output": MAX_OUTPUT})

    def ask(self, program: bytes, timeout_s: float) -> None:
        """Have it run a program for at most `timeout_s` seconds."""
        self._put({"timeout_s": timeout_s}, program)
        self.push()

    def read(self) -> dict[str, Any] | None:
        """What became of the program, once all of it has arrived; `BrokenWorkerError` when the
        host ends and at nonsense."""
        for head, body in self._frames(2 * MAX_OUTPUT):
            match head:
                case {
                    "ended": ("itself" | "late" | "flood") as ended,
                    "code": int(code),
                    "seconds": float(seconds),
                    "stdout": int(size),
                } if 0 <= seconds < math.inf and 0 <= size <= len(body):
                    output, result = body[:size].decode(errors="replace"), body[size:]
                    return _ran(ended, code, seconds, output, result.decode(errors="replace"))
            raise BrokenWorkerError
        return None

    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it and its program."""
        # It watches the pipe and ends its program, which is in a group of its own; a host that
        # is stuck is killed, which on Linux ends its program too.
        self._mine.remove(self.requests)
        os.close(self.requests)
        self._end(GRACE_S)


def _ran(
    ended: str, code: int = 0, seconds: float = 0.0, stdout: str = "", result: str = ""
) -> dict[str, Any]:
    return {"ended": ended, "code": code, "seconds": seconds, "stdout": stdout, "result": result}


class Programs:
    """The programs of one worker, one at a time, and the time that its current call gave them."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits
        self._host: ProgramHost | None = None
        self.running = False
        self._since = 0.0
        self.until = math.inf
        """When a running program's host is overdue."""
        self.spent_s, self.last_s = 0.0, 0.0
        """What the programs of the current call took, and the last one of them."""

    def start(self, asked: Any, program: bytes, budget_s: float) -> dict[str, Any] | None:
        """Begin one; what became of it where that is known at once, as the call's programs have
        had their `budget_s`."""
        match asked:
            case {"timeout_s": float(timeout_s)} if 0 < timeout_s < math.inf:
                pass
            case _:
                raise BrokenWorkerError
        self._since, self.last_s = time.monotonic(), 0.0
        timeout_s = min(timeout_s, budget_s - self.spent_s)
        if timeout_s <= 0:
            return _ran("spent")
        if self._host is not None and self._host.is_gone():
            self.kill()
        if self._host is None:
            self._host = ProgramHost(self._limits)
        self._host.ask(program, timeout_s)
        self.running, self.until = True, self._since + timeout_s + HOST_GRACE_S
        return None

    def waits_for(self) -> dict[int, int]:
        """What to poll: descriptors and events."""
        if not self.running or self._host is None:
            return {}
        writable = {self._host.requests: select.POLLOUT} if self._host.outbox else {}
        return {self._host.answers: select.POLLIN, **writable}

    def hear(self, ready: set[int]) -> dict[str, Any] | None:
        """What became of the running program, when it is known."""
        assert self._host is not None
        if self._host.requests in ready:
            self._host.push()
        if self._host.answers not in ready:
            return None
        try:
            ran = self._host.read()
        except BrokenWorkerError:
            return self.give_up()
        return None if ran is None else self._finish(ran)

    def give_up(self) -> dict[str, Any]:
        """The host is lost, and with it the running program; the next one gets a new host."""
        self.kill()
        return self._finish(_ran("lost"))

    def _finish(self, ran: dict[str, Any]) -> dict[str, Any]:
        self.running, self.last_s = False, time.monotonic() - self._since
        self.spent_s += self.last_s
        return ran

    def kill(self) -> None:
        """End the host and what it runs."""
        if self._host is not None:
            self._host.kill()
        self._host = None
