"""Runs as large as the largest: what the pages are measured on.

    python tests/benchmarks/big_run.py write RUNS_DIR NAME [--steps 20000]
    python tests/benchmarks/big_run.py wide RUNS_DIR NAME
    python tests/benchmarks/big_run.py grow RUNS_DIR NAME [--every 1]

`write`: 20,000 steps of 30 metrics and 7 prompts with 8 completions each, 1,120,000 completions in
all, with alerts, pauses, reward versions and one resume. `wide`: step 1 is small, step 2 has groups
of 64 completions of 1,024 tokens, each with its numbers. `grow`: a process that looks like the
run's trainer; it reads lines, `go` to write a step every second, `wait` to write none, and ends
with its standard input.

Everything goes through the trainer's own writer, many steps a transaction. What a step holds
depends on the seed and its number alone; only the times of day differ from one writing to the next.
"""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.big_steps import Size, Steps

from grpo_core import rewards
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config, to_yaml
from grpo_core.records import Event
from grpo_core.runs import Run, RunState, Status, create_run, find_run
from grpo_core.store import RunWriter

CHUNK = 250
"""Steps in one transaction."""
SECONDS_PER_STEP = 1.5
EVAL_EVERY = CHECKPOINT_EVERY = 20
UNDONE = 15
"""Steps that the resume throws away."""


class BulkWriter(RunWriter):
    """The trainer's writer, with one transaction around many of its own."""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
        else:
            with super()._transaction():
                yield

    def spread_times(self, steps: int) -> None:
        """As if the steps had taken their time, the last one having ended just now."""
        start = time.time() - steps * SECONDS_PER_STEP
        with self._transaction():
            for table in ("steps", "events", "evals"):
                self._db.execute(
                    f"UPDATE {table} SET time = ? + step * ?", (start, SECONDS_PER_STEP)
                )
            self._db.execute(
                "UPDATE attempts SET time = ? + ifnull(resumed_from, 0) * ?",
                (start, SECONDS_PER_STEP),
            )


def write_big(runs_dir: Path, name: str, size: Size) -> Run:
    """A run of this size that was resumed once, at its middle, and is stopped."""
    run = _new_run(runs_dir, name, size)
    steps, half = Steps(size), size.steps // 2
    writer = BulkWriter(run.db_path)
    writer.write_meta(model="qwen3", num_parameters=843_000, device="cpu", benchmark=asdict(size))
    _write_steps(writer, run, steps, 1, min(half + UNDONE, size.steps))
    writer.close()
    writer = BulkWriter(run.db_path, truncate_after=half)
    _write_steps(writer, run, steps, half + 1, size.steps)
    writer.spread_times(size.steps)
    writer.close()
    write_state(run, "stopped", size.steps, size.steps)
    return run


def _write_steps(writer: BulkWriter, run: Run, steps: Steps, first: int, last: int) -> None:
    writer.write_event(first - 1, Event("status", {"status": "running"}))
    for start in range(first, last + 1, CHUNK):
        with writer._transaction():
            for step in range(start, min(start + CHUNK, last + 1)):
                _write_step(writer, run, steps, step)


def _write_step(writer: RunWriter, run: Run, steps: Steps, step: int) -> None:
    """A step with all that a trainer writes around it."""
    version, names = steps.version(step)
    if step == 1 or version != steps.version(step - 1)[0]:
        rewards.save_version(run.rewards, steps.functions(step))
        writer.write_event(step, Event("reward_version", {"version": version, "names": names}))
    groups = steps.groups(step)
    writer.write_step(steps.stats(step, groups), groups)
    for event in steps.pause(step):
        writer.write_event(step, event)
    if step % EVAL_EVERY == 0:
        writer.write_eval(steps.evaluation(step))
    if step % CHECKPOINT_EVERY == 0:
        writer.write_event(step, Event("checkpoint", {"path": f"step_{step:06d}"}))


