"""The parent side of the sandbox: worker processes that run reward functions, and their deadlines.

A worker answers strictly in order, so the parent knows at any moment what it is busy with: a
deadline belongs to that one thing, and that thing is to blame when the worker dies. A worker that
misses a deadline, dies or answers nonsense is killed with all that it started; a spare one, loaded
already, takes its place and goes on behind the culprit. Protocol: see `sandbox_worker.py`.

A pool belongs to one thread. With `die_with_parent` the workers end when the *thread* that started
them ends, so leave it off where threads come and go; workers always end with the parent's process.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Sequence
from typing import Any, Literal

from grpo_core import sandbox_process
from grpo_core.sandbox_calls import Batch, Call, Function
from grpo_core.sandbox_child import BrokenWorkerError
from grpo_core.sandbox_process import (
    Owed,
    Verdict,
    WorkerProcess,
    own_frames,
    read_fault,
    read_verdicts,
)

TRANSFER_S = 30.0
"""For a worker to take in one request."""
PROGRAMS_FACTOR = 10
"""All programs of one call may take this many times `timeout_s`, in which its own time stands."""
SPIN_S = 0.001
"""How long the parent looks again and again for the next answer before it sleeps: to be woken for
each one costs more than many a reward does."""
WATCH_S = 0.1
"""Between looks at the memory of workers, where that has to be watched."""


class Pool:
    """Workers that hold the same functions; `run` may be called any number of times."""

    def __init__(
        self,
        functions: Sequence[Function],
        timeout_s: float,
        num_workers: int = 1,
        die_with_parent: bool = False,
    ) -> None:
        self.functions, self.timeout_s = list(functions), timeout_s
        self.load_timeout_s = max(5.0, 5 * timeout_s)
        self.num_workers, self.die_with_parent = num_workers, die_with_parent
        self._files = list(dict.fromkeys(function.filename for function in functions))
        self._workers: list[WorkerProcess] = []  # a spare is the one beyond `num_workers`
        self._open = True
        self._staff(Batch([], [], self.functions))  # to load while the first completions are made

    def run(self, groups: Sequence[dict[str, Any]], calls: Sequence[Call]) -> list[list[Verdict]]:
        """Carry out `calls`; per call one verdict for each of its items.

        A group has `prompt, question, answer, step, columns` and the lists `completions` and
        `completion_ids`. Returns when all is decided: a call takes at most `timeout_s`, and
        `PROGRAMS_FACTOR` times that for the programs it runs, a file at most `load_timeout_s` to
        load, and one that fails to load is not tried again in this run.
        """
        assert self._open
        batch = Batch(groups, calls, self.functions)
        for worker in self._workers:
            worker.failed.clear()
        try:
            while True:
                self._staff(batch)
                if not batch.num_open:
                    return batch.verdicts
                for worker in self._wait():
                    self._hear(worker, batch)
                now = time.monotonic()
                for worker in [w for w in self._workers if now > self._deadline(w)]:
                    if worker.programs.running:
                        worker.lose_program()
                    else:
                        self._lose(worker, batch, "timeout")
                for worker in [w for w in self._workers if w.is_too_large()]:
                    self._lose(worker, batch, "crash", "took more memory than it may")
        except BaseException:
            self._kill_all()
            raise

    def close(self) -> None:
        """End all workers; the pool cannot be used afterwards."""
        self._open = False
        self._kill_all()

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _staff(self, batch: Batch) -> None:
        """Replace lost workers, load what is not loaded, hand out work."""
        while len(self._workers) < self.num_workers:
            self._workers.append(WorkerProcess(self.die_with_parent))
        for index, worker in enumerate(self._workers):
            if worker.owed:
                continue
            known = worker.loaded | worker.failed.keys() | batch.broken
            for filename in [name for name in self._files if name not in known]:
                worker.ask({"load": self._source(filename)}, [Owed("load", filename)])
            if not worker.owed and index < self.num_workers:
                for filename, verdict in worker.failed.items():
                    batch.drop_file(filename, verdict)
                self._hand_out(worker, batch)

    def _hand_out(self, worker: WorkerProcess, batch: Batch) -> None:
        if not batch.pending:
            return
        # The spare starts only now: a file that hangs must not hang twice.
        if len(self._workers) == self.num_workers and batch.wants_spare:
            self._workers.append(WorkerProcess(self.die_with_parent))
        request, calls = batch.take(self.num_workers)
        owed = [Owed("call", batch.function_of(call).filename, call) for call in calls]
        worker.ask(request, [owed[0]._replace(kind="take"), *owed])

    def _source(self, filename: str) -> dict[str, Any]:
        mine = [(i, f) for i, f in enumerate(self.functions) if f.filename == filename]
        functions = [(index, f.name, f.batch, f.messages) for index, f in mine]
        return {"text": mine[0][1].text, "filename": filename, "functions": functions}

    def _deadline(self, worker: WorkerProcess) -> float:
        if not worker.owed:
            return math.inf
        if worker.programs.running:
            return worker.programs.until
        limits = {"load": self.load_timeout_s, "take": TRANSFER_S, "call": self.timeout_s}
        return worker.since + limits[worker.owed[0].kind]

    def _wait(self) -> list[WorkerProcess]:
        """The workers that have something to say, as soon as one has or a deadline passes."""
        poll = select.poll()
        for worker in self._workers:
            for descriptor, events in worker.waits_for().items():
                poll.register(descriptor, events)
        left_s = min(map(self._deadline, self._workers)) - time.monotonic()
        if sandbox_process.WATCHED_BYTES is not None:
            left_s = min(left_s, WATCH_S)
        ready = {descriptor for descriptor, _ in self._spin(poll) or poll.poll(_ms(left_s))}
        for worker in self._workers:
            worker.serve(ready)
        return [worker for worker in self._workers if worker.answers in ready]

    def _spin(self, poll: select.poll) -> list[tuple[int, int]]:
        """What is ready within `SPIN_S`; nothing where the workers need all processors."""
        until = time.monotonic() + SPIN_S * (self.num_workers < (os.cpu_count() or 1))
        found = poll.poll(0)
        while not found and time.monotonic() < until:
            found = poll.poll(0)
        return found

    def _hear(self, worker: WorkerProcess, batch: Batch) -> None:
        try:
            for frame, body in worker.read():
                kind, filename, call = worker.owed[0]
                if kind == "call" and "program" in frame:
                    budget_s = PROGRAMS_FACTOR * self.timeout_s
                    worker.run_program(frame["program"], body, budget_s)
                    continue
                if kind == "call":
                    batch.settle(call, read_verdicts(frame, len(batch.calls[call].items)))
                elif kind == "load" and "fault" in frame:
                    worker.failed[filename] = read_fault(frame)
                elif kind == "load":
                    worker.loaded.add(filename)
                worker.settle()
        except BrokenWorkerError:
            self._lose(worker, batch, "crash")

    def _lose(
        self,
        worker: WorkerProcess,
        batch: Batch,
        outcome: Literal["timeout", "crash"],
        why: str = "",
    ) -> None:
        """Kill a worker, blame what it was busy with, put the rest of its work back."""
        limit_s = self._deadline(worker) - worker.since
        how = worker.kill("" if why else outcome)
        is_spare = self._workers.index(worker) >= self.num_workers
        self._workers.remove(worker)
        if not worker.owed:
            return  # it died idle, of something outside: nothing is to blame
        kind, filename, call = worker.owed[0]
        what = "loading the file" if kind == "load" else "the call"
        too_long = f"{what} took longer than {limit_s:g} s"
        message = too_long if outcome == "timeout" else f"the worker process {why or how}"
        line, trace = own_frames(worker.last_words, filename)
        seconds = time.monotonic() - worker.since + worker.programs.spent_s
        verdict = Verdict(outcome, message=message, line=line, trace=trace, seconds=seconds)
        if kind != "load":
            behind = [owed.call for owed in worker.owed if owed.call != call]
            batch.pending.extendleft(reversed(behind))
            batch.blame(call, verdict)
        elif is_spare:
            batch.wants_spare = False  # the work goes on without; who needs the file loads it again
        else:
            batch.drop_file(filename, verdict)


def _ms(seconds: float) -> float:
    """For `poll`, which rounds down: not to wake before a deadline."""
    return max(0.0, seconds) * 1000 + 1
