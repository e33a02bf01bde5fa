"""How likely a run's prompts are solved: the distribution of solve rates behind the counts.

Shape letters: M groups (or prompts), Q points of a grid of rates, B bins of rates, N completions.

The share of right completions of a group scatters around the prompt's own rate: its histogram is
too wide, and every curved function of it is biased. Here the distribution of the rates themselves
is fitted to the counts, on a grid and without a shape, by expectation and maximisation of the
likelihood. Gone on with, that ends in a few single rates (the likeliest distribution always does):
right for means over the distribution, but as a histogram twice as far from the truth as what is
reached early.
"""

from __future__ import annotations

import math

import numpy as np

from studio.theory.in_run_data import Floats, Ints

CELLS = 50
GRID_Q: Floats = np.concatenate([[0.0], (np.arange(CELLS) + 0.5) / CELLS, [1.0]])
"""0, 1, and the middles of 50 cells."""
BINS = 10
EARLY = 40
"""Rounds of the fit, for a histogram."""
LATE = 1000
"""For means over the distribution."""


def bins_of(weights_Q: Floats) -> Floats:
    """Sums of weights on the grid over ten equal bins of the rate, `(10,)`."""
    place = np.minimum((GRID_Q * BINS).astype(int), BINS - 1)
    return np.bincount(place, weights_Q, BINS).astype(float)


def binomial(size: int) -> Floats:
    """Probabilities of 0 … `size` right ones at each rate of the grid, `(Q, size + 1)`."""
    ways = [math.lgamma(size + 1) - math.lgamma(k + 1) - math.lgamma(size - k + 1)
            for k in range(size + 1)]  # fmt: skip
    right = np.arange(size + 1)
    return np.asarray(np.exp(np.array(ways) + _logs(right, np.full_like(right, size)).T))


def likelihoods(right_M: Ints, size_M: Ints) -> Floats:
    """Of each count at each rate of the grid, `(M, Q)`, each row scaled to a largest of 1."""
    logs_MQ = _logs(right_M, size_M)
    return np.asarray(np.exp(logs_MQ - logs_MQ.max(1, keepdims=True)))


def _logs(right_M: Ints, size_M: Ints) -> Floats:
    """k log p + (n - k) log(1 - p), where 0 log 0 is 0, `(M, Q)`."""
    wrong_M = size_M - right_M
    with np.errstate(divide="ignore", invalid="ignore"):
        hits_MQ = np.where(right_M[:, None] == 0, 0.0, right_M[:, None] * np.log(GRID_Q))
        misses_MQ = np.where(wrong_M[:, None] == 0, 0.0, wrong_M[:, None] * np.log1p(-GRID_Q))
    return np.asarray(hits_MQ + misses_MQ)


def fit(right_M: Ints, size_M: Ints, rounds: int) -> Floats:
    """Weights of the grid's rates, `(Q,)`, that make the counts likely, from equal ones on."""
    pairs, counts = np.unique(np.stack([right_M, size_M], 1), axis=0, return_counts=True)
    like = likelihoods(pairs[:, 0], pairs[:, 1])
    weights_Q = np.full(len(GRID_Q), 1 / len(GRID_Q))
    for _ in range(rounds):
        share = like * weights_Q
        share *= (counts / share.sum(1))[:, None]
        weights_Q = share.sum(0) / counts.sum()
    return weights_Q


def posteriors(weights_Q: Floats, right_M: Ints, size_M: Ints) -> Floats:
    """Of each group's rate given its count, `(M, Q)`."""
    share = likelihoods(right_M, size_M) * weights_Q
    return np.asarray(share / share.sum(1, keepdims=True))


def pull(size: int, is_zscore: bool) -> Floats:
    """Mean size of an advantage, E |A|, at each rate of the grid, `(Q,)`.

    With K right ones of G it is 2 sqrt(K (G-K)) / G sqrt((G-1)/G) for the z-score (sample
    deviation), so that its mean is 2 p (1-p) w_G(p) sqrt((G-1)/G), and 2 K (G-K) / G^2 for the
    centred reward, with the mean 2 p (1-p) (G-1)/G.
    """
    return np.asarray(binomial(size) @ pulls(size, is_zscore))


def pulls(size: int, is_zscore: bool) -> Floats:
    """The same for each number of right ones, `(size + 1,)`."""
    product = np.arange(size + 1) * (size - np.arange(size + 1.0))
    if is_zscore:
        return np.asarray(2 * np.sqrt(product) / size * math.sqrt((size - 1) / size))
    return np.asarray(2 * product / size**2)


def subsets_flat(right: int, size: int, small: int) -> float:
    """Share of the groups of `small` out of this one that are all right or all wrong: unbiased for
    p^S + (1-p)^S, as a plug-in of right / size is not."""
    flat = math.comb(right, small) + math.comb(size - right, small)
    return flat / math.comb(size, small)
