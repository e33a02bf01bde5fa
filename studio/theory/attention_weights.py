"""Baselines that weigh the other members of a group, for many groups at once.

What asks is a query: the tokens before the one that is judged (`prefix`, `shrunk`), or the whole
completion (`output`). How alike a member is to it is the share of the query's tokens in which both
agree, so that all members of one level of agreement weigh the same: a baseline needs only the
number and the sum of rewards of the others in each level.

Shape letters: M groups, G members, N completions of the toy, T time, Q queries, L levels (tokens in
which a member agrees with the query), K ways to spread the others over the levels, X any axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.toy import toy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVELLED = ("prefix", "shrunk", "output")
"""Kinds whose weights depend on a query."""
KINDS = ("loo", "key", *LEVELLED)
"""`loo`: all others alike. `key`: by the squared score of each other, whoever asks."""


@dataclass(frozen=True)
class Queries:
    """All that can ask on the toy, and how alike each completion is."""

    level_QN: Ints
    top_Q: Ints
    """Number of tokens of each query: the level of those who agree in all."""
    of_NT: Ints
    """Which query each token of each completion asks with; `(N, 1)` where all ask alike."""

    @property
    def inside_QLN(self) -> Floats:
        """1 where a completion is in a level of a query."""
        num_levels = int(self.top_Q.max()) + 1
        return (self.level_QN[:, None] == np.arange(num_levels)[:, None]).astype(float)


@lru_cache(maxsize=2)
def queries(kind: str) -> Queries:
    """Of a kind in `LEVELLED`."""
    model = toy()
    asked = model.completions if kind == "output" else list(model.prefixes)
    same = [[sum(map(int.__eq__, query, o)) for o in model.completions] for query in asked]
    whole = np.arange(model.N)[:, None]
    top_Q = np.array([len(query) for query in asked])
    return Queries(np.array(same), top_Q, whole if kind == "output" else model.prefix_NT)


def kernel(top_Q: Ints, temperature: float) -> Floats:
    """exp((similarity - 1) / temperature) of each level, `(Q, L)`; similarity = level / top."""
    levels_L = np.arange(int(top_Q.max()) + 1)
    similarity_QL = np.minimum(levels_L / np.maximum(top_Q, 1)[:, None], 1.0)
    similarity_QL[top_Q == 0] = 1.0  # an empty prefix is the same for all
    return np.exp((similarity_QL - 1) / temperature)


def shares(
    kind: str, others_XL: Floats, kernel_XL: Floats, top_X: Ints, min_samples: float
) -> tuple[Floats, Floats]:
    """The weight of one other member of each level `(X, L)`, and 1 / (sum of squared weights)
    `(X,)`: how many others carry the baseline.

    `prefix`, `output`: a softmax; with fewer effective others than `min_samples` all weigh alike,
    as in `grpo_core.advantages.prefix_baseline`. `shrunk`: n / (n+1) on the n others that share
    the whole query, the rest on all alike.
    """
    num_X1 = others_XL.sum(-1, keepdims=True)
    if kind == "shrunk":
        on_top_XL = np.arange(others_XL.shape[-1]) == top_X[..., None]
        sharing_X1 = (others_XL * on_top_XL).sum(-1, keepdims=True)
        share_XL = (1 / num_X1 + on_top_XL) / (sharing_X1 + 1)
        return share_XL, 1 / (others_XL * np.square(share_XL)).sum(-1)
    mass_X1 = (others_XL * kernel_XL).sum(-1, keepdims=True)
    square_X1 = (others_XL * np.square(kernel_XL)).sum(-1, keepdims=True)
    samples_X1 = np.square(mass_X1) / square_X1
    few_X1 = samples_X1 < np.minimum(min_samples, num_X1) - 1e-9
    return np.where(few_X1, 1 / num_X1, kernel_XL / mass_X1), samples_X1[..., 0]


def baselines(
    kind: str, R_N: Floats, w_N: Floats, index_MG: Ints, temperature: float, min_samples: float
) -> tuple[Floats, Floats]:
    """The baseline of each token and its effective sample size, `(M, G, T)` or `(M, G, 1)`.

    `w_N`: the weight of each completion as a key, with kind `key`. Raises KeyError on an unknown
    kind.
    """
    if kind not in LEVELLED:
        key_N = {"loo": np.ones_like(w_N), "key": w_N}[kind]
        own_MG, R_MG = key_N[index_MG], R_N[index_MG]
        mass_MG = own_MG.sum(1, keepdims=True) - own_MG
        sums_MG = (own_MG * R_MG).sum(1, keepdims=True) - own_MG * R_MG
        squares_MG = np.square(own_MG).sum(1, keepdims=True) - np.square(own_MG)
        return (sums_MG / mass_MG)[..., None], (np.square(mass_MG) / squares_MG)[..., None]
    asked = queries(kind)
    query_MGT = asked.of_NT[index_MG]
    others_MGTL, sums_MGTL = _others(asked, R_N, index_MG, query_MGT)
    kernel_QL = kernel(asked.top_Q, temperature)
    share_MGTL, samples_MGT = shares(
        kind, others_MGTL, kernel_QL[query_MGT], asked.top_Q[query_MGT], min_samples
    )
    return (share_MGTL * sums_MGTL).sum(-1), samples_MGT


def _others(asked: Queries, R_N: Floats, index_MG: Ints, query_MGT: Ints) -> tuple[Floats, Floats]:
    """Number and sum of rewards of the others in each level of each token's query.

    The one who asks is always in the top level. Taken out of it, nothing but an exact 0 is left
    where nobody else is there: no weight is ever the difference of two large ones.
    """
    groups = len(index_MG)
    inside_QLN = asked.inside_QLN
    num_levels = inside_QLN.shape[1]
    flat = (np.arange(groups)[:, None] * len(R_N) + index_MG).ravel()
    counts_MN = np.bincount(flat, minlength=groups * len(R_N)).reshape(groups, -1).astype(float)
    table_NX = inside_QLN.reshape(-1, len(R_N)).T
    shape = (groups, -1, num_levels)
    rows = np.arange(groups)[:, None, None]
    own_MGTL = np.arange(num_levels) == asked.top_Q[query_MGT][..., None]
    others = (counts_MN @ table_NX).reshape(shape)[rows, query_MGT] - own_MGTL
    sums = ((counts_MN * R_N) @ table_NX).reshape(shape)[rows, query_MGT]
    return others, sums - own_MGTL * R_N[index_MG][..., None, None]


# --- what a baseline is on average ----------------------------------------------------------------


def expected_baseline(
    kind: str, p_N: Floats, R_N: Floats, size: int, temperature: float, min_samples: float
) -> Floats:
    """E[b | query] for each query of a kind in `LEVELLED`, `(Q,)`: exact for any group size.

    The others fall into the levels by a multinomial law, and given how many are in each, the mean
    of their rewards is that of the level: a finite sum over all spreads.
    """
    asked = queries(kind)
    inside_QLN = asked.inside_QLN
    chance_QL = inside_QLN @ p_N
    mean_QL = (inside_QLN @ (p_N * R_N)) / np.where(chance_QL > 0, chance_QL, 1.0)
    return expected_of_levels(kind, chance_QL, mean_QL, asked.top_Q, size, temperature, min_samples)


def expected_of_levels(
    kind: str,
    chance_QL: Floats,
    mean_QL: Floats,
    top_Q: Ints,
    size: int,
    temperature: float,
    min_samples: float,
) -> Floats:
    """The same from the probability and the mean reward of each level."""
    spread_KL, ways_K = spreads(size - 1, chance_QL.shape[1])
    law_QK = ways_K * np.prod(chance_QL[:, None] ** spread_KL, axis=-1)
    kernel_QKL = kernel(top_Q, temperature)[:, None]
    share_QKL, _ = shares(kind, spread_KL[None], kernel_QKL, top_Q[:, None], min_samples)
    return np.asarray(np.einsum("qk,kl,qkl,ql->q", law_QK, spread_KL, share_QKL, mean_QL))


@lru_cache(maxsize=16)
def spreads(num: int, num_levels: int) -> tuple[Floats, Floats]:
    """All ways to spread `num` over levels, `(K, L)`, and their multinomial coefficients `(K,)`."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(num_levels - 1):
        found = [(*head, n) for head in found for n in range(num - sum(head) + 1)]
    full = [(*head, num - sum(head)) for head in found]
    ways = [math.factorial(num) // math.prod(map(math.factorial, each)) for each in full]
    return np.array(full, dtype=float), np.array(ways, dtype=float)
