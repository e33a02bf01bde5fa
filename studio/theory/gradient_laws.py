"""What a group's gradient is worth, worked out: its length with z-scores, and its noise.

Shape letters: N completions of the toy, P parameters.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from grpo_core.advantages import DELTA
from studio.theory import difficulty
from studio.theory.toy import Toy

Floats = NDArray[np.float64]


def zscore_weight(size: int, p: float, delta: float = DELTA) -> float:
    """E g over the gradient of p for z-scores of binary rewards, with `delta` and the sample
    deviation (ddof 1): `difficulty.weight` where delta is 0."""
    total = 0.0
    chances = difficulty.pmf(size, p)
    for k in range(1, size):
        spread = math.sqrt(k * (size - k) / (size * (size - 1)))
        total += chances[k] * k * (size - k) / (spread + delta)
    return total / (size**2 * p * (1 - p))


def group_noise(
    model: Toy, theta_P: Floats, R_N: Floats, size: int, estimator: str
) -> float | None:
    """G tr Var of (1/G) sum of A_i s_i, exact; None for z-scores."""
    p_N, scores_NP = model.p_N(theta_P), model.scores_NP(theta_P)
    length2_N = np.square(scores_NP).sum(1)
    grad_P = model.grad_value_P(theta_P, R_N)
    grad2 = float(grad_P @ grad_P)
    if estimator == "none":
        return float(p_N @ (np.square(R_N) * length2_N)) - grad2
    if estimator == "zscore":
        return None
    a_N = R_N - p_N @ R_N
    known = float(p_N @ (np.square(a_N) * length2_N)) - grad2
    unknown = float(p_N @ np.square(a_N)) * float(p_N @ length2_N) + grad2
    factor = ((size - 1) / size) ** 2 if estimator == "mean" else 1.0
    return factor * (known + unknown / (size - 1))
