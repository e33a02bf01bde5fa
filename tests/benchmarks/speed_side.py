"""One side of the speed benchmark: a process that does a step when it is told to.

The driver sends over a pipe the lengths that the completions of the next step shall have and gets a
`Sample` back; None ends the process. In between a side blocks, and the others have the machine to
themselves.
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Lengths = tuple[int, ...]
"""Tokens of each completion of a step, prompt-major, the end token included."""


@dataclass(frozen=True)
class Job:
    """Everything a side is made from; travels to its process."""

    recipe: dict[str, Any]
    """Of our product; TRL's settings follow from it."""
    num_steps: int
    """For which there shall be prompts."""
    folder: str
    """Where a trainer may write."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of TRL, over those that follow from the recipe."""
    trl_path: str | None = None


@dataclass
class Sample:
    """One step: seconds, and what shows that both sides did the same work."""

    step_s: float
    parts: dict[str, float]
    """rollout, reward, logprob (old and reference), update, optimizer, and the rest."""
    lengths: Lengths
    """As the trainer learned from them."""
    prompts: list[list[int]]
    """Ids of the step's prompts."""
    peak_bytes: int
    """Highest memory: of the process since it began on a CPU, of the step on a GPU."""


class Clock:
    """Seconds by part of a step, each without the parts inside it. Waits for a GPU at every
    border, whose work would otherwise count for whoever waits next."""

    def __init__(self) -> None:
        import torch

        self._wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
        self.restart()

    def restart(self) -> None:
        """A step begins."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._wait()
        self._started = self._since = time.perf_counter()

    def enter(self, part: str) -> None:
        """What follows belongs to `part`."""
        self._settle()
        self._open.append(part)

    def leave(self) -> None:
        """What follows belongs to whatever was open before."""
        self._settle()
        self._open.pop()

    def stop(self) -> float:
        """The step is over; its seconds."""
        self._settle()
        return self._since - self._started

    def _settle(self) -> None:
        self._wait()
        now = time.perf_counter()
        self.seconds[self._open[-1] if self._open else "rest"] += now - self._since
        self._since = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The block belongs to `name`."""
        self.enter(name)
        yield
        self.leave()

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Count every call of `owner.name` for `part`."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        setattr(owner, name, timed)


def peak_bytes() -> int:
    """Highest memory of this step on a GPU, of the process so far on a CPU."""
    import torch

    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(connection: Connection, module: str, job: Job) -> None:
    """The body of a side's process. `module.run(job, wait, answer)` does steps: `wait()` gives the
    next one's lengths or None, `answer(sample)` says that it is done."""

    def wait() -> Lengths | None:
        connection.send(("ready", None))
        return connection.recv()

    try:
        run: Callable = importlib.import_module(module).run
        run(job, wait, lambda sample: connection.send(("sample", sample)))
    except Exception:
        connection.send(("error", traceback.format_exc()))
