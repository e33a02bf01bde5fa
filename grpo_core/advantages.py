"""Advantage estimators, on plain lists: the trainer and the inspector call the same function.

Shape letters: P prompts, G completions of a group. A reward of None (abstained or faulty) takes
part in nothing: neither in the baseline nor, with an advantage of None, in the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, stdev

TOLERANCE = 1e-12
"""A group whose rewards span no more than this teaches nothing: rounding is not a signal."""
ZSCORE_DELTA = 1e-4
"""Added to the standard deviation, as TRL does."""


def mean(rewards_G: list[float]) -> list[float]:
    """R_i - mean(R). Expected gradient: (G-1)/G of the true one."""
    baseline = fmean(rewards_G)
    return [reward - baseline for reward in rewards_G]


def loo(rewards_G: list[float]) -> list[float]:
    """R_i - mean of the others = G/(G-1) (R_i - mean(R)), unbiased (RLOO, arXiv 2402.14740)."""
    scale = len(rewards_G) / (len(rewards_G) - 1)
    return [scale * advantage for advantage in mean(rewards_G)]


def zscore(rewards_G: list[float]) -> list[float]:
    """(R_i - mean(R)) / (std(R) + delta), sample std (DeepSeekMath, arXiv 2402.03300, eq. 4)."""
    scale = 1.0 / (stdev(rewards_G) + ZSCORE_DELTA)
    return [scale * advantage for advantage in mean(rewards_G)]


ESTIMATORS: dict[str, Callable[[list[float]], list[float]]] = {
    "mean": mean,
    "loo": loo,
    "zscore": zscore,
}


def assign(rewards_PG: list[list[float | None]], estimator: str) -> list[list[float | None]]:
    """One advantage per completion, in the shape of `rewards_PG` (groups may differ in size).

    A group with fewer than two rewards compares nothing: its advantages are None. A group whose
    rewards are all equal has advantage 0. Raises KeyError on an unknown estimator.
    """
    estimate = ESTIMATORS[estimator]
    return [_assign_group(rewards_G, estimate) for rewards_G in rewards_PG]


def _assign_group(
    rewards_G: list[float | None], estimate: Callable[[list[float]], list[float]]
) -> list[float | None]:
    known = [reward for reward in rewards_G if reward is not None]
    if len(known) < 2:
        return [None] * len(rewards_G)
    if max(known) - min(known) <= TOLERANCE:
        return [None if reward is None else 0.0 for reward in rewards_G]
    advantages = iter(estimate(known))
    return [None if reward is None else next(advantages) for reward in rewards_G]


def penalise_kl(
    rewards_PG: list[list[float | None]], kl_sums_PG: list[list[float]], coefficient: float
) -> list[list[float | None]]:
    """R_i - beta * sum_t (log pi_old - log pi_ref), before any centring.

    `kl_sums_PG`: the k1 estimate of each completion, summed over its tokens (nats).
    """
    return [
        [
            None if reward is None else reward - coefficient * kl
            for reward, kl in zip(r, k, strict=True)
        ]
        for r, k in zip(rewards_PG, kl_sums_PG, strict=True)
    ]
