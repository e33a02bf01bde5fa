"""Greedy accuracy on held-out problems, through the same prompts, engine and judge as training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from grpo_core.config import RunConfig
from grpo_core.engine import Engine, Sampling
from grpo_core.generate import sample
from grpo_core.judge import Judge, mark
from grpo_core.policy import Policy
from grpo_core.records import EvalResult, Problem
from grpo_core.team import Team

ALONE = Team()


def evaluate(
    engine: Engine,
    policy: Policy,
    config: RunConfig,
    problems: Sequence[Problem],
    step: int,
    judge: Judge,
    team: Team = ALONE,
) -> tuple[EvalResult, int]:
    """Answer every problem once, greedily, and count what the judge accepts. Each process of the
    team answers its share. Also how many answers of this process got no verdict."""
    started = time.perf_counter()
    sampling = Sampling(config.rollout.max_new_tokens, greedy=True)
    size = config.evaluation.batch_size
    share = team.share(len(problems))
    answered: list[tuple[bool, int, bool]] = []
    undecided = 0
    for start in range(share.start, share.stop, size):
        part = problems[start : min(start + size, share.stop)]
        groups = sample(engine, policy, config.data, part, 1, sampling, seed=0)
        undecided += mark(groups, judge)
        for group in groups:
            (one,) = group.rollouts
            answered.append((bool(one.correct), len(one.ids), one.finish == "length"))
    answered = team.gather(answered)
    correct, lengths, truncated = zip(*answered, strict=True)
    result = EvalResult(
        step=step,
        num_problems=len(answered),
        num_correct=sum(correct),
        length_mean=fmean(lengths),
        truncated_fraction=fmean(truncated),
        seconds=time.perf_counter() - started,
    )
    return result, undecided
