"""Where learning comes to rest with a KL in it: five answers of one token, in groups with the mean
as baseline.

The mean of a group holds the judged reward itself, which makes the reward's pull (G-1)/G of what it
should be. A KL in the loss is not centred, so against the reward it weighs G/(G-1) times beta; a KL
in the reward is centred with it and weighs beta.

Shape letters: A answers, R runs, M groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.kl_forms import k3
from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import log_softmax

Floats = NDArray[np.float64]

_RNG = np.random.default_rng(2)
REFERENCE = np.exp(log_softmax(_RNG.normal(0, 0.7, 5)))
REWARDS = _RNG.random(5)
BEST = int(REWARDS.argmax())
NUM_GROUPS, NUM_RUNS, NUM_UPDATES, GROUPS_PER_UPDATE, STEP_SIZE = 8000, 32, 400, 16, 1.0
NUM_EXPECTED = 3000
FLOOR = 1e-300
"""Of a probability: below it the log-ratio is held."""


@dataclass(frozen=True)
class Way:
    """Form, strength and group size."""

    form: str
    beta: float
    size: int

    @property
    def in_reward(self) -> bool:
        """Else it is in the loss."""
        return self.form.endswith("reward")

    @property
    def weight(self) -> float:
        """Beta against the reward once the group's mean is taken off."""
        return self.beta if self.in_reward else self.beta * self.size / (self.size - 1)


def penalties(way: Way, pi_XA: Floats) -> tuple[Floats, Floats]:
    """What is taken off the reward of each answer, and the coefficient of its score in the loss."""
    ell_XA = np.log(np.maximum(pi_XA, FLOOR) / REFERENCE)
    nothing = np.zeros_like(ell_XA)
    if way.in_reward:
        return way.beta * (ell_XA if way.form.startswith("k1") else k3(ell_XA)), nothing
    one = {"k1 in loss": nothing + 1, "k3 in loss": -np.expm1(-ell_XA)}.get(way.form, ell_XA)
    return nothing, way.beta * one


def expected_update(way: Way, pi_A: Floats) -> Floats:
    """The mean update of the five logits with groups from `pi_A`, exactly."""
    taken_A, coefficient_A = penalties(way, pi_A)
    net_A = REWARDS - taken_A
    scale = (way.size - 1) / way.size
    pull_A = pi_A * (scale * (net_A - pi_A @ net_A) - coefficient_A)
    return np.asarray(pull_A - pi_A * pull_A.sum())


def boltzmann(beta: float) -> Floats:
    """pi_ref exp(R / beta) / Z: what reward minus beta times KL(pi || pi_ref) has as its best."""
    logits_A = np.log(REFERENCE) + REWARDS / beta
    return np.exp(log_softmax(logits_A))


def rational(beta: float) -> Floats:
    """pi_ref / (1 + (V - R) / beta) with V such that it adds up to 1: the best for
    reward minus beta times KL(pi_ref || pi)."""
    low, high = REWARDS.max() - beta, REWARDS.max()
    for _ in range(100):
        middle = (low + high) / 2
        total = (REFERENCE / (1 + (middle - REWARDS) / beta)).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.asarray(REFERENCE / (1 + (high - REWARDS) / beta))


@lru_cache(maxsize=64)
def resting_point(way: Way) -> Floats:
    """Where expected updates from the reference end, `(A,)`.

    By formula; only for k3 in the reward, which has none, the updates are gone through: it ends on
    a single answer, all others getting rarer without end.
    """
    if way.form == "k1 in loss":
        return np.eye(len(REWARDS))[BEST]
    if way.form == "k3 in loss":
        return rational(way.weight)
    if way.form != "k3 in reward":
        return boltzmann(way.weight)
    z_A = np.log(REFERENCE)
    for _ in range(NUM_EXPECTED):
        update_A = expected_update(way, np.exp(log_softmax(z_A)))
        z_A = z_A + update_A
    return np.exp(log_softmax(z_A))


# --- sampled --------------------------------------------------------------------------------------


def updates(way: Way, counts_MA: Floats, pi_XA: Floats) -> Floats:
    """The update that each group gives, from how often each answer is in it."""
    taken_XA, coefficient_XA = penalties(way, pi_XA)
    net_XA = REWARDS - taken_XA
    mean_M1 = (counts_MA * net_XA).sum(-1, keepdims=True) / way.size
    pull_MA = counts_MA * (net_XA - mean_M1 - coefficient_XA) / way.size
    return np.asarray(pull_MA - pi_XA * pull_MA.sum(-1, keepdims=True))


def force_on_best(way: Way, pi_A: Floats, rng: np.random.Generator) -> Estimate:
    """The mean update of the best answer's logit at a policy, from samples."""
    counts_MA = rng.multinomial(way.size, pi_A / pi_A.sum(), size=NUM_GROUPS).astype(float)
    return mean_of(updates(way, counts_MA, pi_A)[:, BEST])


@lru_cache(maxsize=64)
def learn(way: Way, seed: int) -> tuple[Estimate, ...]:
    """The share of each answer after NUM_UPDATES stochastic updates, over NUM_RUNS runs."""
    rng = np.random.default_rng(seed)
    z_R1A = np.tile(np.log(REFERENCE), (NUM_RUNS, 1, 1))
    for _ in range(NUM_UPDATES):
        pi_R1A = np.exp(log_softmax(z_R1A))
        pi_R1A = np.asarray(pi_R1A / pi_R1A.sum(-1, keepdims=True))
        drawn = rng.multinomial(way.size, pi_R1A, size=(NUM_RUNS, GROUPS_PER_UPDATE))
        z_R1A = z_R1A + STEP_SIZE * updates(way, drawn.astype(float), pi_R1A).mean(1, keepdims=True)
    return tuple(mean_of(column_R) for column_R in np.exp(log_softmax(z_R1A))[:, 0].T)
