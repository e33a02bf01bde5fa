"""What a step's groups say in numbers: rewards, correctness, lengths."""

from __future__ import annotations

from statistics import fmean, pstdev

import psutil
import torch

from grpo_core.advantages import is_flat
from grpo_core.records import Group
from grpo_core.rewards import RewardFunction


def describe(groups: list[Group], functions: list[RewardFunction]) -> dict[str, float]:
    """What the groups say about rewards, correctness and lengths."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards_PG = [[r.reward for r in group.rollouts if r.reward is not None] for group in groups]
    rewards_PG = [rewards for rewards in rewards_PG if len(rewards) > 1]
    faults = sum(rollout.outcome not in ("ok", "abstain") for rollout in rollouts)
    metrics = {
        "train/accuracy": fmean(rollout.correct for rollout in rollouts),
        "reward/error_fraction": faults / len(rollouts),
        "completion/length_mean": fmean(len(rollout.ids) for rollout in rollouts),
        "completion/truncated_fraction": fmean(r.finish == "length" for r in rollouts),
    }
    given = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    if given:
        metrics["reward/mean"] = fmean(given)
    if rewards_PG:
        metrics["reward/std"] = fmean(pstdev(rewards) for rewards in rewards_PG)
        flat = [is_flat([*rewards]) for rewards in rewards_PG]
        metrics["reward/zero_variance_fraction"] = fmean(flat)
    for function in functions:
        parts = [rollout.parts.get(function.name) for rollout in rollouts]
        numbers = [part for part in parts if part is not None]
        if numbers:
            metrics[f"reward/{function.name}/mean"] = fmean(numbers)
    return metrics


def memory_gb() -> float:
    """Peak memory of the GPU, or of this process where there is none (GB)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9
