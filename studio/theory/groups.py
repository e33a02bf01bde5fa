"""Groups of completions of a toy: their advantages, and the gradient each group estimates.

The advantages are the product's own formulas for many groups of one size at once; the tests hold
them against `grpo_core.advantages`.

Shape letters: M groups, G completions of a group, N completions of the toy, P parameters.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from grpo_core.advantages import DELTA, TOLERANCE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ADVANTAGES = ("mean", "loo", "zscore", "none")


def advantages(R_MG: Floats, estimator: str, *, delta: float = DELTA, ddof: int = 1) -> Floats:
    """Advantages of many groups; 0 where a group's rewards are all equal. `delta` and `ddof` are
    those of `zscore`. Raises KeyError on an unknown estimator."""
    if estimator == "none":
        return R_MG
    size = R_MG.shape[-1]
    centred = R_MG - R_MG.mean(-1, keepdims=True)
    flat = np.ptp(R_MG, axis=-1, keepdims=True) <= TOLERANCE
    if estimator == "zscore":
        spread = R_MG.std(-1, ddof=ddof, keepdims=True) + delta
        return np.where(flat, 0.0, centred / np.where(flat, 1.0, spread))
    return np.where(flat, 0.0, centred * {"mean": 1.0, "loo": size / (size - 1)}[estimator])


def gradients(A_MG: Floats, scores_NP: Floats, index_MG: Ints) -> Floats:
    """(1/G) sum over i of A_i s_i for each group, `(M, P)`.

    Adds the advantages of equal completions first: one product with all scores, never an array of
    all samples' scores.
    """
    groups, size = index_MG.shape
    total_MN = np.zeros((groups, len(scores_NP)))
    rows = np.repeat(np.arange(groups), size)
    np.add.at(total_MN, (rows, index_MG.ravel()), A_MG.ravel())
    return np.asarray(total_MN @ scores_NP / size)


def all_groups(num: int, size: int) -> Ints:
    """Every ordered group of `size` out of `num` completions: `num ** size` rows."""
    return np.array(list(itertools.product(range(num), repeat=size)), dtype=np.int64)


def expected_gradient(
    p_N: Floats, R_N: Floats, scores_NP: Floats, size: int, estimator: str, **options: float
) -> Floats:
    """The mean of `gradients` over every group that there is (64 completions: size 2 or 3)."""
    index = all_groups(len(p_N), size)
    A_MG = advantages(R_N[index], estimator, **options)  # type: ignore[arg-type]
    weights_M = p_N[index].prod(1)
    total_N = np.zeros(len(p_N))
    for i in range(size):
        total_N += np.bincount(index[:, i], weights_M * A_MG[:, i], len(p_N))
    return np.asarray(total_N @ scores_NP / size)
