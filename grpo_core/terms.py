"""The loss of one completion token by token: what `losses.py` adds up, taken apart. No torch: the
page shows it.

Shape letters: T tokens of a completion, N completions. `gradient` is the derivative of the step's
loss by a token's log-prob; the optimizer goes the other way: below 0 it makes the token likelier.
The entropy bonus acts on the whole distribution before a token, not on the token alone: it is in
`loss`, not in `gradient`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grpo_core.objective import MAX_LOG_RATIO, Objective

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """What the update knew of each token, `(T,)` each; see `records.TokenTrace`."""

    logp: Floats
    old: Floats
    ref: Floats
    entropy: Floats
    advantage: Floats
    weight: Floats

    @classmethod
    def of(cls, **channels: ArrayLike) -> Numbers:
        """From lists."""
        return cls(**{name: np.asarray(values, dtype=float) for name, values in channels.items()})


@dataclass(frozen=True)
class Terms:
    """What became of each token, `(T,)` each; a token of weight 0 has loss and gradient 0."""

    ratio: Floats
    """Of the policy to the one that sampled; 1 where the row has no ratio."""
    clipped: NDArray[np.int8]
    """1 above the clip, -1 below, on the side where it acts; else 0."""
    policy: Floats
    """The policy term, before the weight."""
    kl: Floats
    """The estimate in the loss, before its coefficient; 0 where none is in the loss."""
    loss: Floats
    """All of it, times the weight: the token's share of the step's loss."""
    gradient: Floats
    """By the token's own log-prob, weight included; NaN where the pass did not look."""


def terms_of(objective: Objective, numbers: Numbers) -> Terms:
    """Every token of one whole completion (a sequence ratio needs all of it)."""
    live = numbers.weight != 0
    apart = numbers.logp - numbers.old
    inside = np.abs(apart) <= MAX_LOG_RATIO  # beyond, the ratio is held and has no gradient
    ratio = _ratio(objective, np.clip(apart, -MAX_LOG_RATIO, MAX_LOG_RATIO), live)
    policy, by_ratio, by_logp = _policy(objective, ratio, numbers)
    kl, kl_by_logp = _kl(objective, numbers)
    loss = policy + objective.kl_coefficient * kl
    loss = loss - objective.entropy_coefficient * numbers.entropy
    pull = np.where(live, numbers.weight * by_ratio * ratio, 0.0)
    if objective.ratio_level == "sequence":
        # every token's ratio is the same mean of log-ratios: each has 1/|o| of all the pull
        pull = np.where(live, pull.sum() / max(int(live.sum()), 1), 0.0)
    gradient = np.where(inside, pull, 0.0)
    rest = by_logp + objective.kl_coefficient * kl_by_logp
    gradient = gradient + np.where(live, numbers.weight * rest, 0.0)
    unseen = np.isnan(numbers.logp)
    return Terms(
        ratio,
        _clipped(objective, ratio, numbers.advantage, live),
        policy,
        kl,
        np.where(live, numbers.weight * loss, 0.0),
        np.where(unseen, np.nan, gradient),
    )


def _ratio(objective: Objective, apart: Floats, live: NDArray[np.bool_]) -> Floats:
    if objective.ratio_level == "none":
        return np.ones_like(apart)
    if objective.ratio_level == "sequence":
        return np.full_like(apart, np.exp(apart[live].mean()) if live.any() else 1.0)
    return np.exp(apart)


def _policy(objective: Objective, ratio: Floats, numbers: Numbers) -> tuple[Floats, Floats, Floats]:
    """The policy term, and its derivatives by the ratio and by the log-prob itself."""
    advantage, logp = numbers.advantage, numbers.logp
    low, high = objective.clip_low, objective.clip_high
    nothing = np.zeros_like(ratio)
    if objective.ratio_level == "none":
        return -advantage * logp, nothing, -advantage
    if objective.clipping == "cispo":
        assert high is not None
        held = np.minimum(ratio, 1 + high) * advantage
        return -held * logp, nothing, -held
    if objective.clipping == "sapo":
        tau = np.where(advantage > 0, objective.sapo_positive, objective.sapo_negative)
        gate = 1 / (1 + np.exp(-tau * (ratio - 1)))
        return -4 / tau * gate * advantage, -4 * gate * (1 - gate) * advantage, nothing
    if objective.clipping == "none":
        return -ratio * advantage, -advantage, nothing
    assert low is not None and high is not None
    bounded = np.clip(ratio, 1 - low, 1 + high) * advantage
    term = -np.minimum(ratio * advantage, bounded)
    moves = ratio * advantage <= bounded
    if objective.dual_clip is not None:
        beyond = (advantage < 0) & (ratio > objective.dual_clip)
        term = np.where(beyond, -objective.dual_clip * advantage, term)
        moves &= ~beyond
    return term, np.where(moves, -advantage, 0.0), nothing


def _kl(objective: Objective, numbers: Numbers) -> tuple[Floats, Floats]:
    """The KL estimate and its derivative by the log-prob; see `losses.py` for the sources."""
    logp, ref = numbers.logp, numbers.ref
    if not objective.kl_coefficient:
        return np.zeros_like(logp), np.zeros_like(logp)
    if objective.kl_estimator == "k2":
        return 0.5 * np.square(logp - ref), logp - ref
    if objective.kl_estimator == "k1":
        return logp - ref, np.ones_like(logp)
    apart = np.clip(ref - logp, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    inside = np.abs(ref - logp) <= MAX_LOG_RATIO
    k3, slope = np.exp(apart) - 1 - apart, np.where(inside, 1 - np.exp(apart), 0.0)
    if objective.kl_estimator == "k3":
        return k3, slope
    moved = logp - numbers.old
    ratio = np.exp(np.clip(moved, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    return ratio * k3, ratio * (slope + np.where(np.abs(moved) <= MAX_LOG_RATIO, k3, 0.0))


def _clipped(
    objective: Objective, ratio: Floats, advantage: Floats, live: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """As `losses.beyond_clip` counts them."""
    found = np.zeros(len(ratio), dtype=np.int8)
    low, high = objective.clip_low, objective.clip_high
    if high is None or objective.clipping == "sapo":
        return found
    if objective.clipping == "cispo":
        found[(ratio > 1 + high) & (advantage != 0) & live] = 1
        return found
    found[(ratio > 1 + high) & (advantage > 0) & live] = 1
    if low is not None:
        found[(ratio < 1 - low) & (advantage < 0) & live] = -1
    return found


def weights_of(lengths_N: ArrayLike, aggregation: str, max_length: int) -> Floats:
    """The weight of a token of each completion, `(N,)`; see `losses.token_weights`.

    `lengths_N`: tokens in the loss of each completion of one optimizer step, 0 for those left out.
    """
    lengths = np.asarray(lengths_N, dtype=float)
    counted = lengths > 0
    num = max(int(counted.sum()), 1)
    if aggregation == "seq_sum":
        weights = np.full_like(lengths, 1 / num)
    elif aggregation == "seq_mean":
        weights = 1 / (np.maximum(lengths, 1) * num)
    elif aggregation == "token_mean":
        weights = np.full_like(lengths, 1 / max(lengths.sum(), 1))
    else:
        assert aggregation == "dr_grpo", aggregation
        weights = np.full_like(lengths, 1 / (len(lengths) * max_length))
    return np.where(counted, weights, 0.0)
