"""The program host: starts programs that a model wrote, each in a locked process of its own.

A request is `{"timeout_s"}` and, behind it, the program as JSON; the answer `{ended, code, seconds,
stdout}` and, behind it, `stdout` bytes of standard output and then what the program's process said
of itself (`sandbox_program.py`). `ended` is `itself`, `late`, or `flood` for too much output.

Only the program's own process decodes it, and what it gives out is passed on as it is, so no code
and no data of one program are ever in this process but as bytes, which are wiped before the next.
Forking a small Python that has loaded the usual modules takes half a millisecond, starting one 20.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import struct
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

from grpo_core import sandbox_lock, sandbox_program
from grpo_core.sandbox_limits import end_with, limit

_USUAL = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions",
    "functools", "heapq", "itertools", "math", "operator", "random", "re", "statistics",
    "string", "typing",
)  # fmt: skip
"""Loaded once, so that no program's time goes into loading them."""
_PAUSE_S, _LONGEST_PAUSE_S = 50e-6, 0.01


class Output:
    """What comes out of one pipe, up to a number of bytes, in memory that is used again."""

    def __init__(self, most: int) -> None:
        self._room = bytearray(most + 1)
        self.size, self.pipe = 0, -1

    def begin(self) -> int:
        """Wipe what was there and open a pipe; returns the end that writes."""
        self._room[: self.size] = bytes(self.size)
        self.size = 0
        self.pipe, write_end = os.pipe()
        os.set_blocking(self.pipe, False)
        return write_end

    def take(self) -> None:
        """What has arrived; the pipe is closed at its end and when there is no more room."""
        with suppress(BlockingIOError):
            while self.pipe >= 0:
                count = os.readv(self.pipe, [memoryview(self._room)[self.size :]])
                self.size += count
                if not count or self.is_full:
                    self.close()

    def close(self) -> None:
        """Take no more."""
        if self.pipe >= 0:
            os.close(self.pipe)
        self.pipe = -1

    @property
    def is_full(self) -> bool:
        """Whether more came than is allowed."""
        return self.size == len(self._room)

    def data(self) -> memoryview:
        """All that came."""
        return memoryview(self._room)[: self.size]


