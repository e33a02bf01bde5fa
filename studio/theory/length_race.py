"""Three answers, two of them wrong and of different length: what the weight of a token makes of the
long one, step by step.

The first token chooses the answer, the rest of it follows surely: a policy of three logits. Counts
of the answers decide all of a group's update, so that its mean is a sum over the compositions of G.

Shape letters: K = 3 answers (short and wrong, long and wrong, right), M compositions, U runs,
T steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from grpo_core.advantages import assign
from grpo_core.terms import weights_of
from studio.theory.toy import Floats, Ints, log_softmax

STEPS, STEP_SIZE = 200, 0.5
RIGHT_AT_FIRST = math.exp(-1) / (2 + math.exp(-1))
"""Probability of the right answer before the first step."""
REWARDS = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Table:
    """Every group of one size there can be."""

    counts_MK: Ints
    log_ways_M: Floats
    """Logarithm of the number of orders."""
    pull_MK: Floats
    """Sum over the completions of each answer of weight times advantage."""
    row_GG: Ints
    """Row of a composition, by the counts of its wrong answers."""


def lengths_of(long: int) -> tuple[float, float, float]:
    """Of the three answers: the right one lies in the middle."""
    return 1.0, float(long), (1 + long) / 2


@lru_cache(maxsize=64)
def table(aggregation: str, baseline: str, size: int, long: int) -> Table:
    """Advantages and weights are the product's own."""
    lengths = lengths_of(long)
    counts: list[tuple[int, int, int]] = []
    row_GG = np.zeros((size + 1, size + 1), dtype=np.int64)
    for short in range(size + 1):
        for longs in range(size + 1 - short):
            row_GG[short, longs] = len(counts)
            counts.append((short, longs, size - short - longs))
    kinds_MG = [np.repeat((0, 1, 2), each) for each in counts]
    L_MG = [np.take(lengths, kinds) for kinds in kinds_MG]
    R_MG = [np.take(REWARDS, kinds).tolist() for kinds in kinds_MG]
    A_MG = assign(R_MG, baseline, [L.tolist() for L in L_MG])
    pull_MK = [
        np.bincount(kinds, weights_of(L, aggregation, long) * np.array(A, dtype=float), 3)
        for kinds, L, A in zip(kinds_MG, L_MG, A_MG, strict=True)
    ]
    log_ways = [math.lgamma(size + 1) - sum(math.lgamma(n + 1) for n in each) for each in counts]
    return Table(np.array(counts), np.array(log_ways), np.array(pull_MK), row_GG)


def start_K(share: float) -> Floats:
    """Logits where `share` of the wrong answers are long."""
    wrong = 1 - RIGHT_AT_FIRST
    return np.log([(1 - share) * wrong, share * wrong, RIGHT_AT_FIRST])


def mean_update(given: Table, logits_K: Floats) -> Floats:
    """Expected update of the logits, over every group."""
    logp_K = log_softmax(logits_K)
    chance_M = np.exp(given.log_ways_M + given.counts_MK @ logp_K)
    return update_of(chance_M @ given.pull_MK, np.exp(logp_K))


def update_of(pull_K: Floats, p_K: Floats) -> Floats:
    """By the logits: the pull on each answer's log-probability, through the softmax (last axis)."""
    return np.asarray(pull_K - p_K * pull_K.sum(-1, keepdims=True))


def push(update_K: Floats) -> Floats:
    """What an update adds to the log-odds of the long among the wrong answers (last axis)."""
    return np.asarray(update_K[..., 1] - update_K[..., 0])


def long_share(logits_K: Floats) -> Floats:
    """Share of the long among the wrong answers (last axis)."""
    return np.asarray(1 / (1 + np.exp(logits_K[..., 0] - logits_K[..., 1])))


def equalise(given: Table, against: Table, logits_K: Floats) -> float:
    """Factor that makes the first expected update as long as that of `against`: what is compared
    is the direction, not the step size."""
    lengths = [float(np.linalg.norm(mean_update(each, logits_K))) for each in (against, given)]
    return lengths[0] / lengths[1]


def expected_path(given: Table, logits_K: Floats, step: float) -> Floats:
    """Long share after each of the steps where every update is the expected one, `(T + 1,)`."""
    shares = [float(long_share(logits_K))]
    for _ in range(STEPS):
        logits_K = logits_K + step * mean_update(given, logits_K)
        shares.append(float(long_share(logits_K)))
    return np.array(shares)


def sampled_paths(
    given: Table, logits_K: Floats, step: float, runs: int, rng: np.random.Generator
) -> Floats:
    """Long share after each of the steps with sampled groups, `(U, T + 1)`."""
    size = int(given.counts_MK[0].sum())
    logits_UK = np.tile(logits_K, (runs, 1))
    shares = [long_share(logits_UK)]
    for _ in range(STEPS):
        p_UK = np.exp(log_softmax(logits_UK))
        drawn_UK = rng.multinomial(size, p_UK / p_UK.sum(1, keepdims=True))
        pull_UK = given.pull_MK[given.row_GG[drawn_UK[:, 0], drawn_UK[:, 1]]]
        logits_UK = logits_UK + step * update_of(pull_UK, p_UK)
        shares.append(long_share(logits_UK))
    return np.stack(shares, 1)


def sampled_pushes(given: Table, logits_K: Floats, num: int, rng: np.random.Generator) -> Floats:
    """`push` of the first update of `num` groups."""
    p_K = np.exp(log_softmax(logits_K))
    drawn = rng.multinomial(int(given.counts_MK[0].sum()), p_K / p_K.sum(), size=num)
    return push(update_of(given.pull_MK[given.row_GG[drawn[:, 0], drawn[:, 1]]], p_K))
