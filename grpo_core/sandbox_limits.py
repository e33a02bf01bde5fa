"""What a process of the sandbox may use, and its end with whoever started it.

Set before the first line of a user's code, and before the lock, which keeps it from being taken
back. Only the standard library, see `sandbox_worker.py`.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys


def limit(memory_bytes: int) -> None:
    """At most `memory_bytes` of address space (Linux; macOS does not enforce it) and 256 open
    files; no core dumps, nothing written to files."""
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 256)]
    if sys.platform == "linux":
        limits.append((resource.RLIMIT_AS, memory_bytes))
    for name, value in limits:
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def end_with(pipe: int) -> None:
    """When the other end of this pipe closes, however it does, the kernel kills this process's
    whole group, even amid a loop in C. Linux only; nobody may read the pipe, which would kill
    too."""
    if sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
