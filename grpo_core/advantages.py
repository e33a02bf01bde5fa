"""Advantage estimators, in NumPy: the trainer and the inspector call the same functions.

Shape letters: P prompts, G completions of a group, T time. R rewards, L lengths in tokens.
A reward of None (abstained or faulty) takes part in nothing: neither in the baseline nor, with an
advantage of None, in the loss. With g the true gradient, the expected update is

    none            R                                     g, noisy
    mean            R - mean(R)                           (G-1)/G g
    loo             R - mean of the others                g
    zscore          (R - mean(R)) / std(R)                g reweighted by difficulty
    batch_std       (R - mean(R)) / std of all R          about g, scaled
    mean_whiten     (R - mean(R)) / std of all of those   about g, scaled
    batch_z         (R - mean of all R) / std of all R    g, a prompt's difficulty stays as noise
    opo             R - length-weighted mean              biased
    opo_loo         R - that of the others                g
    prefix_attention  per token, see `prefix_baseline`    g
    gae             per token, see `critic.py`            g where lambda is 1 or the critic exact
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rewards = list[list[float | None]]
"""One list a group; groups may differ in size."""

TOLERANCE = 1e-12
"""A group whose rewards span no more than this teaches nothing: rounding is not a signal."""
DELTA = 1e-4
"""Added to standard deviations, as TRL does."""
PER_TOKEN = ("prefix_attention", "gae")
"""Estimators that need more than rewards; the rest are in `PER_GROUP` and `PER_BATCH`."""
COMPARES = ("mean", "loo", "zscore", "batch_std", "mean_whiten", "opo", "opo_loo")
"""Estimators that compare within the group: they need two completions, and equal ones give 0."""


# --- one group at a time --------------------------------------------------------------------------


def none(R: Floats, L: Floats) -> Floats:
    """R: REINFORCE without a baseline (Williams 1992)."""
    return R


def mean(R: Floats, L: Floats) -> Floats:
    """R - mean(R): Dr. GRPO, arXiv 2503.20783."""
    return R - R.mean()


def loo(R: Floats, L: Floats) -> Floats:
    """R_i - mean of the others = G/(G-1) (R_i - mean(R)): RLOO, arXiv 2402.14740."""
    return (R - R.mean()) * len(R) / (len(R) - 1)


def zscore(R: Floats, L: Floats, delta: float = DELTA, ddof: int = 1) -> Floats:
    """(R - mean(R)) / (std(R) + delta): DeepSeekMath, arXiv 2402.03300, section 4.1.2."""
    return (R - R.mean()) / (R.std(ddof=ddof) + delta)


def opo(R: Floats, L: Floats) -> Floats:
    """R - sum(L R) / sum(L): OPO, arXiv 2505.23585. Its own reward in it makes it biased."""
    return R - (L * R).sum() / L.sum() if L.sum() else mean(R, L)


def opo_loo(R: Floats, L: Floats) -> Floats:
    """R_i minus the length-weighted mean of the others: OPO without its bias."""
    others = L.sum() - L
    if not others.all():
        return loo(R, L)  # nobody else has a token: all count alike
    return R - ((L * R).sum() - L * R) / others


PER_GROUP: dict[str, Callable[[Floats, Floats], Floats]] = {
    "none": none,
    "mean": mean,
    "loo": loo,
    "zscore": zscore,
    "opo": opo,
    "opo_loo": opo_loo,
}

# --- all groups of a step together ----------------------------------------------------------------


def batch_std(R_P: list[Floats], delta: float = DELTA, ddof: int = 1) -> list[Floats]:
    """R - mean(group), over the std of all rewards: TRL's `scale_rewards="batch"`."""
    scale = np.concatenate(R_P).std(ddof=ddof) + delta
    return [(R - R.mean()) / scale for R in R_P]


def mean_whiten(R_P: list[Floats], delta: float = DELTA, ddof: int = 1) -> list[Floats]:
    """R - mean(group), over the std of all of these: REINFORCE++-baseline, arXiv 2501.03262."""
    centred = [R - R.mean() for R in R_P]
    scale = np.concatenate(centred).std(ddof=ddof) + delta
    return [c / scale for c in centred]


def batch_z(R_P: list[Floats], delta: float = DELTA, ddof: int = 1) -> list[Floats]:
    """(R - mean of all) / std of all, no groups: REINFORCE++, arXiv 2501.03262."""
    everything = np.concatenate(R_P)
    if len(everything) <= ddof:
        return [np.zeros_like(R) for R in R_P]
    scale = everything.std(ddof=ddof) + delta
    return [(R - everything.mean()) / scale if scale else 0 * R for R in R_P]


PER_BATCH: dict[str, Callable[[list[Floats]], list[Floats]]] = {
    "batch_std": batch_std,
    "mean_whiten": mean_whiten,
    "batch_z": batch_z,
}

# --- one number a token ---------------------------------------------------------------------------


