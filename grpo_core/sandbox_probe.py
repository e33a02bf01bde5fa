"""What the sandbox keeps out on this machine, found out by trying.

A worker as any other gets a file of reward functions that attack (`sandbox_attacks.py`); what gets
through is named. So the verdict rests neither on a kernel's version nor on what a call returned.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from grpo_core import sandbox_process
from grpo_core.sandbox import Call, Function, Pool

Tier = Literal["isolated", "limited", "off"]
ATTACKS = {
    "read your files": ("read_files", "list_folders", "read_the_parents_environment"),
    "change your files": ("write_files", "change_files"),
    "use the network": ("use_tcp", "use_udp"),
    "talk to other programs": ("use_local_sockets", "signal_processes", "signal_by_file"),
    "start programs": ("start_programs", "fork"),
    "outlive the run": ("outlive_the_trainer",),
    "take all memory": ("take_memory",),
}
"""What reward code could do, and the functions that try it."""
_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Protection:
    """What a sandbox's worker is kept from."""

    tier: Tier
    """`isolated`: from all of `ATTACKS`; `limited`: it can crash and hang without harm, but
    `gaps` are open; `off`: no worker answers."""
    gaps: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        if self.tier == "off":
            return "Off: no sandbox worker starts on this machine, so no reward code runs."
        if self.tier == "isolated":
            return (
                "Isolated: reward code cannot read or change your files, use the network, start "
                "programs or outlive the run."
            )
        *others, last = self.gaps
        gaps = f"{', '.join(others)} or {last}" if others else last
        return (
            "Limited: reward code can crash or hang without harm to a run, but nothing keeps it "
            f"from being able to {gaps}. Run only what you trust."
        )


def probe() -> Protection:
    """Try all attacks, in less than a tenth of a second.

    Where no worker works with the lock on, again and again, and one works without, workers go
    without it until the next probe finds otherwise. That makes the tier `limited` and not `off`: it
    is said, and everything else holds.
    """
    sandbox_process.LOCK_FAILS = False
    found = _try_all()
    if found.tier == "off" and sandbox_process.LOCK:
        found = _try_all()  # a machine that was short of something for a moment keeps its lock
    if found.tier == "off" and sandbox_process.LOCK:
        sandbox_process.LOCK_FAILS = True
        without = _try_all()
        if without.tier != "off":
            return without
        sandbox_process.LOCK_FAILS = False
    return found


def _try_all() -> Protection:
    names = ["works", *(name for group in ATTACKS.values() for name in group)]
    text = Path(__file__).with_name("sandbox_attacks.py").read_text(encoding="utf-8")
    functions = [Function(text, "sandbox_attacks.py", name, False, False) for name in names]
    with _targets() as columns:
        pool = Pool(functions, _TIMEOUT_S)
        group = {
            "prompt": "", "question": "", "answer": None, "step": 0, "columns": columns,
            "completions": ["text"], "completion_ids": [[0]],
        }  # fmt: skip
        try:
            verdicts = pool.run([group], [Call(i, 0, (0,)) for i in range(len(functions))])
        except OSError:
            return Protection("off")
        finally:
            pool.close()
    got_through = {name for name, (one,) in zip(names, verdicts, strict=True) if one.value == 1.0}
    if "works" not in got_through:
        return Protection("off")
    if sys.platform != "linux":
        got_through.add("outlive_the_trainer")  # there a worker ends after its current call only
    gaps = tuple(what for what, tried in ATTACKS.items() if got_through & set(tried))
    return Protection("limited" if gaps else "isolated", gaps)


@contextmanager
def _targets() -> Iterator[dict[str, Any]]:
    """Something to attack: a file, sockets, and this process itself."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "secret").write_text("secret", encoding="utf-8")
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = f"grpo-studio-{uuid.uuid4()}"
        if sys.platform == "linux":
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.bind("\0" + abstract)
            local.listen(1)
        yield {
            "secret": str(folder / "secret"), "folder": str(folder), "abstract": abstract,
            "port": listener.getsockname()[1], "parent": os.getpid(),
        }  # fmt: skip
