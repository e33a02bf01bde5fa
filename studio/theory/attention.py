"""Attention over the members of a group: which weights leave the expected gradient alone, and what
they do to its noise.

The first token of a completion, its strategy, decides a share h of its reward; the rest depends on
all of it. Who weighs the others by how alike their prefixes are learns what the strategy is worth;
who weighs them by how alike whole completions are learns what the next token is worth, too, and
takes it away.

Shape letters: M groups, G members, N completions, T time, C prefixes, Q queries, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.theory import clusters
from studio.theory.attention_exact import (
    Setup,
    bound,
    enumerated,
    expected_gradients,
    setup,
    variance_of_known,
    variance_of_loo,
)
from studio.theory.attention_weights import KINDS, baselines
from studio.theory.clusters import How
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import HALF_WIDTH, Agreement, Estimate, Verdict, agreement, mean_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NUM_SAMPLES, MOST_GROUPS = 24_000, 5_000
"""Completions in all, so fewer groups where they are larger; and no more groups than that."""
UNBIASED = ("loo", "key", "prefix", "shrunk")
SIZES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class KnobsOfAttention(Knobs):
    """What the group is, and how it looks at itself."""

    share: float = number(
        0.9,
        0.0,
        1.0,
        "Strategy's share of the reward, h",
        step=0.1,
        help="How much of the reward the first token decides.",
    )
    group_size: int = one_of(16, SIZES, "Group size, G")
    temperature: float = one_of(
        0.1,
        (0.05, 0.1, 0.3, 0.5, 1.0),
        "Temperature of the attention, τ",
        help="How alike two must be to count; small is strict.",
    )
    min_samples: int = one_of(
        1,
        (1, 2, 3, 4),
        "Fewest effective others",
        help="With fewer than this all others count alike; 1 never does that.",
    )


# --- exact ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExactOfAttention:
    """Of one group's gradient. Biases are shares of the length of the true gradient."""

    bias: dict[str, float]
    """Of each kind at this group size."""
    of_three: dict[str, float]
    """The same in groups of three, added up over all 262,144 of them."""
    bound: float
    """Of the bias of attention between outputs."""
    variance: float
    """Trace of the covariance with leave-one-out."""
    to_prompt: float
    """That of the value of the prompt as baseline, over it."""
    to_prefix: float
    """That of the value of each prefix, over it."""
    length2: float
    """Squared length of the true gradient."""
    forces: tuple[Floats, Floats]
    """On the four answers of two clusters: the true gradient, and attention between outputs."""


def exact(knobs: KnobsOfAttention) -> ExactOfAttention:
    """What can be worked out: all means, and the variances of baselines that do not sample."""
    at, size = setup(knobs.share), knobs.group_size
    length = float(np.linalg.norm(at.gradient_P))
    means = expected_gradients(knobs.share, size, knobs.temperature, knobs.min_samples)
    variance = variance_of_loo(at, size)
    prefix_NT = at.model.prefix_value_C(at.theta_P, at.R_N)[at.model.prefix_NT]
    prompt = np.full_like(prefix_NT, at.p_N @ at.R_N)
    uniform = np.full(4, 0.25)
    return ExactOfAttention(
        bias={kind: float(np.linalg.norm(means[kind] - at.gradient_P)) / length for kind in KINDS},
        of_three=enumerated(knobs.share, knobs.temperature, knobs.min_samples),
        bound=bound(at, knobs.temperature) / length,
        variance=variance,
        length2=length**2,
        to_prompt=variance_of_known(at, prompt, size) / variance,
        to_prefix=variance_of_known(at, prefix_NT, size) / variance,
        forces=tuple(
            clusters.expected_update(how, uniform)  # type: ignore[arg-type]
            for how in hows(knobs)
        ),
    )


