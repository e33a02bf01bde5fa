"""The training loop: command, step, write, evaluate, save.

A run is a function of its recipe, its seed and its commands: every random number of step k is
derived from (seed, k), so a run resumed from a checkpoint repeats the undisturbed one. One process
leads: it alone touches the run folder, and tells the others what to do next.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch

from grpo_core import checkpoint
from grpo_core.config import RunConfig
from grpo_core.control import Control
from grpo_core.forward import slow_training
from grpo_core.journal import Journal, OnStep
from grpo_core.records import Event, StepStats
from grpo_core.rewards import RewardFunction, save_version, version_of
from grpo_core.runs import Run, Status
from grpo_core.sandbox_probe import Protection
from grpo_core.worker import Step, Worker, fewer_rows, said_of_undecided

MAX_DRIFT, MAX_DRIFT_HALF = 0.02, 0.05
"""Mean difference of engine and trainer log-probs (nats) above which the step gets an event, in
fp32 and in bf16, where two orders of the same sums make up to 0.02."""
FAULTY_SHARE, MAX_FAULTY = 0.5, 3
"""So many steps in a row in which reward code failed on more than this share of the completions
pause the run, and so does one in which it failed on all."""
MAX_SKIPPED = 3
"""So many updates left out in a row pause the run: more steps would not mend it."""


class Trainer:
    """One attempt at a run, from a checkpoint or the beginning to its end, a stop or a failure."""

    def __init__(
        self,
        run: Run,
        worker: Worker,
        config: RunConfig,
        protection: Protection,
        resume_from: Path | None = None,
        truncate_after: int | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        self.run, self.worker = run, worker
        self.protection = protection
        self.start = self.skipped = self.faulty = 0
        if resume_from is not None:
            position = checkpoint.read_position(resume_from)
            self.start, self.skipped = position.step, position.skipped_in_row
            self.faulty = position.faulty_in_row
        self.step = self.start
        report = on_step or (lambda state, metrics: None)
        self.journal = Journal(run, self.step, config.num_steps, truncate_after, report)
        self.version = save_version(run.rewards, worker.functions)
        isolated = self.protection.tier == "isolated"
        self.control = Control(run, self.journal.writer, config, self._set_rewards, isolated)
        self.checkpoint_owed = False

    @property
    def config(self) -> RunConfig:
        """The settings in force."""
        return self.control.config

    # --- the loop ----------------------------------------------------------------------------

    def train(self) -> Status:
        """Run to the end; returns the final status, which is also on disk by then."""
        with self.control.listening():
            self._begin()
            self._loop()
            self.worker.team.tell("end")
            return self._finish()

    def _loop(self) -> None:
        """Step after step until the last one or a stop."""
        if self.step == 0:
            self._evaluate()
        while True:
            step = self.step + 1
            self.control.replay(self.start, step)
            self._obey(step)
            if self.control.stop or step > self.config.num_steps:
                break
            self.worker.team.tell("step", step, self.config)
            done = self.worker.step(step, self.config, self.journal.phase)
            self.journal.step(self._stats(step, done), done.groups)
            self.step = step
            if step % self.config.evaluation.every == 0 or step == self.config.num_steps:
                self._evaluate()
            if step % self.config.checkpoint.every == 0 or self.checkpoint_owed:
                self._save()

    def _stats(self, step: int, done: Step) -> StepStats:
        events = [*done.events, *self._watch_numbers(step, done)]
        events += self._watch_rewards(step, done)
        return StepStats(step, done.num_tokens, self.version, done.metrics, events)

    def _watch_numbers(self, step: int, done: Step) -> list[Event]:
        """Events about numbers that should not be as they are; too many of them pause the run."""
        events = []
        is_half = self.worker.policy.model.dtype == torch.bfloat16
        bound = MAX_DRIFT_HALF if is_half else MAX_DRIFT
        if done.drift > bound:
            events.append(Event("logprob_drift", {"mean_abs_nats": done.drift, "bound": bound}))
        self.skipped = self.skipped + 1 if done.nonfinite else 0
        if done.nonfinite:
            message = f"the {done.nonfinite} was not finite; the rest of this update was left out"
            events.append(Event("nonfinite", {"message": message, "in_row": self.skipped}))
        if self.skipped >= MAX_SKIPPED:
            self.skipped = 0
            why = f"{MAX_SKIPPED} updates in a row were not finite; "
            events.append(self._pause(step, why + "lower optim.learning_rate, then continue"))
        return events

    def _watch_rewards(self, step: int, done: Step) -> list[Event]:
        """A reward that mostly fails, or never applies, teaches little: the run pauses."""
        share, silent = done.metrics["reward/error_fraction"], "reward/mean" not in done.metrics
        self.faulty = self.faulty + 1 if silent or share > FAULTY_SHARE else 0
        if share < 1 and self.faulty < MAX_FAULTY:
            return []
        steps = f"in {self.faulty} steps in a row" if self.faulty > 1 else "in this step"
        self.faulty = 0
        faults = [event.detail for event in done.events if event.kind == "reward_fault"]
        if not faults:
            why = f"no completion got a reward {steps}: every function says that it does not apply"
            return [self._pause(step, f"{why} (None); apply another, then continue")]
        worst = max(faults, key=lambda detail: detail["count"])
        place = f" (line {worst['line']})" if worst["line"] else ""
        why = (
            f"reward code failed on {share:.0%} of the completions {steps}, mostly "
            f"{worst['function']}: {worst['message']}{place}; apply a reward that works, "
            "then continue"
        )
        return [self._pause(step, why)]

    def _pause(self, step: int, why: str) -> Event:
        """Wait for a person before the next step, if there is one."""
        if step >= self.config.num_steps:
            return Event("notice", {"message": why})
        self.control.paused = True
        self.journal.state.message = why
        return Event("status", {"status": "paused", "message": why})

    # --- around the loop -----------------------------------------------------------------------

    def _begin(self) -> None:
        model, protection = self.worker.policy.model, self.protection
        self.journal.begin(
            engine=self.worker.engine.name,
            model=model.config.model_type,
            num_parameters=sum(p.numel() for p in model.parameters()),
            precision="bf16" if model.dtype == torch.bfloat16 else "fp32",
            device=str(self.worker.learner.accelerator.device),
            num_processes=self.worker.team.size,
            sandbox=asdict(protection),
        )
        if protection.tier != "isolated":
            self.journal.event("notice", message=protection.sentence)
        if self.worker.engine.notice and self.config.model.engine in ("auto", "static"):
            self.journal.event("notice", message=self.worker.engine.notice)
        for note in self.worker.task.notes:
            self.journal.event("notice", message=note)
        if training := slow_training(model):
            self.journal.event("notice", message=training)
        if self.journal.writer.attempt == 1:
            names = [function.name for function in self.worker.functions]
            detail = {"version": self.version, "names": names}
            self.journal.writer.write_event(1, Event("reward_version", detail))

    def _obey(self, step: int) -> None:
        """Commands; while paused, wait here for the next one."""
        self.control.obey(step)
        if self.control.paused:
            self.journal.status("paused")
        while self.control.paused and not self.control.stop:
            time.sleep(0.1)
            if time.time() - self.journal.state.heartbeat > 1:
                self.journal.phase("paused")
            self.control.obey(step)
        state = self.journal.state
        state.num_steps = self.config.num_steps
        if state.status == "paused":
            state.message = ""
        self.journal.status("stopping" if self.control.stop else "running")

    def _set_rewards(self, functions: list[RewardFunction]) -> None:
        self.worker.team.tell("rewards", functions)
        self.worker.set_rewards(functions)
        self.version = version_of(functions)
        self.faulty = 0

    def _evaluate(self) -> None:
        self.journal.phase("evaluating")
        self.worker.team.tell("evaluate", self.step, self.config)
        rows_before = self.worker.engine.rows_at_once
        self.journal.evaluation(self.worker.evaluate(self.step, self.config))
        if undecided := self.worker.undecided:
            self.journal.event("notice", message=said_of_undecided(undecided))
        if self.worker.engine.rows_at_once != rows_before:
            self.journal.event("oom", **fewer_rows(self.worker.engine).detail)

    def _save(self) -> None:
        """A checkpoint; a full disk costs this one and is tried again after the next step."""
        self.journal.phase("checkpoint")
        settings = self.config.model_dump(mode="json")
        position = checkpoint.Position(self.step, self.version, settings, self.skipped, self.faulty)
        try:
            path = checkpoint.save(self.run.checkpoints, self.worker.learner, position)
            checkpoint.retire(self.run.checkpoints, self.config.checkpoint.keep)
        except OSError as error:
            self.checkpoint_owed = True
            message = f"the checkpoint could not be written ({error.strerror}); free some space"
            self.journal.event("notice", message=message)
        else:
            self.checkpoint_owed = False
            self.journal.event("checkpoint", path=path.name)

    def _finish(self) -> Status:
        newest = next(checkpoint.newest_first(self.run.checkpoints), None)
        if self.step and (newest is None or newest.name != f"step_{self.step:06d}"):
            self._save()
        final: Status = "stopped" if self.control.stop else "completed"
        self.journal.event("status", status=final)
        self.journal.status(final)
        return final

    def close(self) -> None:
        """Close the database."""
        self.journal.close()


def follow(worker: Worker) -> None:
    """What the processes that do not lead do: what they are told, until they are sent home."""
    while True:
        match worker.team.listen():
            case ("step", step, config):
                worker.step(step, config, lambda _: None)
            case ("evaluate", step, config):
                worker.evaluate(step, config)
            case ("rewards", functions):
                worker.set_rewards(functions)
            case ("end",):
                return
            case order:
                raise AssertionError(order)
