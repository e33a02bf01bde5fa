"""Where attention between whole answers goes wrong: two clusters that are never compared.

Four answers of one token, two clusters of two: A and C, B and D. In their own cluster A and D are
the worse ones; among all four A and C are above the mean. Attention between answers finds members
of one cluster alike (1) and of two clusters not (0).

Shape letters: M groups, R runs, A the four answers, K steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.attention_weights import expected_of_levels, kernel, shares
from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import log_softmax

Floats = NDArray[np.float64]

NAMES = ("A", "B", "C", "D")
REWARDS = np.array([0.6, 0.4, 1.0, 0.0])
SAME = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]], dtype=float)
TOP = np.ones(4, dtype=np.int64)
NUM_GROUPS, NUM_RUNS, NUM_STEPS, STEP_SIZE = 8000, 60, 300, 1.0


@dataclass(frozen=True)
class How:
    """A baseline: of all others alike, or by attention between whole answers."""

    attention: bool
    size: int
    temperature: float
    min_samples: float


def baseline(how: How, counts_MA: Floats) -> Floats:
    """What a member with each answer is compared with, from how often each answer is in its group,
    `(M, A)`; of no meaning for an answer that nobody gave."""
    others_MAA = np.maximum(counts_MA[:, None, :] - np.eye(4), 0.0)
    if not how.attention:
        return np.asarray(others_MAA @ REWARDS / (how.size - 1))
    levels_MAL = np.stack([(others_MAA * (1 - SAME)).sum(-1), (others_MAA * SAME).sum(-1)], -1)
    kernel_L = kernel(TOP, how.temperature)[0]
    share_MAL, _ = shares("output", levels_MAL, kernel_L, TOP, how.min_samples)
    sums_MA2 = [others_MAA * (1 - SAME) @ REWARDS, others_MAA * SAME @ REWARDS]
    return np.asarray(share_MAL[..., 0] * sums_MA2[0] + share_MAL[..., 1] * sums_MA2[1])


def updates(how: How, counts_MA: Floats, pi_MA: Floats) -> Floats:
    """The gradient each group estimates, by the four logits, `(M, A)`."""
    pull_MA = counts_MA * (REWARDS - baseline(how, counts_MA)) / how.size
    return np.asarray(pull_MA - pi_MA * pull_MA.sum(1, keepdims=True))


def expected_update(how: How, pi_A: Floats) -> Floats:
    """Its mean over all groups, exactly."""
    if how.attention:
        chance_AL = np.stack([pi_A @ (1 - SAME), pi_A @ SAME], 1)
        sums_AL = np.stack([(pi_A * REWARDS) @ (1 - SAME), (pi_A * REWARDS) @ SAME], 1)
        mean_AL = sums_AL / np.maximum(chance_AL, 1e-300)
        baseline_A = expected_of_levels(
            "output", chance_AL, mean_AL, TOP, how.size, how.temperature, how.min_samples
        )
    else:
        baseline_A = np.full(4, pi_A @ REWARDS)
    pull_A = pi_A * (REWARDS - baseline_A)
    return np.asarray(pull_A - pi_A * pull_A.sum())


@lru_cache(maxsize=64)
def expected_path(how: How) -> Floats:
    """Value after 0 … NUM_STEPS updates by the expected gradient, from the uniform policy."""
    z_A, values = np.zeros(4), []
    for _ in range(NUM_STEPS + 1):
        pi_A = np.exp(log_softmax(z_A))
        values.append(pi_A @ REWARDS)
        z_A = z_A + STEP_SIZE * expected_update(how, pi_A)
    return np.array(values)


@dataclass(frozen=True)
class Learned:
    """Runs of stochastic updates, one group each."""

    value_K: Floats
    se_K: Floats
    last: Estimate


@lru_cache(maxsize=64)
def learn(how: How, seed: int) -> Learned:
    """Value along NUM_RUNS runs from the uniform policy."""
    rng, z_RA, values = np.random.default_rng(seed), np.zeros((NUM_RUNS, 4)), []
    for _ in range(NUM_STEPS + 1):
        pi_RA = np.exp(log_softmax(z_RA))
        pi_RA /= pi_RA.sum(1, keepdims=True)
        values.append(pi_RA @ REWARDS)
        z_RA = z_RA + STEP_SIZE * updates(how, _drawn(rng, how, pi_RA), pi_RA)
    value_KR = np.array(values)
    se_K = value_KR.std(1, ddof=1) / np.sqrt(NUM_RUNS)
    return Learned(value_KR.mean(1), se_K, mean_of(value_KR[-1]))


@lru_cache(maxsize=64)
def forces(how: How, seed: int) -> tuple[Estimate, ...]:
    """The sampled gradient by each answer's logit, at the uniform policy."""
    pi_MA = np.full((NUM_GROUPS, 4), 0.25)
    counts_MA = _drawn(np.random.default_rng(seed), how, pi_MA)
    return tuple(mean_of(column_M) for column_M in updates(how, counts_MA, pi_MA).T)


def _drawn(rng: np.random.Generator, how: How, pi_MA: Floats) -> Floats:
    """How often each answer is in a group."""
    return np.asarray(rng.multinomial(how.size, pi_MA), dtype=float)