class Host:
    """Reads requests and answers them until the parent is gone."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings, self.request = settings, settings["request"]
        self.pid, self.paths = os.getpid(), sandbox_lock.readable()
        self.stdout, self.result = (Output(settings["max_output"]) for _ in range(2))

    def serve(self) -> None:
        """Does not return: the process ends when the parent closes its end of the pipe."""
        nonce = json.loads(self.receive())["nonce"]
        while True:
            asked = self.receive()
            line_end = asked.index(b"\n")
            timeout_s = json.loads(asked[:line_end])["timeout_s"]
            ended, code, seconds = self.run(memoryview(asked)[line_end + 1 :], timeout_s)
            asked[:] = bytes(len(asked))
            head: dict[str, Any] = {"nonce": nonce, "ended": ended, "code": code}
            self.answer(head | {"seconds": seconds, "stdout": self.stdout.size})

    def receive(self) -> bytearray:
        """The next frame."""
        (size,) = struct.unpack("<I", self._read(4))
        return self._read(size)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        left = memoryview(data)
        while left:
            count = os.readv(self.request, [left])
            if not count:
                os._exit(0)
            left = left[count:]
        return data

    def answer(self, head: dict[str, Any]) -> None:
        """Send one frame: `head`, and what the program gave out."""
        line = json.dumps(head).encode() + b"\n"
        size = struct.pack("<I", len(line) + self.stdout.size + self.result.size)
        for part in (size + line, self.stdout.data(), self.result.data()):
            left = memoryview(part)
            while left:
                left = left[os.write(self.settings["answer"], left) :]

    def run(self, program: memoryview, timeout_s: float) -> tuple[str, int, float]:
        """Run a program; how it ended, its exit code (0 where it was stopped) and its seconds."""
        began = time.monotonic()
        # The kernel ends the program when this end closes: nothing is ever read from it.
        watch, watched = os.pipe()
        ends = [self.stdout.begin(), self.result.begin(), watched]
        pid = os.fork()
        if pid == 0:
            try:
                self._become(program, *ends)
            finally:
                os._exit(1)
        for end in ends:
            os.close(end)
        ended, code = self._watch(pid, began + timeout_s)
        os.close(watch)
        self.stdout.close()
        self.result.close()
        return ended, code, time.monotonic() - began

    def _watch(self, pid: int, deadline: float) -> tuple[str, int]:
        """Take what it gives out until it has ended, all of its group; see `run`."""
        poll, pause_s = select.poll(), _PAUSE_S
        poll.register(self.request, 0)  # tells when the parent is gone
        outputs = (self.stdout, self.result)
        for output in outputs:
            poll.register(output.pipe, select.POLLIN)
        while True:
            gone, status = os.waitpid(pid, os.WNOHANG)
            for output in outputs:  # after its end nothing of what it wrote is still on its way
                pipe = output.pipe
                output.take()
                if output.pipe < 0 <= pipe:
                    poll.unregister(pipe)
            full, left_s = any(one.is_full for one in outputs), deadline - time.monotonic()
            if gone or full or left_s <= 0:
                _end(pid, bool(gone))
                ended = "flood" if full else "itself" if gone else "late"
                return ended, os.waitstatus_to_exitcode(status) if gone else 0
            if any(one.pipe >= 0 for one in outputs):
                pause_s = _PAUSE_S
                wait_s = min(left_s, _LONGEST_PAUSE_S)  # others may hold the pipes open
            else:  # it is about to end, or has only closed them
                time.sleep(min(left_s, pause_s))
                wait_s, pause_s = 0.0, min(2 * pause_s, _LONGEST_PAUSE_S)
            if self.request in dict(poll.poll(wait_s * 1000)):
                _end(pid, False)
                os._exit(0)

    def _become(self, program: memoryview, stdout: int, result: int, watched: int) -> None:
        """Turn this process, just forked, into the program's; does not return."""
        os.setsid()
        asked = json.loads(bytes(program))
        stdin = _file_of(asked["stdin"].encode(errors="surrogatepass"))
        for source, target in ((stdin, 0), (stdout, 1)):
            os.dup2(source, target)
        kept = 2  # standard error, which goes nowhere
        for end in (*sorted((result, watched)), os.sysconf("SC_OPEN_MAX")):
            os.closerange(kept + 1, end)
            kept = end
        limit(self.settings["memory_bytes"])
        end_with(watched)
        if os.getppid() != self.pid:
            return  # the host ended before the kernel was told
        if self.settings["lock"]:
            sandbox_lock.lock(watched, self.paths)
        sandbox_program.main(asked, result)


def _file_of(data: bytes) -> int:
    """A file of its own that holds `data`, at its beginning; nobody else can open it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("input")
    else:
        file, path = tempfile.mkstemp()
        os.unlink(path)
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _end(pid: int, is_reaped: bool) -> None:
    """Kill a program's process and all that it started, as far as its group is the same."""
    with suppress(ProcessLookupError, PermissionError):  # nobody left; macOS: only a zombie
        os.killpg(pid, signal.SIGKILL)
    if not is_reaped:
        os.kill(pid, signal.SIGKILL)  # it may not have had the time to make a group
        os.waitpid(pid, 0)


def main() -> None:
    """Serve until the parent goes; any failure of the host itself ends it."""
    settings = json.loads(sys.argv[1])
    end_with(settings["trace"])
    for name in _USUAL:
        importlib.import_module(name)
    sys.path.remove(settings["root"])
    sys.argv = [sandbox_program.FILENAME]
    gc.freeze()  # no copies of pages only because a program collects its garbage
    try:
        Host(settings).serve()
    finally:
        os._exit(1)
