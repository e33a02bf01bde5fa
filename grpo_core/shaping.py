"""What an algorithm does with rewards before any advantage, and who takes part in the loss. Trainer
and page ask the same functions.
"""

from __future__ import annotations

from grpo_core.advantages import Rewards
from grpo_core.config import RunConfig
from grpo_core.records import Group, Rollout


def shaped_rewards(groups: list[Group], config: RunConfig) -> Rewards:
    """Rewards after the penalty for length, before any KL."""
    return [[_shaped(rollout, config) for rollout in group.rollouts] for group in groups]


def _shaped(rollout: Rollout, config: RunConfig) -> float | None:
    """Soft overlong punishment, DAPO, arXiv 2503.14476: 0 up to the buffer, then linear."""
    algorithm, limit = config.algorithm, config.rollout.max_new_tokens
    if rollout.reward is None or algorithm.truncated != "penalize":
        return rollout.reward
    assert algorithm.overlong_penalty is not None and algorithm.overlong_buffer is not None
    if rollout.finish == "length":
        return rollout.reward - algorithm.overlong_penalty
    buffer = algorithm.overlong_buffer * limit
    over = len(rollout.ids) - (limit - buffer)
    share = min(1.0, over / buffer) if buffer and over > 0 else 0.0
    return rollout.reward - share * algorithm.overlong_penalty


def lengths_in_loss(groups: list[Group], config: RunConfig) -> list[int]:
    """Tokens in the loss of each completion of a step, in its order: none without an advantage, or
    where what was cut off is masked."""
    masks = config.algorithm.truncated == "mask"
    return [
        0 if one.advantage is None or (masks and one.finish == "length") else len(one.ids)
        for group in groups
        for one in group.rollouts
    ]
