"""A process of the sandbox as its parent sees it: its pipes, its frames, its end.

A frame is four bytes of length and a JSON object on one line, which bytes may follow that only
their receiver understands. What comes out of such a process may have been written by hostile code:
a frame that breaks the form counts as a crash.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from grpo_core.programs import how_it_ended

MAX_HEAD = 1 << 20
"""Bytes of the JSON of one frame; printed output and tracebacks are cut far below it."""
ROOT = str(Path(__file__).resolve().parents[1])
GRACE_S = 0.2
# Numbers must not depend on the order of a set; one worker is meant to use one core.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class BrokenWorkerError(Exception):
    """The process has gone or does not keep to the protocol."""


class ChildProcess:
    """A Python that reads frames from `requests` and writes frames to `answers`."""

    def __init__(self, program: list[str], limits: dict[str, Any]) -> None:
        """Start Python on `program`, with one more argument: `limits` and its pipes as JSON."""
        request_end, self.requests = os.pipe()
        self.answers, answer_end = os.pipe()
        self._trace, trace_end = os.pipe()
        self._mine = [self.requests, self.answers, self._trace]
        theirs = {"request": request_end, "answer": answer_end, "trace": trace_end}
        settings = json.dumps({**theirs, **limits, "root": ROOT})
        # Like -I, but with the hash seed of the environment. -B: it may not write files anyway.
        command = [sys.executable, "-s", "-P", "-B", "-X", "utf8", *program, settings]
        null = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                command, stdin=null, stdout=null, stderr=null, env=_ENVIRONMENT, cwd="/",
                pass_fds=tuple(theirs.values()), start_new_session=True,
            )  # fmt: skip
        finally:
            for end in theirs.values():
                os.close(end)
        for mine in self._mine:
            os.set_blocking(mine, False)
        self.since = time.monotonic()
        """When it began what it is busy with."""
        self.last_words = ""
        """What the fault handler said of the place where it hung or died."""
        self.outbox, self._inbox = bytearray(), bytearray()
        self._nonce = secrets.token_hex(8)
        self._put({"nonce": self._nonce})

    def _put(self, head: dict[str, Any], body: bytes | None = None) -> None:
        data = json.dumps(head, default=_plain).encode()
        data += b"" if body is None else b"\n" + body
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

    def _frames(self, max_body: int) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The frames that have arrived; `BrokenWorkerError` at their end and at nonsense."""
        chunk = os.read(self.answers, 1 << 16)
        if not chunk:
            raise BrokenWorkerError
        self._inbox += chunk
        while len(self._inbox) >= 4:
            (size,) = struct.unpack_from("<I", self._inbox)
            if size > MAX_HEAD + max_body:
                raise BrokenWorkerError
            if len(self._inbox) < 4 + size:
                return
            head, _, body = bytes(self._inbox[4 : 4 + size]).partition(b"\n")
            del self._inbox[: 4 + size]
            if len(head) > MAX_HEAD:
                raise BrokenWorkerError
            try:
                frame = json.loads(head)
            except (ValueError, RecursionError):
                raise BrokenWorkerError from None
            if not isinstance(frame, dict) or frame.get("nonce") != self._nonce:
                raise BrokenWorkerError
            yield frame, body

    def _end(self, grace_s: float) -> str:
        """End the whole process group; says how the process ended before, if it did within
        `grace_s` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        code = self._process.returncode
        with suppress(ProcessLookupError, PermissionError):  # nobody left; macOS: only a zombie
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BlockingIOError):
            self.last_words = os.read(self._trace, 1 << 16).decode("ascii", "replace")
        for mine in self._mine:
            os.close(mine)
        return "stopped answering" if code is None else how_it_ended(code)


def _plain(value: Any) -> Any:
    """A column's value that JSON does not know: arrays as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
