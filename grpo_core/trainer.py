"""The training loop: one step is sample, score, annotate, assign, update, write.

A run is a function of its recipe, its seed and its commands: every random number of step k is
derived from (seed, k), so a run resumed from a checkpoint repeats the undisturbed one.
"""

from __future__ import annotations

import functools
import hashlib
import time
from pathlib import Path

import torch

from grpo_core import checkpoint
from grpo_core.batch import pack
from grpo_core.config import RunConfig
from grpo_core.control import Control
from grpo_core.engine import Sampling
from grpo_core.evaluate import evaluate
from grpo_core.generate import sample
from grpo_core.grading import grade
from grpo_core.journal import Journal, OnStep
from grpo_core.metrics import describe, memory_gb
from grpo_core.prepare import Prepared
from grpo_core.records import Event, Group, StepStats
from grpo_core.rewards import RewardFunction, save_version, version_of
from grpo_core.runs import Run, Status
from grpo_core.scorer import Scorer
from grpo_core.update import annotate, assign_advantages, fill_traces, update

MAX_DRIFT = 0.02
"""Mean difference of engine and trainer log-probs (nats) above which the step gets an event."""
MAX_SKIPPED = 3
"""So many updates left out in a row pause the run: more steps would not mend it."""


class Trainer:
    """One attempt at a run, from a checkpoint or the beginning to its end, a stop or a failure."""

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        functions: list[RewardFunction],
        resume_from: Path | None = None,
        truncate_after: int | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        self.run, self.policy, self.engine = run, prepared.policy, prepared.engine
        self.accelerator, self.task = prepared.accelerator, prepared.task
        config = prepared.config
        optimizer = torch.optim.AdamW(
            self.policy.model.parameters(),
            lr=config.optim.learning_rate,
            weight_decay=config.optim.weight_decay,
            fused=True,  # one pass over the weights instead of about ten
        )
        self.optimizer = self.accelerator.prepare(optimizer)
        self.start, self.skipped = 0, 0
        if resume_from is not None:
            position = checkpoint.read_position(resume_from)
            checkpoint.restore(resume_from, self.optimizer, position)
            self.start, self.skipped = position.step, position.skipped_in_row
        self.step = self.start
        report = on_step or (lambda state, metrics: None)
        self.journal = Journal(run, self.step, config.num_steps, truncate_after, report)
        self.functions, self.version = functions, save_version(run.rewards, functions)
        self.scorer = self._new_scorer(config)
        self.control = Control(run, self.journal.writer, config, self._set_rewards)
        self.checkpoint_owed = False
        tokenizer = self.policy.tokenizer
        self.piece = functools.cache(lambda token: str(tokenizer.decode([token])))

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
            clock = time.perf_counter()
            groups, timing, events = self._collect(step)
            stats = self._learn(step, groups, timing, events)
            stats.metrics["time/step_s"] = time.perf_counter() - clock
            stats.metrics["perf/tokens_per_s"] = stats.num_tokens / stats.metrics["time/step_s"]
            self.journal.step(stats, groups)
            self.step = step
            if step % self.config.evaluation.every == 0 or step == self.config.num_steps:
                self._evaluate()
            if step % self.config.checkpoint.every == 0 or self.checkpoint_owed:
                self._save()

    def _collect(self, step: int) -> tuple[list[Group], dict[str, float], list[Event]]:
        """Sample this step's groups and score them."""
        rollout, timing = self.config.rollout, {}
        clock = time.perf_counter()
        self.journal.phase("rollout")
        problems = self.task.draw(step, rollout.prompts_per_step, self.config.seed)
        groups = sample(
            self.engine,
            self.policy,
            self.config.data,
            problems,
            rollout.group_size,
            Sampling(rollout.max_new_tokens, rollout.temperature, rollout.top_p),
            derive_seed(self.config.seed, step),
        )
        timing["time/rollout_s"] = time.perf_counter() - clock
        clock = time.perf_counter()
        self.journal.phase("reward")
        events = self.scorer.score(groups, step)
        for group in groups:
            for one in group.rollouts:
                one.correct = grade(one.text, group.problem.answer)
        timing["time/reward_s"] = time.perf_counter() - clock
        return groups, timing, events

    def _learn(
        self, step: int, groups: list[Group], timing: dict[str, float], events: list[Event]
    ) -> StepStats:
        """Update the policy on the groups; everything measured on the way."""
        self.journal.phase("update")
        clock = time.perf_counter()
        rate = self._learning_rate(step)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        batch = pack(groups, self.config.optim.micro_batch_tokens, self.accelerator.device)
        notes = annotate(self.accelerator, self.policy, batch, self.config)
        assign_advantages(groups, batch, notes, self.config)
        result = update(
            self.accelerator, self.policy, self.optimizer, groups, batch, notes, self.config
        )
        self.engine.refresh()
        timing["time/update_s"] = time.perf_counter() - clock
        fill_traces(groups, batch, notes, result, self.config.store.token_groups, self.piece)
        events += self._watch(result.nonfinite, result.drift)
        metrics = {**result.metrics, **describe(groups, self.functions), **timing}
        metrics["train/learning_rate"] = rate
        metrics["perf/memory_gb"] = memory_gb()
        return StepStats(step, sum(batch.lengths), self.version, metrics, events)

    def _learning_rate(self, step: int) -> float:
        warmup = self.config.optim.warmup_steps
        return self.config.optim.learning_rate * min(1.0, step / warmup if warmup else 1.0)

    def _watch(self, nonfinite: str, drift: float) -> list[Event]:
        """Events about numbers that should not be as they are; too many of them pause the run."""
        events = []
        if drift > MAX_DRIFT:
            events.append(Event("logprob_drift", {"mean_abs_nats": drift, "bound": MAX_DRIFT}))
        self.skipped = self.skipped + 1 if nonfinite else 0
        if nonfinite:
            message = f"the {nonfinite} was not finite; the weights were left as they were"
            events.append(Event("nonfinite", {"message": message, "in_row": self.skipped}))
        if self.skipped >= MAX_SKIPPED:
            self.control.paused, self.skipped = True, 0
            message = f"{MAX_SKIPPED} updates in a row were not finite; "
            message += "lower optim.learning_rate, then continue"
            self.journal.state.message = message
            events.append(Event("status", {"status": "paused", "message": message}))
        return events

    # --- around the loop -----------------------------------------------------------------------

    def _begin(self) -> None:
        self.journal.begin(
            engine=self.engine.name,
            model=self.policy.model.config.model_type,
            num_parameters=sum(p.numel() for p in self.policy.model.parameters()),
            device=str(self.accelerator.device),
        )
        if self.engine.name == "generate" and self.config.model.engine == "auto":
            message = "this architecture is sampled by Hugging Face's generate, the slow path"
            self.journal.event("notice", message=message)
        if self.journal.writer.attempt == 1:
            names = [function.name for function in self.functions]
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
        self.scorer.close()
        self.functions, self.version = functions, version_of(functions)
        self.scorer = self._new_scorer(self.config)

    def _new_scorer(self, config: RunConfig) -> Scorer:
        return Scorer(self.functions, config.sandbox.timeout_s, config.sandbox.num_workers)

    def _evaluate(self) -> None:
        self.journal.phase("evaluating")
        problems = self.task.held_out
        self.journal.evaluation(
            evaluate(self.engine, self.policy, self.config, problems, self.step)
        )

    def _save(self) -> None:
        """A checkpoint; a full disk costs this one and is tried again after the next step."""
        self.journal.phase("checkpoint")
        settings = self.config.model_dump(mode="json")
        position = checkpoint.Position(self.step, self.version, settings, self.skipped)
        try:
            path = checkpoint.save(self.run.checkpoints, self.policy, self.optimizer, position)
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
        """End the reward workers and close the database."""
        self.scorer.close()
        self.journal.close()


def derive_seed(seed: int, step: int) -> int:
    """The seed of a step's sampling; far apart for neighbouring seeds and steps."""
    digest = hashlib.sha256(f"rollout/{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
