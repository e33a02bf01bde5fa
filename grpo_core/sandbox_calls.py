"""What a pool is asked to call, and the book-keeping of one batch: what waits, what is decided."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from grpo_core.sandbox_process import Verdict

MAX_REQUEST = 1 << 20
"""Characters of completions in one request, unless one group alone has more."""
GIVE_UP_AFTER = 4
"""A function whose first calls of a batch all had to be killed is not called again in it."""


@dataclass(frozen=True)
class Function:
    """A reward function in the text of its file."""

    text: str
    filename: str
    """As errors show it; in one pool, files of the same name have the same text."""
    name: str
    batch: bool
    """Called once for all items of a call, else once for its only item."""
    messages: bool
    """Completions and prompts as chat messages, else as text."""


class Call(NamedTuple):
    """One function, by index, on completions of one group."""

    function: int
    group: int
    items: tuple[int, ...]


class Batch:
    """The book-keeping of one `Pool.run`."""

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        calls: Sequence[Call],
        functions: Sequence[Function],
    ) -> None:
        self.groups, self.calls, self.functions = groups, calls, functions
        self.verdicts: list[list[Verdict]] = [[] for _ in calls]
        self.pending = deque(range(len(calls)))
        self.num_open = len(calls)
        self.broken: set[str] = set()
        """Files that do not load."""
        self.wants_spare = True
        self._answered: Counter[int] = Counter()
        self._killed: Counter[int] = Counter()

    def function_of(self, call: int) -> Function:
        """What is called in `call`."""
        return self.functions[self.calls[call].function]

    def take(self, num_workers: int) -> tuple[dict[str, Any], list[int]]:
        """A request with one worker's share of what is pending, and its calls in order."""
        taken: list[int] = []
        groups: dict[int, dict[str, Any]] = {}
        room = MAX_REQUEST
        while self.pending and len(taken) < math.ceil(len(self.calls) / num_workers):
            key = self.calls[self.pending[0]].group
            if key not in groups:
                room -= sum(map(len, self.groups[key]["completions"]))
                if taken and room < 0:
                    break
                groups[key] = self.groups[key]
            taken.append(self.pending.popleft())
        return {"groups": groups, "calls": [self.calls[call] for call in taken]}, taken

    def settle(self, call: int, verdicts: list[Verdict]) -> None:
        """A worker has answered, if only with an exception."""
        self.verdicts[call] = verdicts
        self.num_open -= 1
        self._answered[self.calls[call].function] += 1

    def blame(self, call: int, verdict: Verdict) -> None:
        """A worker had to be killed over `call`."""
        self._close(call, verdict)
        function = self.calls[call].function
        self._killed[function] += 1
        if self._killed[function] == GIVE_UP_AFTER and not self._answered[function]:
            why = f"not called: all {GIVE_UP_AFTER} calls before it ended so: {verdict.message}"
            unlucky = [call for call in self.pending if self.calls[call].function == function]
            self._drop(unlucky, replace(verdict, message=why, seconds=0.0, tried=False))

    def drop_file(self, filename: str, verdict: Verdict) -> None:
        """A file did not load; its functions are not called in this batch."""
        self.broken.add(filename)
        unlucky = [call for call in self.pending if self.function_of(call).filename == filename]
        self._drop(unlucky, replace(verdict, tried=False))

    def _drop(self, calls: list[int], verdict: Verdict) -> None:
        for call in calls:
            self.pending.remove(call)
            self._close(call, verdict)

    def _close(self, call: int, verdict: Verdict) -> None:
        self.verdicts[call] = [verdict] * len(self.calls[call].items)
        self.num_open -= 1
