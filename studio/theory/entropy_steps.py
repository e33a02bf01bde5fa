"""Entropy of a policy without prefixes: steps along and against its gradient, and what a step along
the reward's gradient does to it.

Derivations in `texts/entropy_gradient.md`.

Shape letters: M runs or groups, K actions, S steps.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import log_softmax

Floats = NDArray[np.float64]

NUM_ACTIONS = 6
NUM_STEPS = 400
NUM_RUNS = 48
EVERY = 5
"""Steps between two recorded entropies of a run."""
GROUP_SIZE = 8
NUM_GROUPS = 2000
"""Groups behind each sampled change of entropy."""
SIGNS = (1, 0, -1)
"""Of the entropy term: +alpha H, none, -alpha H."""
GRID = tuple(np.round(np.geomspace(0.005, 0.97, 60), 5).tolist())
MARKS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Probabilities of the rewarded action: of the curve, and where it is sampled."""


def entropy(logits_MK: Floats) -> Floats:
    """In nats, over the last axis."""
    logp = log_softmax(logits_MK)
    return -(np.exp(logp) * logp).sum(-1)


def bandit() -> tuple[Floats, Floats]:
    """Logits and rewards of six actions, `(K,)` each."""
    rng = np.random.default_rng(3)
    return rng.normal(0, 1, NUM_ACTIONS), rng.random(NUM_ACTIONS)


@lru_cache(maxsize=64)
def expected_path(weight: float, eta: float, num_steps: int = NUM_STEPS) -> Floats:
    """H before each step and after the last, `(S + 1,)`: exact ascent of V + `weight` H from the
    uniform policy."""
    rewards_K, logits_K = bandit()[1], np.zeros(NUM_ACTIONS)
    path = []
    for _ in range(num_steps + 1):
        logp_K = log_softmax(logits_K)
        pi_K = np.exp(logp_K)
        entropy_now = -(pi_K @ logp_K)
        path.append(entropy_now)
        forward_K = rewards_K - pi_K @ rewards_K - weight * (logp_K + entropy_now)
        logits_K = logits_K + eta * pi_K * forward_K
    return np.array(path)


@lru_cache(maxsize=64)
def sampled_paths(alpha: float, eta: float, seed: int) -> tuple[tuple[Estimate, ...], ...]:
    """The same by GRPO with leave-one-out advantages of groups of 8 and the exact gradient of H:
    `NUM_RUNS` runs for each of `SIGNS`."""
    rng, rewards_K = np.random.default_rng(seed), bandit()[1]
    logits_MK = np.zeros((len(SIGNS) * NUM_RUNS, NUM_ACTIONS))
    weight_M1 = alpha * np.repeat(SIGNS, NUM_RUNS)[:, None]
    path = []
    for step in range(NUM_STEPS + 1):
        logp_MK = log_softmax(logits_MK)
        pi_MK = np.exp(logp_MK)
        entropy_M1 = -(pi_MK * logp_MK).sum(1, keepdims=True)
        if step % EVERY == 0:
            path.append(entropy_M1[:, 0].reshape(len(SIGNS), NUM_RUNS))
        step_MK = group_gradient(rng.multinomial(GROUP_SIZE, pi_MK), rewards_K)
        logits_MK = logits_MK + eta * (step_MK - weight_M1 * pi_MK * (logp_MK + entropy_M1))
    return tuple(tuple(mean_of(h[i]) for h in path) for i in range(len(SIGNS)))


def group_gradient(counts_MK: NDArray[np.int64], rewards_K: Floats) -> Floats:
    """(1/G) sum of LOO advantage times score, of groups given by how often each action came.

    The advantages of a group sum to 0, so the -pi in all its scores cancels."""
    size = counts_MK.sum(1, keepdims=True)
    mean_M1 = (counts_MK @ rewards_K)[:, None] / size
    return np.asarray(counts_MK * (rewards_K - mean_M1) / (size - 1))


# --- one step: the covariance law -----------------------------------------------------------------


def law(p: float, eta: float) -> float:
    """First-order change of H by a step eta pi A: -Cov(log pi, step), where the action of
    probability p has reward 1 and the five others share the rest equally and have 0.

    With q = (1-p)/5 it is -eta p^2 (1-p) (1-p+q) log(p/q): above 0 for p below 1/6."""
    q = (1 - p) / (NUM_ACTIONS - 1)
    return -eta * p**2 * (1 - p) * (1 - p + q) * math.log(p / q)


def one_good_action(p: float) -> tuple[Floats, Floats]:
    """Logits and rewards of the policy that `law` is about, `(K,)` each."""
    pi_K = np.full(NUM_ACTIONS, (1 - p) / (NUM_ACTIONS - 1))
    pi_K[0] = p
    return np.log(pi_K), np.eye(NUM_ACTIONS)[0]


def after_step(p: float, eta: float) -> float:
    """The change of H by one whole step along the expected gradient."""
    logits_K, rewards_K = one_good_action(p)
    pi_K = np.exp(logits_K)
    moved_K = logits_K + eta * pi_K * (rewards_K - pi_K @ rewards_K)
    return float(entropy(moved_K) - entropy(logits_K))


@lru_cache(maxsize=64)
def sampled_changes(eta: float, seed: int) -> tuple[Estimate, ...]:
    """The change of H by one step on a sampled group, at each of `MARKS`."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for p in MARKS:
        logits_K, rewards_K = one_good_action(p)
        counts_MK = rng.multinomial(GROUP_SIZE, np.exp(logits_K), NUM_GROUPS)
        moved_MK = logits_K + eta * group_gradient(counts_MK, rewards_K)
        found.append(mean_of(entropy(moved_MK) - entropy(logits_K)))
    return tuple(found)
