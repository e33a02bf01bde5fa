"""A run's numbers in memory: read once, then followed. What pages poll is answered from here.

One object for each run that is looked at, the least recently asked for are dropped. Routes run in
threads: whatever is done with a run's numbers is done under its lock, and takes milliseconds once
they are there.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grpo_core.follow import Cursors, Floats, Follower, Growth, Ints
from studio.chronicle import Chronicle

MAX_RUNS = 6
"""Runs whose numbers are all kept; one of 20,000 steps with 30 metrics takes 15 MB."""
MAX_SHORT = 400
"""Runs of which the few numbers of the table of runs are kept."""
SETTLED_S = 0.1
"""A file's time is no finer than this: a stamp that young may hide a second write."""

Stamp = tuple[tuple[int, int, int], ...]


def stamp_of(db_path: Path) -> Stamp:
    """Changes whenever the database is written to: inode, time and size of its files."""
    stamps = []
    for path in (db_path, db_path.with_name(f"{db_path.name}-wal")):
        try:
            stat = path.stat()
            stamps.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except OSError:
            stamps.append((0, 0, 0))
    return tuple(stamps)


def is_settled(stamp: Stamp) -> bool:
    """Whether a later write would surely look different."""
    return time.time_ns() - max(mtime for _, mtime, _ in stamp) > SETTLED_S * 1e9


class Column:
    """Growing arrays of one length, by step: ids, steps, and one or more rows of values."""

    def __init__(self, width: int = 1) -> None:
        self._num = 0
        self._ids: Ints = np.empty(64, np.int64)
        self._steps: Ints = np.empty(64, np.int64)
        self._values: Floats = np.empty((width, 64))

    def __len__(self) -> int:
        return self._num

    @property
    def ids(self) -> Ints:
        """Row ids: they grow, so that a cursor cuts here."""
        return self._ids[: self._num]

    @property
    def steps(self) -> Ints:
        """Steps, each once."""
        return self._steps[: self._num]

    def values(self, row: int = 0) -> Floats:
        """The numbers."""
        return self._values[row, : self._num]

    def extend(self, ids: Ints, steps: Ints, values: NDArray[Any]) -> bool:
        """Add points (`values`: one row or `width` rows); a step that is there is replaced.

        True where points came out of their order, so that ids no longer grow with steps.
        """
        last = self._steps[self._num - 1] if self._num else -1
        in_order = len(steps) == 1 or bool((np.diff(steps) > 0).all())
        if len(steps) and (steps[0] <= last or not in_order):
            self._rebuild(ids, steps, np.atleast_2d(values))
            return True
        self._reserve(self._num + len(steps))
        place = slice(self._num, self._num + len(steps))
        self._ids[place], self._steps[place], self._values[:, place] = ids, steps, values
        self._num += len(steps)
        return False

    def _rebuild(self, ids: Ints, steps: Ints, values: NDArray[Any]) -> None:
        ids, steps = np.concatenate([self.ids, ids]), np.concatenate([self.steps, steps])
        values = np.concatenate([self._values[:, : self._num], values], axis=1)
        order = np.lexsort((ids, steps))
        newest = order[np.append(np.diff(steps[order]) != 0, True)]
        self._num, self._ids, self._steps = len(newest), ids[newest], steps[newest]
        self._values = values[:, newest]

    def _reserve(self, num: int) -> None:
        room = len(self._steps)
        if num > room:
            more = max(num, 2 * room) - room
            self._ids = np.concatenate([self._ids, np.empty(more, np.int64)])
            self._steps = np.concatenate([self._steps, np.empty(more, np.int64)])
            width = len(self._values)
            self._values = np.concatenate([self._values, np.empty((width, more))], axis=1)

    def keep_until(self, step: int) -> None:
        """Drop what lies after a step."""
        self._num = int(np.searchsorted(self.steps, step, side="right"))


