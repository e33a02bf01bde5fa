"""What a worker gives up on macOS: Seatbelt, the system's own sandbox, which a process puts on
itself. Apple has deprecated `sandbox_init` and offers nothing else for it; whether it holds on this
machine is for `sandbox_probe.py` to find out by trying. It caps no memory, see `WATCHED_BYTES` in
`sandbox_process.py`.

Only the standard library, see `sandbox_worker.py`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

_PERSONAL = (
    "/Users", "/Volumes", "/Network", "/private/tmp", "/private/var/folders", "/private/var/root",
    "/private/var/tmp", "/private/etc", "/Library/Keychains",
)  # fmt: skip
"""Where people's files and secrets are; the rest is the system's, which is the same everywhere."""
_DENIED = (
    "network*", "file-write*", "process-fork", "process-exec*", "process-info* (target others)",
    "signal (target others)", "mach-lookup", "mach-register", "appleevent-send", "iokit-open",
    "ipc-posix*", "ipc-sysv*", "job-creation", "sysctl-write", "system-socket", "lsopen",
)  # fmt: skip


def profile(readable: Iterable[str]) -> str:
    """Rules in Seatbelt's language; the last one that matches decides.

    `readable`: files and folders that stay readable wherever they are. Links are resolved, as
    Seatbelt sees real paths only. Allows what is not named, so that Python works on versions of
    the system that nobody has tried.
    """
    rules = ["(version 1)", "(allow default)", *(f"(deny {what})" for what in _DENIED)]
    rules.append('(allow file-write-data (literal "/dev/null"))')
    personal = dict.fromkeys([*_PERSONAL, os.path.realpath(os.path.expanduser("~"))])
    rules.append(f"(deny file-read-data {_subpaths(personal)})")
    kept = dict.fromkeys(os.path.realpath(path) for path in readable if os.path.exists(path))
    rules.append(f"(allow file-read-data {_subpaths(kept)})")
    return "\n".join(rules)


def _subpaths(paths: Iterable[str]) -> str:
    quoted = (path.replace("\\", "\\\\").replace('"', '\\"') for path in paths if path != "/")
    return " ".join(f'(subpath "{path}")' for path in quoted)


def lock(readable: Iterable[str]) -> None:
    """Put it on, for good and for all that this process starts. Raises OSError where it fails."""
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    said = ctypes.c_char_p()
    text = profile(readable).encode()
    if library.sandbox_init(text, ctypes.c_uint64(0), ctypes.byref(said)) != 0:
        raise OSError((said.value or b"sandbox_init failed").decode("utf-8", "replace"))
