"""The toy on which baselines that weigh the others of a group are compared, and what can be worked
out on it: the mean of each, and the variance of those that weigh nothing.

Shape letters: N completions, T time, Q queries, P parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.attention_weights import KINDS, LEVELLED, expected_baseline, kernel, queries
from studio.theory.toy import Toy, toy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setup:
    """The toy with its policy, rewards, and what follows from them."""

    model: Toy
    theta_P: Floats
    p_N: Floats
    R_N: Floats
    scores_NTP: Floats
    length2_N: Floats
    """Squared length of each completion's score."""
    gradient_P: Floats


@lru_cache(maxsize=32)
def setup(share: float) -> Setup:
    """Rewards: `share` of 0, .33, .67, 1 by the first token, the rest of 1 for 40 % of all."""
    model, rng = toy(), np.random.default_rng(0)
    theta_P = rng.normal(0, 0.5, model.P)
    lucky_N = (rng.random(model.N) < 0.4).astype(float)
    R_N = share * np.array([0.0, 0.33, 0.67, 1.0])[model.token_NT[:, 0]] + (1 - share) * lucky_N
    scores_NTP = model.scores_NTP(theta_P)
    length2_N = np.square(scores_NTP.sum(1)).sum(1)
    gradient_P = model.grad_value_P(theta_P, R_N)
    return Setup(model, theta_P, model.p_N(theta_P), R_N, scores_NTP, length2_N, gradient_P)


@lru_cache(maxsize=64)
def expected_gradients(
    share: float, size: int, temperature: float, min_samples: int
) -> dict[str, Floats]:
    """The mean gradient with each kind, for any group size: the baseline's mean given what it may
    depend on stands in for it. Those of `loo` and `key` depend on nothing of their own member."""
    at = setup(share)
    found = dict.fromkeys(KINDS, at.gradient_P)
    for kind in LEVELLED:
        mean_Q = expected_baseline(kind, at.p_N, at.R_N, size, temperature, min_samples)
        found[kind] = _gradient(at, mean_Q[queries(kind).of_NT])
    return found


def _gradient(at: Setup, baseline_NT: Floats) -> Floats:
    return np.einsum("n,nt,ntp->p", at.p_N, at.R_N[:, None] - baseline_NT, at.scores_NTP)


@lru_cache(maxsize=64)
def enumerated(share: float, temperature: float, min_samples: int) -> dict[str, float]:
    """Relative bias of each kind in groups of three, from every pair of others there is."""
    at = setup(share)
    length = float(np.linalg.norm(at.gradient_P))
    pair_NN = at.p_N[:, None] * at.p_N
    found = {}
    for kind in KINDS:
        if kind in LEVELLED:
            asked = queries(kind)
            mean_Q = np.einsum("qnm,nm->q", _pairs(kind, at, temperature, min_samples), pair_NN)
            mean_NT = mean_Q[asked.of_NT]
        else:
            key_N = np.ones_like(at.R_N) if kind == "loo" else at.length2_N
            sums_NN = (key_N * at.R_N)[:, None] + key_N * at.R_N
            mean_NT = np.full(
                (at.model.N, 1), (pair_NN * sums_NN / np.add.outer(key_N, key_N)).sum()
            )
        found[kind] = float(np.linalg.norm(_gradient(at, mean_NT) - at.gradient_P)) / length
    return found


def _pairs(kind: str, at: Setup, temperature: float, min_samples: int) -> Floats:
    """The baseline of each query with each pair of others, `(Q, N, N)`."""
    asked = queries(kind)
    weight_QN = np.take_along_axis(kernel(asked.top_Q, temperature), asked.level_QN, 1)
    if kind == "shrunk":
        agree_QN = (asked.level_QN == asked.top_Q[:, None]).astype(float)
        num_QNN = agree_QN[:, :, None] + agree_QN[:, None, :]
        sums_QNN = (agree_QN * at.R_N)[:, :, None] + (agree_QN * at.R_N)[:, None, :]
        return (sums_QNN + (at.R_N[:, None] + at.R_N) / 2) / (num_QNN + 1)
    mass_QNN = weight_QN[:, :, None] + weight_QN[:, None, :]
    squares_QNN = np.square(weight_QN)[:, :, None] + np.square(weight_QN)[:, None, :]
    sums_QNN = (weight_QN * at.R_N)[:, :, None] + (weight_QN * at.R_N)[:, None, :]
    enough = np.square(mass_QNN) >= (min(min_samples, 2) - 1e-9) * squares_QNN
    return np.where(enough, sums_QNN / mass_QNN, (at.R_N[:, None] + at.R_N) / 2)


def bound(at: Setup, temperature: float) -> float:
    """span/2 tanh(1 / (2 tau)) E|s|: what the bias of attention between outputs cannot exceed."""
    mean_length = float(at.p_N @ np.sqrt(at.length2_N))
    return 0.5 * float(np.ptp(at.R_N)) * math.tanh(1 / (2 * temperature)) * mean_length


def variance_of_known(at: Setup, baseline_NT: Floats, size: int) -> float:
    """Trace of the covariance where the baseline is a known number for each prefix."""
    each_NP = np.einsum("nt,ntp->np", at.R_N[:, None] - baseline_NT, at.scores_NTP)
    second = float(at.p_N @ np.square(each_NP).sum(1))
    return (second - float(at.gradient_P @ at.gradient_P)) / size


def variance_of_loo(at: Setup, size: int) -> float:
    """That of leave-one-out: (E a^2 |s|^2 - |g|^2) / G + (Var(R) E|s|^2 + |g|^2) / (G (G-1))."""
    a_N = at.R_N - at.p_N @ at.R_N
    length2 = float(at.gradient_P @ at.gradient_P)
    known = float(at.p_N @ (np.square(a_N) * at.length2_N)) - length2
    unknown = float(at.p_N @ np.square(a_N)) * float(at.p_N @ at.length2_N) + length2
    return known / size + unknown / (size * (size - 1))
