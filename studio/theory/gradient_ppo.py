"""What PPO's generalised advantages are on average, for a critic that is wrong, worked out exactly.

Shape letters: N completions of the toy, T time, C prefixes, P parameters, L values of lambda.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from studio.theory.toy import Toy

Floats = NDArray[np.float64]


def critic_error(model: Toy, scale: float) -> Floats:
    """V_phi - V of each prefix, `(C,)`: always the same critic, more or less wrong."""
    return scale * np.random.default_rng(3).normal(0, 1, model.C)


def gae(model: Toy, R_N: Floats, value_C: Floats, lambdas_L: Floats) -> Floats:
    """Advantages `(L, N, T)`: the reward comes with the last token, no discount (arXiv 1506.02438,
    eq. 16, gamma = 1); 0 behind the end."""
    value_NT = value_C[model.prefix_NT] * model.mask_NT
    after = np.zeros((len(lambdas_L), model.N, model.T + 1))
    for t in reversed(range(model.T)):
        next_N = value_NT[:, t + 1] if t + 1 < model.T else np.zeros(model.N)
        reward_N = np.where(model.lengths_N == t + 1, R_N, 0.0)
        delta_N = (reward_N + next_N - value_NT[:, t]) * model.mask_NT[:, t]
        after[:, :, t] = delta_N + lambdas_L[:, None] * after[:, :, t + 1]
    return after[:, :, :-1]


def gae_drift(model: Toy, theta_P: Floats, error_C: Floats, lambdas_L: Floats) -> Floats:
    """PPO's bias over (1 - lambda), `(L, P)`: E sum over t of s_t sum over l of lambda^l e, where e
    is the critic's error l + 1 tokens on."""
    error_NT = error_C[model.prefix_NT] * model.mask_NT
    ahead = np.zeros((len(lambdas_L), model.N, model.T))
    for t in reversed(range(model.T - 1)):
        ahead[:, :, t] = error_NT[:, t + 1] + lambdas_L[:, None] * ahead[:, :, t + 1]
    weights = (ahead * model.p_N(theta_P)[:, None]).reshape(len(lambdas_L), -1)
    return np.asarray(weights @ model.scores_NTP(theta_P).reshape(-1, model.P))


def bias_bound(model: Toy, theta_P: Floats, error_C: Floats, lambdas_L: Floats) -> Floats:
    """max |e| E sum over t of (1 - lambda^(|o| - t)) ||s_t||, t from 1, `(L,)`."""
    lengths_NT = np.linalg.norm(model.scores_NTP(theta_P), axis=2)
    left_NT = np.maximum(model.lengths_N[:, None] - 1 - np.arange(model.T), 0)
    reach_LNT = 1 - lambdas_L[:, None, None] ** left_NT
    mean_L = (reach_LNT * lengths_NT * model.p_N(theta_P)[:, None]).sum((1, 2))
    return np.asarray(np.abs(error_C).max() * mean_L)


def gae_noise(
    model: Toy, theta_P: Floats, R_N: Floats, error_C: Floats, lambdas_L: Floats
) -> Floats:
    """tr Var of sum over t of s_t A_t from one completion, `(L,)`."""
    scores_NTP, p_N = model.scores_NTP(theta_P), model.p_N(theta_P)
    A_LNT = gae(model, R_N, model.prefix_value_C(theta_P, R_N) + error_C, lambdas_L)
    # tokens of one completion have scores in different prefixes: their squares add up
    square_L = np.square(A_LNT) * np.square(scores_NTP).sum(2) * p_N[:, None]
    mean_LP = (A_LNT * p_N[:, None]).reshape(len(lambdas_L), -1) @ scores_NTP.reshape(-1, model.P)
    return np.asarray(square_L.sum((1, 2)) - np.square(mean_LP).sum(1))