def write_wide(runs_dir: Path, name: str, groups: int = 3, group: int = 64, tokens: int = 1024,
               seed: int = 0) -> Run:  # fmt: skip
    """Two steps: a small one, and one of a few wide groups, every completion with its tokens."""
    small = Size(steps=2, prompts=groups, group=8, seed=seed)
    run = _new_run(runs_dir, name, small)
    steps = Steps(small)
    writer = BulkWriter(run.db_path)
    writer.write_meta(model="qwen3", num_parameters=843_000, device="cpu", benchmark=asdict(small))
    _write_step(writer, run, steps, 1)
    wide = Steps(Size(steps=2, prompts=groups, group=group, seed=seed, tokens=tokens,
                      traced_every=1, traced_groups=groups))  # fmt: skip
    found = wide.groups(2)
    writer.write_step(wide.stats(2, found), found)
    writer.close()
    write_state(run, "stopped", 2, 2)
    return run


def _new_run(runs_dir: Path, name: str, size: Size) -> Run:
    rollout = {"prompts_per_step": size.prompts, "group_size": size.group}
    builtins = [{"builtin": function, "weight": weight} for function, weight in size.rewards]
    values = {"rollout": rollout, "rewards": builtins, "num_steps": size.steps, "seed": size.seed}
    return create_run(runs_dir, name, to_yaml(parse_config(values)))


def write_state(run: Run, status: Status, step: int, num_steps: int, phase: str = "") -> None:
    """`state.json` as the trainer of this process would write it."""
    me = psutil.Process()
    run.write_state(
        RunState(status, me.pid, me.create_time(), time.time(), step, num_steps, phase or status)
    )


@dataclass
class Growing:
    """The trainer of a run that `write_big` wrote: one step a transaction, as always."""

    run: Run

    def __post_init__(self) -> None:
        with RunReader(self.run.db_path) as reader:
            values = reader.meta()["benchmark"]
            self.step = reader.last_step() or 0
        self.steps = Steps(Size.of(values))
        self.writer = RunWriter(self.run.db_path)

    def grow(self) -> int:
        """One more step; its number."""
        self.step += 1
        for phase in ("rollout", "reward", "update"):
            self.beat(phase)
        _write_step(self.writer, self.run, self.steps, self.step)
        self.beat("update")
        return self.step

    def beat(self, phase: str) -> None:
        """A heartbeat."""
        write_state(self.run, "running", self.step, 2 * self.step, phase)

    def close(self) -> None:
        """Stop, as a trainer that was asked to."""
        self.writer.close()
        write_state(self.run, "stopped", self.step, 2 * self.step)


def grow(run: Run, every: float) -> None:
    """Write steps while told to, until the standard input ends."""
    growing, going = Growing(run), False
    growing.beat("update")
    print("ready", flush=True)
    due = time.monotonic() + every
    words = open(0, "rb", buffering=0)  # noqa: SIM115  (a buffer would hide a line from select)
    while True:
        left = max(0.0, due - time.monotonic())
        if select.select([words], [], [], left)[0]:
            word = words.readline()
            if not word:
                break
            going = word.strip() == b"go"
            continue
        due += every
        growing.grow() if going else growing.beat("update")
    growing.close()


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["write", "wide", "grow"])
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("name")
    parser.add_argument("--steps", type=int, default=Size.steps)
    parser.add_argument("--prompts", type=int, default=Size.prompts)
    parser.add_argument("--group", type=int, default=Size.group)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=1.0, help="seconds a step, for `grow`")
    given = parser.parse_args()
    if given.verb == "grow":
        grow(find_run(given.runs_dir, given.name), given.every)
        return
    started = time.perf_counter()
    if given.verb == "wide":
        run = write_wide(given.runs_dir, given.name, seed=given.seed)
    else:
        size = Size(given.steps, given.prompts, given.group, seed=given.seed)
        run = write_big(given.runs_dir, given.name, size)
    megabytes = run.db_path.stat().st_size / 1e6
    print(f"{run.path}: {megabytes:.0f} MB in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
