"""What is known in advance of how far a policy explores: the drift of entropy by noise, the policy
that a KL holds it at, and what sharpening does to pass@k.

Derivations in `texts/exploration.md`. Rewards are 0 or 1.

Shape letters: K actions, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.difficulty import pmf, weight
from studio.theory.groups import advantages
from studio.theory.toy import log_softmax

Floats = NDArray[np.float64]

SUCCESS_K: Floats = np.array([1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.0, 0.0])
"""Probability that each of eight ways to solve a problem is right."""
NUM_ACTIONS = len(SUCCESS_K)
SOLVED = (0.6, 0.2)
"""Probability of a right answer on two kinds of problems: the likeliest answer of one is right,
that of the other is wrong."""


@dataclass(frozen=True)
class Policy:
    """A policy over the eight ways, by what counts here."""

    value: float
    entropy: float
    temperature: float
    """It is softmax(success / temperature); 0 is the best way alone."""


def boltzmann(temperature: float) -> Policy:
    """The policy of the highest value among those with as much entropy."""
    if temperature == 0:
        return Policy(float(SUCCESS_K.max()), 0.0, 0.0)
    logp_K = log_softmax(SUCCESS_K / temperature)
    pi_K = np.exp(logp_K)
    return Policy(float(pi_K @ SUCCESS_K), float(-(pi_K @ logp_K)), temperature)


# --- what the advantages do -----------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """How a run learns."""

    estimator: str
    """`mean`, `loo` or `zscore`."""
    size: int
    """G: completions of a group."""
    eta: float
    """Size of a step."""
    beta: float = 0.0
    """Weight of KL(pi || uniform), in the loss."""


@lru_cache(maxsize=64)
def scales(estimator: str, size: int) -> tuple[float, ...]:
    """What (reward - mean) is multiplied by, for a group with 0 … `size` right ones."""
    factors = [0.0]
    for right in range(1, size):
        R_1G = np.repeat([[1.0, 0.0]], [right, size - right], axis=1)
        factors.append(float(advantages(R_1G, estimator)[0, 0] / (1 - right / size)))
    return (*factors, 0.0)


def power(estimator: str, size: int) -> float:
    """E[sum of squared advantages] / G^2 where rewards are coin flips that ignore the action: the
    covariance of a group's gradient is this times the Fisher matrix."""
    right = np.arange(size + 1)
    squares = np.square(scales(estimator, size)) * right * (size - right) / size
    return float(pmf(size, 0.5) @ squares) / size**2


def pull(estimator: str, size: int, p: float) -> float:
    """The expected update over the gradient of p, the probability of a right completion."""
    if estimator == "zscore":
        return weight(size, p, ddof=1)
    return (size - 1) / size if estimator == "mean" else 1.0


# --- noise ----------------------------------------------------------------------------------------


def peaked(p: float) -> Floats:
    """One way has probability p, the others share the rest, `(K,)`; 1/8 is the uniform policy."""
    return np.array([p] + [(1 - p) / (NUM_ACTIONS - 1)] * (NUM_ACTIONS - 1))


def drift(pi_K: Floats, rule: Rule) -> float:
    """Expected change of H by a step of pure noise, of second order in eta:

    -(eta^2/2) c sum of pi^2 [1 - 2 pi + S + u (1 - 3 pi + 2 S)], S = sum of pi^2, u = log pi + H
    and c of `power`."""
    logp_K = np.log(pi_K)
    u_K, squares = logp_K - pi_K @ logp_K, float(pi_K @ pi_K)
    terms_K = pi_K**2 * (1 - 2 * pi_K + squares + u_K * (1 - 3 * pi_K + 2 * squares))
    return -0.5 * rule.eta**2 * power(rule.estimator, rule.size) * float(terms_K.sum())


# --- a KL to the uniform policy -------------------------------------------------------------------


@lru_cache(maxsize=64)
def settled(estimator: str, size: int, beta: float) -> Policy:
    """Where the expected update with -beta KL(pi || uniform) in the loss is 0: softmax(success / T)
    with T = beta / pull(V). With a z-score, pull depends on V: the first such V above the start's.
    """
    if beta == 0:
        return boltzmann(0.0)

    def above(value: float) -> float:
        return boltzmann(beta / pull(estimator, size, value)).value - value

    low, grid = float(SUCCESS_K.mean()), np.linspace(SUCCESS_K.mean(), 1, 200)
    high = next(float(value) for value in grid if above(float(value)) <= 0)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) > 0 else (low, middle)
    return boltzmann(beta / pull(estimator, size, high))


def restlessness(rule: Rule) -> float:
    """eta c / beta, with c of `power`: the noise of a step against the pull of the KL. Twice the
    variance of a logit where the runs have settled; 0 without a KL, which settles nothing."""
    return rule.eta * power(rule.estimator, rule.size) / rule.beta if rule.beta else 0.0


@lru_cache(maxsize=64)
def expected_path(rule: Rule, num_steps: int) -> tuple[Floats, Floats]:
    """V and H before each step along the expected update and after the last, `(S + 1,)` each."""
    grid = np.linspace(0, 1, 101)
    pulls = np.array([pull(rule.estimator, rule.size, float(p)) for p in grid])
    logits_K, found = np.zeros(NUM_ACTIONS), np.empty((2, num_steps + 1))
    for step in range(num_steps + 1):
        shifted_K = logits_K - logits_K.max()
        weights_K = np.exp(shifted_K)
        total = weights_K.sum()
        pi_K, logp_K = weights_K / total, shifted_K - np.log(total)
        value, log_mean = pi_K @ SUCCESS_K, pi_K @ logp_K
        found[:, step] = value, -log_mean
        reward_K = np.interp(value, grid, pulls) * (SUCCESS_K - value)
        logits_K = logits_K + rule.eta * pi_K * (reward_K - rule.beta * (logp_K - log_mean))
    return found[0], found[1]


# --- sharpening -----------------------------------------------------------------------------------


def sharpened(p: float, temperature: float) -> float:
    """Probability of the right one of two answers where both are taken to the power 1 / T."""
    right, wrong = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    return right / (right + wrong)


def pass_at(attempts: int, temperature: float) -> float:
    """Share of problems, half of each kind, with one right answer or more."""
    each = (1 - (1 - sharpened(p, temperature)) ** attempts for p in SOLVED)
    return sum(each) / len(SOLVED)
