"""How often training locks into a wrong answer, with a group's mean as the baseline and without.

Four answers that start equally likely and pay 1, 0.9, 0.5 and 0; one softmax, plain ascent.

Shape letters: R runs, A arms, K marks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import Floats, log_softmax

STEP_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
ARMS = (1.0, 0.9, 0.5, 0.0)
"""Rewards of the answers."""
RUNS, STEPS, MARKS = 200, 250, (100, 1000)
LOCKED = 0.9
"""A run is locked when a wrong answer has more than this probability."""


def locked(
    step_sizes_R: Floats, centred_R: Floats, group_size: int, marks: tuple[int, ...], seed: int
) -> Floats:
    """1 where a run is locked into a wrong arm, `(K, R)`: after each of `marks` updates.

    Each run has its step size, and `centred` 1 for the group mean as a baseline, 0 for none.
    """
    rng, rewards_A = np.random.default_rng(seed), np.array(ARMS)
    theta_RA, found = np.zeros((len(step_sizes_R), len(ARMS))), []
    for step in range(1, max(marks) + 1):
        pi_RA = np.exp(log_softmax(theta_RA))
        counts_RA = rng.multinomial(group_size, pi_RA / pi_RA.sum(1, keepdims=True))
        baseline_R = centred_R * (counts_RA @ rewards_A) / group_size
        weights_RA = counts_RA * (rewards_A - baseline_R[:, None]) / group_size
        pull_RA = weights_RA - pi_RA * weights_RA.sum(1, keepdims=True)
        theta_RA = theta_RA + step_sizes_R[:, None] * pull_RA
        if step in marks:
            pi_RA = np.exp(log_softmax(theta_RA))
            found.append((pi_RA[:, 1:].max(1) > LOCKED).astype(float))
    return np.array(found)


@lru_cache(maxsize=64)
def lock_in(group_size: int, seed: int) -> tuple[list[Estimate], list[Estimate]]:
    """Share of runs locked after `STEPS` updates for each of `STEP_SIZES`: with the group mean,
    and without a baseline."""
    sizes_R = np.tile(np.repeat(STEP_SIZES, RUNS), 2)
    centred_R = np.repeat((1.0, 0.0), len(sizes_R) // 2)
    found_R = locked(sizes_R, centred_R, group_size, (STEPS,), seed)[0]
    shares = [mean_of(each) for each in found_R.reshape(-1, RUNS)]
    return shares[: len(STEP_SIZES)], shares[len(STEP_SIZES) :]


@lru_cache(maxsize=64)
def lock_in_later(
    group_size: int, step_size: float, seed: int
) -> tuple[list[Estimate], list[Estimate]]:
    """Share locked at one step size after each of `MARKS`: with the group mean, and without."""
    centred_R = np.repeat((1.0, 0.0), RUNS)
    found_KR = locked(np.full(2 * RUNS, step_size), centred_R, group_size, MARKS, seed)
    with_it, without = found_KR[:, :RUNS], found_KR[:, RUNS:]
    return [mean_of(each) for each in with_it], [mean_of(each) for each in without]
