"""Greedy accuracy on held-out problems, through the same prompts, engine and grader as training."""

from __future__ import annotations

import time
from collections.abc import Sequence

from grpo_core.config import RunConfig
from grpo_core.engine import Engine, Sampling
from grpo_core.generate import sample
from grpo_core.grading import grade
from grpo_core.policy import Policy
from grpo_core.records import EvalResult, Problem


def evaluate(
    engine: Engine, policy: Policy, config: RunConfig, problems: Sequence[Problem], step: int
) -> EvalResult:
    """Answer every problem once, greedily, and count what the grader accepts."""
    started = time.perf_counter()
    sampling = Sampling(config.rollout.max_new_tokens, greedy=True)
    size = config.evaluation.batch_size
    rollouts = []
    for start in range(0, len(problems), size):
        part = problems[start : start + size]
        groups = sample(engine, policy, config.data, part, 1, sampling, seed=0)
        rollouts += [(group.problem, group.rollouts[0]) for group in groups]
    num_correct = sum(grade(rollout.text, problem.answer) for problem, rollout in rollouts)
    return EvalResult(
        step=step,
        num_problems=len(rollouts),
        num_correct=num_correct,
        length_mean=sum(len(rollout.ids) for _, rollout in rollouts) / len(rollouts),
        truncated_fraction=sum(r.finish == "length" for _, r in rollouts) / len(rollouts),
        seconds=time.perf_counter() - started,
    )
