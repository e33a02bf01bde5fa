"""What a run says of itself while it goes on: `state.json`, events, metrics and `log.txt`."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from grpo_core.records import EvalResult, Event, Group, StepStats
from grpo_core.runs import Run, RunState, Status
from grpo_core.store import RunWriter

log = logging.getLogger("grpo_core")
OnStep = Callable[[RunState, dict[str, float]], None]
_PACKAGES = ("grpo-studio", "torch", "transformers", "accelerate")


class Journal:
    """The state of a run and its one database connection; `on_step` hears of every new number."""

    def __init__(
        self, run: Run, step: int, num_steps: int, truncate_after: int | None, on_step: OnStep
    ) -> None:
        process = psutil.Process()
        self.state = RunState(
            status="running",
            pid=process.pid,
            create_time=process.create_time(),
            heartbeat=time.time(),
            step=step,
            num_steps=num_steps,
            phase="starting",
        )
        self.run, self._on_step = run, on_step
        run.write_state(self.state)
        self.writer = RunWriter(run.db_path, truncate_after)

    def begin(self, **facts: Any) -> None:
        """Facts about the whole run, and that it has begun."""
        self.writer.write_meta(
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            versions={package: _version(package) for package in _PACKAGES},
            **facts,
        )
        self.event("status", status="running")

    def event(self, kind: str, /, **detail: Any) -> None:
        """Something that happened now."""
        self.writer.write_event(self.state.step, Event(kind, detail))

    def phase(self, phase: str) -> None:
        """What the trainer does next; also its heartbeat."""
        self.state.phase = phase
        self.state.heartbeat = time.time()
        self.run.write_state(self.state)

    def status(self, status: Status) -> None:
        """The run's new status, where pages and commands find it."""
        self.state.status = status
        self.phase(status)

    def step(self, stats: StepStats, groups: list[Group]) -> None:
        """A finished step, whole or not at all."""
        self.writer.write_step(stats, groups)
        self.state.step = stats.step
        metrics = stats.metrics
        log.info(
            "step %d/%d: reward %s, accuracy %.3f, kl %s, length %.1f, %.2f s",
            stats.step,
            self.state.num_steps,
            f"{metrics['reward/mean']:.3f}" if "reward/mean" in metrics else "none",
            metrics["train/accuracy"],
            f"{metrics['train/kl']:.4f}" if "train/kl" in metrics else "none",
            metrics["completion/length_mean"],
            metrics["time/step_s"],
        )
        self._on_step(self.state, metrics)

    def evaluation(self, result: EvalResult) -> None:
        """A finished evaluation."""
        self.writer.write_eval(result)
        log.info(
            "step %d: held-out accuracy %.3f (%d of %d), length %.1f, %.1f s",
            result.step,
            result.accuracy,
            result.num_correct,
            result.num_problems,
            result.length_mean,
            result.seconds,
        )
        self._on_step(self.state, {"eval/accuracy": result.accuracy})

    def fail(self, message: str) -> None:
        """Put a failure where the page and the command line find it."""
        self.state.message = message
        self.event("status", status="failed", message=message)
        self.status("failed")

    def close(self) -> None:
        """Close the database."""
        self.writer.close()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "unknown"