class Columns:
    """All numbers of a run, or those of a few metrics; `refresh` brings what is new."""

    def __init__(self, db_path: Path, names: frozenset[str] | None = None) -> None:
        self.lock = threading.Lock()
        self.problem = ""
        """Why the database cannot be read, in SQLite's words."""
        self._path, self._names = db_path, names
        self._stamp: Stamp | None = None
        self._clear()

    def _clear(self) -> None:
        self.source = ""
        """Names this very database: another one under the same path has another."""
        self._num_rebuilt = 0
        self.attempts: list[tuple[int, float, int | None]] = []
        self.cursors = Cursors()
        self.metrics: dict[str, Column] = {}
        self.steps = Column(2)
        """Of each step: when it ended, and the tokens sampled in it."""
        self.chronicle = Chronicle()

    @property
    def attempt(self) -> int:
        """Number of the newest attempt, 0 before the first."""
        return self.attempts[-1][0] if self.attempts else 0

    @property
    def edition(self) -> str:
        """What a reader's cursor belongs to; of another edition it needs everything."""
        return f"{self.source}-{self._num_rebuilt}"

    def undone_after(self, attempt: int) -> int | None:
        """The step after which the points of somebody who knew that attempt are void."""
        resumed = [step for number, _, step in self.attempts if number > attempt]
        return min((step for step in resumed if step is not None), default=None)

    def refresh(self) -> None:
        """Read what was written since; nothing is opened where no file has changed."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return
        try:
            self._read(stamp[0][0])
            self.problem = ""
        except FileNotFoundError:
            self._clear()
        except (sqlite3.Error, ValueError, TypeError) as error:  # not what we wrote
            self.problem = str(error)
        self._stamp = stamp if is_settled(stamp) else None

    def _read(self, inode: int) -> None:
        with Follower(self._path) as reader:
            growth = reader.growth(self.cursors, self._names)
            source = f"{inode}-{growth.attempts[0][1] if growth.attempts else None}"
            if source != self.source:
                if self.cursors != Cursors():
                    growth = reader.growth(Cursors(), self._names)
                self._clear()
                self.source = source
        self._forget(growth)
        self._take(growth)

    def _forget(self, growth: Growth) -> None:
        before = self.attempt
        self.attempts = growth.attempts
        step = self.undone_after(before) if before else None
        if step is None:
            return
        for column in [*self.metrics.values(), self.steps]:
            column.keep_until(step)
        self.metrics = {name: column for name, column in self.metrics.items() if len(column)}
        self.chronicle.forget_after(step)

    def _take(self, growth: Growth) -> None:
        seen = self.cursors
        for name, (ids, steps, values) in growth.metrics.items():
            self._num_rebuilt += self.metrics.setdefault(name, Column()).extend(ids, steps, values)
            seen = Cursors(max(seen.metric, int(ids.max())), seen.step, seen.event)
        if growth.steps:
            ids_, steps_, times, tokens, versions = zip(*growth.steps, strict=True)
            values_2S = np.array([times, tokens], dtype=float)
            self.steps.extend(np.array(ids_), np.array(steps_), values_2S)
            self.chronicle.take_versions(zip(steps_, versions, times, strict=True))
            seen = Cursors(seen.metric, ids_[-1], seen.event)
        if growth.events:
            seen = Cursors(seen.metric, seen.step, growth.events[-1]["id"])
        self.chronicle.take_attempts(self.attempts)
        self.chronicle.take_events(growth.events, self.undone_after)
        self.cursors = seen


# --- the runs that are looked at -----------------------------------------------------------------

_kept: OrderedDict[tuple[Path, frozenset[str] | None], Columns] = OrderedDict()
_guard = threading.Lock()


@contextmanager
def followed(db_path: Path, names: frozenset[str] | None = None) -> Iterator[Columns]:
    """A run's numbers as they are now, for this thread alone while the block lasts."""
    key = (db_path, names)
    with _guard:
        found = _kept.pop(key, None) or Columns(db_path, names)
        _kept[key] = found
        whole = [known for known in _kept if known[1] is None]
        short = [known for known in _kept if known[1] is not None]
        for old in [*whole[:-MAX_RUNS], *short[:-MAX_SHORT]]:
            del _kept[old]
    with found.lock:
        found.refresh()
        yield found