# --- sampled --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfKind:
    """What was sampled with one baseline."""

    bias: Estimate
    """Along the direction in which attention between outputs is wrong, over the true gradient's
    length."""
    variance: Estimate
    """Trace of the covariance of one group's gradient."""
    ratio: Estimate
    """That over the one with leave-one-out, on the same groups."""
    law: Agreement
    """With the exact mean."""
    truth: Agreement
    """With the true gradient: the same where the kind is unbiased."""


@dataclass(frozen=True)
class FoundOfAttention:
    """All that was sampled."""

    kinds: dict[str, OfKind]
    effective: Estimate
    """How many others carry the baseline of `prefix` after the first token."""
    forces: tuple[Estimate, ...]
    """On the four answers, with attention between outputs."""
    learned: tuple[clusters.Learned, clusters.Learned]
    """With leave-one-out, and with attention between outputs."""


def estimate(knobs: KnobsOfAttention, seed: int) -> FoundOfAttention:
    """Sample groups of the toy, and runs on the two clusters."""
    at, size = setup(knobs.share), knobs.group_size
    shape = (min(NUM_SAMPLES // size, MOST_GROUPS), size)
    index_MG = at.model.sample(at.theta_P, shape, np.random.default_rng(seed))
    means = expected_gradients(knobs.share, size, knobs.temperature, knobs.min_samples)
    off_P = means["output"] - at.gradient_P
    far = np.linalg.norm(off_P) > 1e-9 * np.linalg.norm(at.gradient_P)
    along_P = off_P if far else at.gradient_P
    found: dict[str, OfKind] = {}
    effective = Estimate(0.0, 0.0, shape[0])
    squares_M = np.zeros(shape[0])
    for kind in KINDS:
        baseline_MGT, samples_MGT = baselines(
            kind, at.R_N, at.length2_N, index_MG, knobs.temperature, knobs.min_samples
        )
        g_MP = gradients(at, at.R_N[index_MG][..., None] - baseline_MGT, index_MG)
        noise_M = np.square(g_MP - means[kind]).sum(1)
        if kind == "loo":
            squares_M = noise_M
        if kind == "prefix":
            effective = mean_of(samples_MGT[..., 1:].mean((1, 2)))
        found[kind] = _of_kind(at, g_MP, means[kind], along_P, noise_M, squares_M)
    uniform, attending = hows(knobs)
    return FoundOfAttention(
        found,
        effective,
        clusters.forces(attending, seed),
        (clusters.learn(uniform, seed), clusters.learn(attending, seed)),
    )


def hows(knobs: KnobsOfAttention) -> tuple[How, How]:
    """The two baselines on the two clusters: all others alike, and attention between outputs."""
    settings = knobs.group_size, knobs.temperature, float(knobs.min_samples)
    return How(False, *settings), How(True, *settings)


def gradients(at: Setup, A_MGT: Floats, index_MG: Ints) -> Floats:
    """(1/G) sum over i and t of A_it s_it of each group, `(M, P)`; `A_MGT` may be `(M, G, 1)`."""
    groups, size = index_MG.shape
    cell_MGT = (at.model.prefix_NT * at.model.V + at.model.token_NT)[index_MG]
    flat = (np.arange(groups)[:, None, None] * at.model.P + cell_MGT).ravel()
    weights = np.broadcast_to(A_MGT, cell_MGT.shape).ravel()
    pull_MCV = np.bincount(flat, weights, groups * at.model.P).reshape(groups, at.model.C, -1)
    pi_CV = np.exp(at.model.logp_CV(at.theta_P))
    off_MCV = pull_MCV - pi_CV * pull_MCV.sum(-1, keepdims=True)
    return np.asarray(off_MCV.reshape(groups, -1) / size)


def _of_kind(
    at: Setup, g_MP: Floats, mean_P: Floats, along_P: Floats, noise_M: Floats, loo_M: Floats
) -> OfKind:
    """`noise_M`, `loo_M`: squared distances from the exact means, with this kind and with `loo`."""
    scale = float(np.linalg.norm(along_P) * np.linalg.norm(at.gradient_P))
    ratio = float(noise_M.mean() / loo_M.mean())
    # of the ratio of two means on the same groups, to first order
    ratio_se = mean_of((noise_M - ratio * loo_M) / loo_M.mean()).se
    law = agreement(g_MP, mean_P)
    same = np.array_equal(mean_P, at.gradient_P)
    return OfKind(
        bias=mean_of((g_MP - at.gradient_P) @ along_P / scale),
        variance=mean_of(noise_M),
        ratio=Estimate(ratio, ratio_se, len(noise_M)),
        law=law,
        truth=law if same else agreement(g_MP, at.gradient_P),
    )


# --- what comes out -------------------------------------------------------------------------------


def crossing(exact: ExactOfAttention, found: FoundOfAttention) -> float | None:
    """Number of groups in a batch from which on attention between outputs has the larger mean
    squared error than leave-one-out; None where it never has."""
    bias2 = exact.bias["output"] ** 2 * exact.length2
    if exact.bias["output"] < 1e-9:
        return None
    return max(1.0, (exact.variance - found.kinds["output"].variance.value) / bias2)


def verdict(knobs: KnobsOfAttention, exact: ExactOfAttention, found: FoundOfAttention) -> Verdict:
    """Are the four unbiased, and does attention over prefixes lower the variance?"""
    ratio = found.kinds["prefix"].ratio
    low, high = ratio.band
    wrong = [kind for kind in UNBIASED if not found.kinds[kind].truth.holds]
    seen = f"**{ratio.value:.3f} ± {HALF_WIDTH * ratio.se:.3f}** of the variance of leave-one-out"
    if wrong:
        z = found.kinds[wrong[0]].truth.z_chi2
        sentence = (
            f"The sampled gradient with {', '.join(wrong)} is not the true one "
            f"($\\chi^2$ of {wrong[0]}: {z:+.1f} standard deviations)."
        )
        return Verdict("fails", sentence.replace("-", "−"), RULE, CLAIM)
    if high < 1:
        sentence = f"Attention over prefixes leaves the expected gradient alone and has {seen}. "
        return Verdict("holds", sentence + _of_outputs(exact, found), RULE, CLAIM)
    if low > 1:
        sentence = f"Attention over prefixes is unbiased but costs something here: {seen}. "
        return Verdict("differs", sentence + _of_outputs(exact, found), RULE, CLAIM)
    if knobs.group_size == 2:
        sentence = (
            "No verdict: with one other in the group there is nothing to weigh, and all kinds are "
            "the same."
        )
        return Verdict("open", sentence, RULE, CLAIM)
    sentence = f"No verdict: the band of prefix attention holds 1, with {seen}. "
    return Verdict("open", sentence + _of_outputs(exact, found), RULE, CLAIM)


CLAIM = (
    "Attention over prefixes leaves the expected gradient as it is, and it has less variance than "
    "leave-one-out."
)
RULE = (
    "*Does not hold* where the sampled gradient with leave-one-out, key-only, prefix or shrunk "
    "weights is not the true one (projection within 3 standard errors, $\\chi^2$ of all "
    "directions within 4 standard deviations; about 1 seed in 100 fails by "
    "chance). Else *holds* where the 95 % band "
    "of the variance of prefix attention over that of leave-one-out is below 1, *not as "
    "often said* where it is above, *no verdict* where it holds 1."
)


def _of_outputs(exact: ExactOfAttention, found: FoundOfAttention) -> str:
    bias, groups = exact.bias["output"], crossing(exact, found)
    if groups is None:
        return "Attention over whole outputs falls back to equal weights here and is unbiased too."
    start = "even with one" if groups < 1.5 else f"from about {groups:.0f} groups on"
    return (
        f"Attention over whole outputs is wrong by **{100 * bias:.1f} %** of the gradient, however "
        f"many groups are averaged: its squared error is the larger one {start}."
    )
