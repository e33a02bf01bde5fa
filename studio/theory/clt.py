"""What the central limit theorem says of a group, and what it does not: the group mean nears the
value, the advantage keeps its variance, and at the sizes of groups neither is normal.

Rewards are 0 or 1, so the number of right ones is binomial and everything about rewards is a
finite sum. The gradient is that of a toy whose success probability is tilted to p.

Shape letters: M independent groups, G completions of a group, K = 0 … G right ones, S the sizes
that are tried, N completions of the toy, A atoms of the group mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory import difficulty
from studio.theory.groups import advantages
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import FAR, HALF_WIDTH, Estimate, Verdict, mean_of, variance_of
from studio.theory.toy import Toy, problem, with_success

Floats = NDArray[np.float64]
Estimates = tuple[Estimate, ...]

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
CONSTANT = 0.4748
"""Of the Berry-Esseen inequality for equally distributed terms: Shevtsova 2011, arXiv 1111.6554."""
NUM_GROUPS = 40_000
"""Groups whose rewards are drawn, for each size."""
NUM_COMPLETIONS = 512_000
"""At most so many completions are drawn for the gradient."""


@dataclass(frozen=True)
class KnobsOfClt(Knobs):
    """What can be turned."""

    p: float = number(0.1, 0.02, 0.98, "Share p of right completions", step=0.02)
    group_size: int = one_of(8, SIZES, "Group size G")
    advantage: str = one_of(
        "mean", ("mean", "loo", "zscore"), "Advantage", help="Only in the figure *Variances*."
    )


@dataclass(frozen=True)
class Exact:
    """What can be worked out; tuples run over `SIZES`."""

    advantage_S: tuple[float, ...]
    """Variance of an advantage."""
    limit: float
    """Where it goes."""
    mean_S: tuple[float, ...]
    """Variance of the group mean."""
    distance_S: tuple[float, ...]
    """Kolmogorov's, from the group mean's law to the normal one."""
    flat: float
    """Probability that all rewards of a group are equal."""
    gradient: float
    """Variance of the gradient along the true one, over that of its limiting normal law."""


@dataclass(frozen=True)
class Found:
    """The same by sampling."""

    advantage_S: Estimates
    mean_S: Estimates
    below_A: Estimates
    """Share of groups at or below each atom of `atoms`."""
    flat: Estimate
    gradient: Estimate
    covered: Estimate
    """How often the 95 % interval of the normal law holds the true gradient: no law."""


def exact(knobs: KnobsOfClt) -> Exact:
    """All laws at these settings."""
    sigma2, size = knobs.p * (1 - knobs.p), knobs.group_size
    limits = {"mean": sigma2, "loo": sigma2, "zscore": 1.0}
    model, theta_P, R_N = _tilted(knobs.p)
    return Exact(
        advantage_S=tuple(advantage_variance(G, knobs.p, knobs.advantage) for G in SIZES),
        limit=limits[knobs.advantage],
        mean_S=tuple(sigma2 / G for G in SIZES),
        distance_S=tuple(distance(G, knobs.p) for G in SIZES),
        flat=difficulty.flat(size, knobs.p),
        gradient=gradient_ratio(model, theta_P, R_N, size),
    )


def estimate(knobs: KnobsOfClt, seed: int) -> Found:
    """The same from samples."""
    p, size = knobs.p, knobs.group_size
    rngs = [np.random.default_rng((seed, at)) for at in range(len(SIZES))]
    drawn = [(G, rng.binomial(G, p, NUM_GROUPS), rng) for G, rng in zip(SIZES, rngs, strict=True)]
    members = [_one_of_each(right_M, G, knobs.advantage, rng) for G, right_M, rng in drawn]
    counts_M = drawn[SIZES.index(size)][1]
    flat_M = (counts_M == 0) | (counts_M == size)
    off_M = standardised(*_tilted(p), size, seed)
    return Found(
        advantage_S=tuple(variance_of(A_M, 0.0) for A_M in members),
        mean_S=tuple(variance_of(right_M / G, p) for G, right_M, _ in drawn),
        below_A=tuple(mean_of((counts_M <= k).astype(float)) for k in atoms(size, p)),
        flat=mean_of(flat_M.astype(float)),
        gradient=mean_of(np.square(off_M)),
        covered=mean_of((np.abs(off_M) < HALF_WIDTH).astype(float)),
    )


# --- the group mean and the advantage -------------------------------------------------------------


def advantage_variance(size: int, p: float, estimator: str) -> float:
    """Variance of an advantage: its mean is 0, so the mean square over all numbers of right ones.

    `mean`: sigma^2 (1 - 1/G). `loo`: sigma^2 G/(G-1). `zscore` nears 1 - P0.
    """
    square_2K = np.square(_advantages(size, estimator))
    share_K = np.arange(size + 1) / size
    square_K = share_K * square_2K[0] + (1 - share_K) * square_2K[1]
    return float(difficulty.pmf(size, p) @ square_K)


def _advantages(size: int, estimator: str) -> Floats:
    """`(2, K)`: of a right and of a wrong completion, by how many are right; 0 where there is
    none."""
    right_K = np.arange(size + 1)
    A_KG = advantages((np.arange(size) < right_K[:, None]).astype(float), estimator)
    return np.stack([A_KG[:, 0] * (right_K > 0), A_KG[:, -1] * (right_K < size)])


def _one_of_each(
    right_M: NDArray[np.int64], size: int, estimator: str, rng: np.random.Generator
) -> Floats:
    """The advantage of a completion from each group, picked at random."""
    wrong_M = rng.random(len(right_M)) >= right_M / size
    return np.asarray(_advantages(size, estimator)[wrong_M.astype(int), right_M])


def normal(x: Floats) -> Floats:
    """Distribution function of the standard normal law."""
    return np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in x])


def standard(right: NDArray[np.int64], size: int, p: float) -> Floats:
    """Numbers of right ones in standard deviations from their mean."""
    return np.asarray((right - size * p) / math.sqrt(size * p * (1 - p)))


def distance(size: int, p: float) -> float:
    """Greatest difference between the distribution function of the standardised group mean and the
    normal one: at an atom, or just below it."""
    at_K = np.cumsum(difficulty.pmf(size, p))
    normal_K = normal(standard(np.arange(size + 1), size, p))
    before_K = np.concatenate([[0.0], at_K[:-1]])
    return float(max(np.abs(at_K - normal_K).max(), np.abs(before_K - normal_K).max()))


def bound(size: float, p: float) -> float:
    """The distance is never more: Berry-Esseen, with E|R - p|^3 / sigma^3 of a coin."""
    return CONSTANT * (p * p + (1 - p) ** 2) / math.sqrt(p * (1 - p) * size)


def least(size: int, p: float) -> float:
    """Nor less: half the highest jump, as the normal law has none."""
    return float(difficulty.pmf(size, p).max()) / 2


def atoms(size: int, p: float) -> NDArray[np.int64]:
    """Numbers of right ones within five standard deviations of their mean, at most 40 of them."""
    right = np.arange(size + 1)
    kept = right[np.abs(standard(right, size, p)) <= 5]
    return kept[:: 1 + len(kept) // 40]


# --- the gradient ---------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _tilted(p: float) -> tuple[Toy, Floats, Floats]:
    model, theta_P, R_N = problem("binary")
    return model, with_success(model, theta_P, R_N, p), R_N


def along(model: Toy, theta_P: Floats, R_N: Floats) -> tuple[Floats, Floats, float]:
    """Scores along the true gradient, a = R - V, and the length of the gradient."""
    grad_P = model.grad_value_P(theta_P, R_N)
    length = float(np.linalg.norm(grad_P))
    score_N = model.scores_NP(theta_P) @ grad_P / length
    return score_N, R_N - model.value(theta_P, R_N), length


def gradient_ratio(model: Toy, theta_P: Floats, R_N: Floats, size: int) -> float:
    """G Var(u . g_loo) over its limit L = Var(a u . s), u the true gradient's direction:
    1 + (sigma^2 E(u . s)^2 + ||g||^2) / ((G-1) L)."""
    score_N, a_N, length = along(model, theta_P, R_N)
    p_N = model.p_N(theta_P)
    limit = float(p_N @ np.square(a_N * score_N)) - length**2
    price = float((p_N @ np.square(a_N)) * (p_N @ np.square(score_N))) + length**2
    return 1 + price / ((size - 1) * limit)


def standardised(
    model: Toy, theta_P: Floats, R_N: Floats, size: int, seed: int
) -> NDArray[np.float64]:
    """`(M,)`: error of leave-one-out gradients along the true one, in standard deviations of the
    limiting normal law."""
    score_N, a_N, length = along(model, theta_P, R_N)
    limit = float(model.p_N(theta_P) @ np.square(a_N * score_N)) - length**2
    num = min(NUM_GROUPS // 2, NUM_COMPLETIONS // size)
    index_MG = model.sample(theta_P, (num, size), np.random.default_rng((seed, len(SIZES))))
    found_M = (advantages(R_N[index_MG], "loo") * score_N[index_MG]).mean(1)
    return np.asarray((found_M - length) / math.sqrt(limit / size))


# --- the verdict ----------------------------------------------------------------------------------

RULE = (
    f"First the laws: they do not hold if the sampled variance of the advantage, of the group mean "
    f"or of the gradient at the chosen size is {FAR:g} standard errors or more off. Then the claim "
    "that the advantage's variance falls like that of a mean, to $2/G$ of what it is at $G=2$: it "
    f"is not as often said if what is sampled is more than {FAR:g} standard errors above that, and "
    "holds if it is not. No verdict at $G=2$."
)
LAWS = "The sampled variances of advantage, group mean and gradient are those of the laws."


def verdict(knobs: KnobsOfClt, exact: Exact, found: Found) -> Verdict:
    """Whether the variance of the advantage falls like that of a mean."""
    at = SIZES.index(knobs.group_size)
    offs = {
        "the advantage": found.advantage_S[at].z(exact.advantage_S[at]),
        "the group mean": found.mean_S[at].z(exact.mean_S[at]),
        "the gradient": found.gradient.z(exact.gradient),
    }
    name, worst = max(offs.items(), key=lambda item: abs(item[1]))
    if abs(worst) >= FAR:
        side = "above" if worst > 0 else "below"
        sentence = (
            f"The sampled variance of {name} is {abs(worst):.1f} standard errors {side} its law."
        )
        return Verdict("fails", sentence, RULE, LAWS)
    claim = (
        f"The variance of an advantage (`{knobs.advantage}`) falls with the group as that of a "
        "mean does, as $1/G$."
    )
    if at == 0:
        sentence = (
            "No verdict: $G=2$ is the smallest group, so there is none to compare it with. The "
            f"variance of $\\hat A_i$ there is {_plain(exact.advantage_S[0])}."
        )
        return Verdict("open", sentence, RULE, claim)
    first, here = found.advantage_S[0], found.advantage_S[at]
    share = 2 / knobs.group_size
    off = here.value - share * first.value
    if off <= FAR * math.hypot(here.se, share * first.se):
        sentence = f"The variance of $\\hat A_i$ falls to {_plain(here.value)}, as a mean's would."
        return Verdict("holds", sentence, RULE, claim)
    return Verdict("differs", _sentence(knobs, exact), RULE, claim)


def _plain(value: float) -> str:
    """Three digits without an exponent; `value` is positive."""
    value *= 1 + 1e-13  # a tie is rounded away from 0, as everywhere on the page
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 1e-5 else "hardly any"


def _sentence(knobs: KnobsOfClt, exact: Exact) -> str:
    size = knobs.group_size
    at = SIZES.index(size)
    return (
        f"From $G=2$ to ${size}$ the variance of $\\hat A_i$ goes from "
        f"{_plain(exact.advantage_S[0])} to {_plain(exact.advantage_S[at])}, on its way to "
        f"{exact.limit:.3g} and not to 0; the samples agree. What falls is the variance of the "
        f"group mean, to {_plain(exact.mean_S[at])}. That mean's law is still "
        f"{exact.distance_S[at]:.2f} from the normal one, and {_percent(exact.flat)} of its "
        "groups have no signal."
    )
