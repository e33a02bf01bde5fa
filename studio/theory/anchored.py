"""Convergence with a KL to the reference: one softmax over five answers (Theorem 3).

J = V - beta KL(pi || ref) has one maximiser, pi* = ref exp(R / beta) / Z, and exact updates close
in on it by a factor each. With u = theta - theta* and D its span,

    J* - J_k <= beta / 8 (D_0 product over j < k of (1 - eta beta min_a pi_j(a)))^2

as long as eta beta <= 1.

Shape letters: R runs, A answers, K updates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from studio.theory.sampled import Estimate, mean_of
from studio.theory.toy import Floats, Ints, log_softmax

NUM_ANSWERS, NUM_UPDATES, RUNS = 5, 400, 64
EVERY = 4
"""Updates between two points of the curves."""
FLOOR = 1e-14
"""A gap below is rounding."""


def rewards_A() -> Floats:
    """Of the answers; the reference gives each the same probability."""
    return np.random.default_rng(2).random(NUM_ANSWERS)


def step_size(step: float, beta: float) -> float:
    """`step` of the largest that both theorems allow: 1 / L with L = span / 2, and 1 / beta."""
    return step / max(float(np.ptp(rewards_A())) / 2, beta)


def target_A(beta: float) -> Floats:
    """Log-probabilities of pi* = ref exp(R / beta) / Z."""
    return log_softmax(rewards_A() / beta)


def gap_to(logp_RA: Floats, target_A: Floats, beta: float) -> Floats:
    """J* - J = beta KL(pi || pi*)."""
    return np.asarray(beta * (np.exp(logp_RA) * (logp_RA - target_A)).sum(-1))


@dataclass(frozen=True)
class Anchored:
    """Exact updates from the reference, after 0, `EVERY`, … of them."""

    gap_K: Floats
    bound_K: Floats
    factor: float
    """By which the gap shrinks per update, over the last quarter above rounding."""
    factor_bound: float
    """What the theorem says of it, with the smallest probability at the end of the way."""
    value: float
    """V of pi*."""


@lru_cache(maxsize=64)
def anchored(eta: float, beta: float) -> Anchored:
    """`NUM_UPDATES` exact updates; needs eta beta <= 1 for its bound."""
    R_A, end_A = rewards_A(), target_A(beta)
    theta_A = np.zeros(NUM_ANSWERS)
    gaps, bounds, spread = [], [], float(np.ptp(theta_A - end_A))
    for _ in range(NUM_UPDATES + 1):
        logp_A = log_softmax(theta_A)
        pi_A = np.exp(logp_A)
        gaps.append(float(gap_to(logp_A, end_A, beta)))
        bounds.append(beta / 8 * spread**2)
        spread *= 1 - eta * beta * float(pi_A.min())
        pay_A = R_A - beta * (logp_A + math.log(NUM_ANSWERS))
        theta_A = theta_A + eta * pi_A * (pay_A - pi_A @ pay_A)
    gap_K = np.array(gaps)
    last = int((gap_K > FLOOR).sum()) - 1
    first = last * 3 // 4
    return Anchored(
        gap_K[::EVERY],
        np.array(bounds)[::EVERY],
        float((gap_K[last] / gap_K[first]) ** (1 / (last - first))),
        float((1 - eta * beta * pi_A.min()) ** 2),
        float(np.exp(end_A) @ R_A),
    )


def update_RA(logp_RA: Floats, counts_RA: Ints, beta: float, place: str) -> Floats:
    """What one group adds to the logits: leave-one-out, on average the exact gradient of J.

    `counts_RA`: how often each answer is in the group. `place`: the KL is taken off the `reward`
    (k1, before the baseline), or a term of the `loss` (k2, whose gradient on a sample is
    log(pi / ref) times its score).
    """
    size, R_A = int(counts_RA[0].sum()), rewards_A()
    tax_RA = beta * (logp_RA + math.log(NUM_ANSWERS))
    pay_RA = R_A - tax_RA if place == "reward" else np.broadcast_to(R_A, logp_RA.shape)
    mean_R1 = (counts_RA * pay_RA).sum(1, keepdims=True) / size
    weights_RA = counts_RA * (pay_RA - mean_R1) / (size - 1)
    if place == "loss":
        weights_RA = weights_RA - counts_RA * tax_RA / size
    return np.asarray(weights_RA - np.exp(logp_RA) * weights_RA.sum(1, keepdims=True))


@lru_cache(maxsize=64)
def anchored_runs(
    eta: float, beta: float, group_size: int, place: str, seed: int
) -> list[Estimate]:
    """J* - J of `RUNS` sampled runs, one group an update, after 0, `EVERY`, … of them."""
    end_A, rng = target_A(beta), np.random.default_rng(seed)
    theta_RA, found = np.zeros((RUNS, NUM_ANSWERS)), []
    for update in range(NUM_UPDATES + 1):
        logp_RA = log_softmax(theta_RA)
        if update % EVERY == 0:
            found.append(mean_of(gap_to(logp_RA, end_A, beta)))
        pi_RA = np.exp(logp_RA)
        counts_RA = rng.multinomial(group_size, pi_RA / pi_RA.sum(1, keepdims=True))
        theta_RA = theta_RA + eta * update_RA(logp_RA, counts_RA, beta, place)
    return found
