"""Our side of the speed benchmark: the product's own `Worker.step` on a prepared recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from speed_side import Clock, Job, Lengths, Sample, peak_bytes

METRICS = {"rollout": "time/rollout_s", "reward": "time/reward_s"}
"""Parts that the product times itself."""


def run(job: Job, wait: Callable[[], Lengths | None], answer: Callable[[Sample], None]) -> None:
    """Do steps for as long as they are wanted."""
    from grpo_core.prepare import prepare
    from grpo_core.recipe import parse_config
    from grpo_core.rewards import resolve
    from grpo_core.worker import Worker

    config = parse_config(job.recipe)
    prepared = prepare(config)
    forced = _Forced(prepared.engine)
    worker = Worker(prepared, resolve(config.rewards))
    clock = Clock()
    _time_parts(worker, clock)
    step = 0
    while lengths := wait():
        step += 1
        forced.lengths = lengths
        clock.restart()
        done = worker.step(step, config, lambda _phase: None)
        seconds = clock.stop()
        if done.nonfinite:
            raise RuntimeError(f"the update was left out: {done.nonfinite} is not finite")
        parts = _parts(seconds, clock.seconds, done.metrics)
        sampled = tuple(len(one.ids) for group in done.groups for one in group.rollouts)
        prompts = [group.prompt_ids for group in done.groups]
        answer(Sample(seconds, parts, sampled, prompts, peak_bytes()))
    worker.close()


class _Forced:
    """Hands the wanted lengths to every call of an engine."""

    def __init__(self, engine: Any) -> None:
        self.lengths: Lengths = ()
        generate = engine.generate

        def forced(prompts: list[list[int]], num: int, sampling: Any, seed: int) -> Any:
            return generate(prompts, num, replace(sampling, forced_lengths=self.lengths), seed)

        engine.generate = forced


def _time_parts(worker: Any, clock: Clock) -> None:
    """The parts of `time/update_s`, which the product does not time one by one."""
    import grpo_core.worker as module

    clock.wrap(module, "annotate", "logprob")
    clock.wrap(module.Update, "run", "update")
    clock.wrap(worker.learner.accelerator, "clip_grad_norm_", "optimizer")
    clock.wrap(worker.learner.optimizer, "step", "optimizer")


def _parts(seconds: float, timed: dict[str, float], metrics: dict[str, float]) -> dict[str, float]:
    """Seconds by part, all of them; the clock's `rest` still holds what the product timed."""
    parts = {**timed, **{part: metrics[name] for part, name in METRICS.items()}}
    parts["rest"] = seconds - sum(value for part, value in parts.items() if part != "rest")
    return parts