def prefix_baseline(
    R: Floats, similarity_TGG: Floats, temperature: float, min_samples: float = 1.0
) -> tuple[Floats, Floats]:
    """Baseline `(T, G)` of each token and the effective sample size behind it.

    b_it = sum over j != i of w_ijt R_j, w = softmax over j of similarity_tij / temperature: a
    Nadaraya-Watson estimate of the value of the prefix. `similarity[t, i, j]` may be anything
    about the prefix of i *before* token t and about the other completions: then the baseline is
    independent of token t, and the gradient stays unbiased for any weights. At the first token all
    prefixes are equal, which is `loo`. Where fewer than `min_samples` others carry the weight
    (1 / sum w^2), the baseline is that of `loo` too: few others are a noisy guess.
    """
    group = len(R)
    logits = np.where(np.eye(group, dtype=bool), -np.inf, similarity_TGG / temperature)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    samples_TG = 1 / np.square(weights).sum(-1)
    others = (R.sum() - R) / (group - 1)
    return np.where(samples_TG >= min_samples - 1e-9, weights @ R, others), samples_TG


# --- what the trainer calls -----------------------------------------------------------------------


def assign(
    rewards_PG: Rewards, estimator: str, lengths_PG: list[list[int]] | None = None
) -> Rewards:
    """One advantage per completion, in the shape of `rewards_PG`.

    `lengths_PG` (tokens) is needed by `opo` and `opo_loo`. Where the estimator compares within the
    group, a group with fewer than two rewards has advantages None and one whose rewards are all
    equal has 0. What is not finite is None (rewards beyond 1e18 are left out before they come
    here). Raises KeyError on an estimator that needs more than rewards, or is unknown.
    """
    known = [np.array([r for r in rewards if r is not None], dtype=float) for rewards in rewards_PG]
    smallest = 2 if estimator in COMPARES else 1
    usable = [p for p, R in enumerate(known) if len(R) >= smallest]
    if not usable:
        return [[None] * len(rewards) for rewards in rewards_PG]
    with np.errstate(over="ignore", invalid="ignore"):
        if estimator in PER_BATCH:
            found = PER_BATCH[estimator]([known[p] for p in usable])
        else:
            lengths = [_lengths(rewards_PG, lengths_PG, p) for p in usable]
            estimate = PER_GROUP[estimator]
            found = [estimate(known[p], L) for p, L in zip(usable, lengths, strict=True)]
    advantages = dict(zip(usable, found, strict=True))
    for p in usable:
        if estimator in COMPARES and is_flat(rewards_PG[p]):
            advantages[p] = np.zeros(len(known[p]))
    return [_put_back(rewards, advantages.get(p)) for p, rewards in enumerate(rewards_PG)]


def normalize_then_sum(parts_FPG: list[Rewards], weights_F: list[float]) -> Rewards:
    """GDPO, arXiv 2601.05242: each reward's own z-score, weighted and summed, then `batch_z`.

    `parts_FPG`: one table of rewards per function. A part of None adds nothing; where all parts
    are None, so is the advantage.
    """
    scaled_FPG = [assign(parts_PG, "zscore") for parts_PG in parts_FPG]
    total_PG: Rewards = []
    for p, first in enumerate(parts_FPG[0]):
        total_PG.append([])
        for i in range(len(first)):
            terms = [w * (s[p][i] or 0.0) for w, s in zip(weights_F, scaled_FPG, strict=True)]
            given = any(parts_PG[p][i] is not None for parts_PG in parts_FPG)
            total_PG[p].append(sum(terms) if given else None)
    return assign(total_PG, "batch_z")


def penalise_kl(rewards_PG: Rewards, kl_PG: list[list[float]], coefficient: float) -> Rewards:
    """R_i - beta * sum_t (log pi_old - log pi_ref), before any centring.

    `kl_PG`: the k1 estimate of each completion, summed over its tokens (nats).
    """
    return [
        [None if r is None else r - coefficient * kl for r, kl in zip(rewards, kls, strict=True)]
        for rewards, kls in zip(rewards_PG, kl_PG, strict=True)
    ]


def is_flat(rewards_G: list[float | None]) -> bool:
    """Whether there is nothing to compare: all known rewards are equal, or there is but one."""
    known = [reward for reward in rewards_G if reward is not None]
    return not known or max(known) - min(known) <= TOLERANCE


def _lengths(rewards_PG: Rewards, lengths_PG: list[list[int]] | None, p: int) -> Floats:
    given = lengths_PG[p] if lengths_PG is not None else [1] * len(rewards_PG[p])
    kept = [n for n, r in zip(given, rewards_PG[p], strict=True) if r is not None]
    return np.array(kept, dtype=float)


def _put_back(rewards_G: list[float | None], found: Floats | None) -> list[float | None]:
    if found is None:
        return [None] * len(rewards_G)
    values = iter(found.tolist())
    given = [None if reward is None else next(values) for reward in rewards_G]
    return [None if a is None or not np.isfinite(a) else a for a in given]
