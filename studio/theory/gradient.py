"""Question A1: what a group's update is on average, beside what PPO's is.

Shape letters: M groups, G completions of a group, N completions of the toy, T time, C prefixes,
P parameters, L values of lambda.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.digits import n as digits
from studio.theory import groups
from studio.theory.gradient_laws import group_noise, zscore_weight
from studio.theory.gradient_ppo import bias_bound, critic_error, gae, gae_drift, gae_noise
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import FAR_CHI2, Agreement, Estimate, Verdict, agreement, mean_of
from studio.theory.toy import problem

Floats = NDArray[np.float64]

SIZES = (2, 3, 4, 8, 16, 32)
ENUMERABLE = 3
"""Largest group whose 64^G possibilities are all gone through."""
LAMBDAS = np.linspace(0, 1, 41)
MARKED = (0, 8, 16, 24, 32, 36, 38, 40)
"""Which of them are also sampled: 0, .2, .4, .6, .8, .9, .95 and 1."""
USUAL = 38
"""Where .95 stands, the value that a run begins with."""


@dataclass(frozen=True)
class KnobsOfGradient(Knobs):
    estimator: str = one_of("mean", groups.ADVANTAGES, "Advantage")
    size: int = one_of(4, SIZES, "Group size G")
    rewards: str = one_of(
        "graded",
        ("graded", "binary", "strategy"),
        "Rewards",
        help="Anything from 0 to 1; 0 or 1; or mostly decided by the first token.",
    )
    num_groups: int = one_of(5000, (1000, 5000, 20000), "Groups sampled")
    critic_error: float = number(
        0.3,
        0.0,
        1.0,
        "Error of PPO's critic",
        step=0.05,
        help="Standard deviation, each prefix. Not in the figure *Group size*.",
    )


@dataclass(frozen=True)
class Law:
    """What can be worked out; None where there is no law."""

    ratio_S: tuple[float | None, ...]
    """E g along the gradient of V, over its length, for each of `SIZES`."""
    update_P: Floats | None
    """E g at the chosen size."""
    cosine: float | None
    grad_P: Floats
    """The gradient of V."""
    noise: float | None
    """G tr Var of the group's estimate: what one completion adds."""
    bias_L: Floats
    """Length of PPO's bias over that of the gradient, for each of `LAMBDAS`."""
    bound_L: Floats
    """What it can be at most, for a critic whose errors are no larger."""
    ppo_noise_L: Floats
    """tr Var of PPO's estimate from one completion."""

    def ratio(self, size: int) -> float | None:
        return self.ratio_S[SIZES.index(size)]


@dataclass(frozen=True)
class Found:
    """The same from samples."""

    ratio_S: tuple[Estimate, ...]
    noise: Estimate
    to_law: Agreement | None
    """The mean update beside the exact one; None where there is none."""
    to_line: Agreement
    """Beside the multiple of the gradient that is nearest to it: does it point elsewhere?"""
    bias_K: tuple[Estimate, ...]
    """PPO's bias at the `MARKED` lambdas, along its exact direction."""

    def ratio(self, size: int) -> Estimate:
        return self.ratio_S[SIZES.index(size)]


def exact(knobs: KnobsOfGradient) -> Law:
    """All that follows from the knobs without a sample."""
    model, theta_P, R_N = problem(knobs.rewards)
    grad_P = model.grad_value_P(theta_P, R_N)
    ratios = tuple(_ratio(knobs.estimator, knobs.rewards, size) for size in SIZES)
    update_P = _update(knobs.estimator, knobs.rewards, knobs.size)
    error_C = critic_error(model, knobs.critic_error)
    length = float(np.linalg.norm(grad_P))
    raw_LP = gae_drift(model, theta_P, error_C, LAMBDAS)
    return Law(
        ratio_S=ratios,
        update_P=update_P,
        cosine=None if update_P is None else _cosine(update_P, grad_P),
        grad_P=grad_P,
        noise=group_noise(model, theta_P, R_N, knobs.size, knobs.estimator),
        bias_L=(1 - LAMBDAS) * np.linalg.norm(raw_LP, axis=1) / length,
        bound_L=bias_bound(model, theta_P, error_C, LAMBDAS) / length,
        ppo_noise_L=gae_noise(model, theta_P, R_N, error_C, LAMBDAS),
    )


def estimate(knobs: KnobsOfGradient, seed: int) -> Found:
    """Groups of all sizes, and as many single completions for PPO as there are groups."""
    to_law, to_line, noise = _directions(
        knobs.estimator, knobs.rewards, knobs.size, knobs.num_groups, seed
    )
    bias = _sampled_bias(knobs.rewards, knobs.critic_error, knobs.num_groups, seed)
    ratios = _sampled_ratios(knobs.estimator, knobs.rewards, knobs.num_groups, seed)
    return Found(ratios, noise, to_law, to_line, bias)


def verdict(knobs: KnobsOfGradient, exact: Law, found: Found) -> Verdict:
    """Is the mean update a multiple of the gradient, and which?"""
    ratio, law = found.ratio(knobs.size), exact.ratio(knobs.size)
    seen = _band(ratio)
    claim = _CLAIMS[knobs.estimator]
    ppo = (
        f" PPO with $\\lambda=0.95$ and this critic is off by "
        f"{digits(100 * float(exact.bias_L[USUAL]), 2)} % of the gradient."
    )
    rule = (
        "Holds: the exact mean is a multiple of $\\nabla V$ and the sample agrees with it "
        "(projection within 3 standard errors, $|z_{\\chi^2}|<4$ in all directions that vary, "
        "which leaves out those with less than 1 % of the largest variance). Not as often said: "
        "the mean points elsewhere: a cosine below 1, or, without a law, $z_{\\chi^2}>4$ against "
        "every multiple. No verdict: there is no law and the sample cannot tell. Does not hold: "
        "the sample contradicts the law."
    )
    if found.to_law is not None and law is not None and not found.to_law.holds:
        text = f"The sampled update is {seen} times the gradient, the law says {digits(law)}."
        return Verdict("fails", text, rule, claim)
    share = _share(law, seen)
    turned = exact.cosine is not None and exact.cosine < 1 - 1e-9
    if turned or (exact.cosine is None and found.to_line.z_chi2 > FAR_CHI2):
        cosine = found.to_line.cosine if exact.cosine is None else exact.cosine
        text = f"The mean update does not point along $\\nabla V$: cosine {digits(cosine, 3)}."
        text += f" Along the gradient it is {share}.{ppo}"
        return Verdict("differs", text, rule, claim)
    if exact.cosine is None:
        text = (
            "No verdict: there is no law at this size, and so small a turn as there may be these "
            f"groups do not show. Along the gradient the mean update is {share}."
        )
        return Verdict("open", text + ppo, rule, claim)
    text = f"The mean update points along $\\nabla V$ and is {share}."
    return Verdict("holds", text + ppo, rule, claim)


def _band(found: Estimate) -> str:
    """The value as far as the two digits of half its 95 % interval go."""
    half = found.band[1] - found.value
    places = max(0, 1 - math.floor(math.log10(half))) if half else 4
    return f"{found.value:.{places}f} ± {half:.{places}f}".replace("-", "−")


def _share(law: float | None, seen: str) -> str:
    """How long the mean update is along the gradient."""
    if law is None:
        return f"{seen} times as long as $\\nabla V$"
    if abs(law - 1) < 1e-9:
        return f"as long as $\\nabla V$ (sampled {seen} times)"
    return f"{digits(law)} times as long as $\\nabla V$ (sampled {seen})"


_CLAIMS = {
    "mean": "With the group's mean the update is on average $\\frac{G-1}{G}\\nabla V$.",
    "loo": "With leave-one-out the update is on average $\\nabla V$.",
    "none": "Without a baseline the update is on average $\\nabla V$.",
    "zscore": "With z-scores the update points on average along $\\nabla V$.",
}


# --- the group's update -----------------------------------------------------------------------


@lru_cache(maxsize=64)
def _update(estimator: str, rewards: str, size: int) -> Floats | None:
    """E g: from the law where there is one, else from every group that there is."""
    model, theta_P, R_N = problem(rewards)
    grad_P = model.grad_value_P(theta_P, R_N)
    if estimator != "zscore":
        return (size - 1) / size * grad_P if estimator == "mean" else grad_P
    if rewards == "binary":
        return zscore_weight(size, float(model.p_N(theta_P) @ R_N)) * grad_P
    if size > ENUMERABLE:
        return None
    p_N, scores_NP = model.p_N(theta_P), model.scores_NP(theta_P)
    return groups.expected_gradient(p_N, R_N, scores_NP, size, estimator)


def _ratio(estimator: str, rewards: str, size: int) -> float | None:
    update_P = _update(estimator, rewards, size)
    if update_P is None:
        return None
    model, theta_P, R_N = problem(rewards)
    grad_P = model.grad_value_P(theta_P, R_N)
    return float(update_P @ grad_P / (grad_P @ grad_P))


@lru_cache(maxsize=64)
def _sampled_ratios(
    estimator: str, rewards: str, num_groups: int, seed: int
) -> tuple[Estimate, ...]:
    model, theta_P, R_N = problem(rewards)
    grad_P = model.grad_value_P(theta_P, R_N)
    along_N = model.scores_NP(theta_P) @ grad_P / (grad_P @ grad_P)
    found = []
    for size in SIZES:
        index_MG = _drawn(rewards, size, num_groups, seed)
        A_MG = groups.advantages(R_N[index_MG], estimator)
        found.append(mean_of((A_MG * along_N[index_MG]).mean(1)))
    return tuple(found)


def _drawn(rewards: str, size: int, num_groups: int, seed: int) -> groups.Ints:
    model, theta_P, _ = problem(rewards)
    return model.sample(theta_P, (num_groups, size), np.random.default_rng((seed, size)))


@lru_cache(maxsize=64)
def _directions(
    estimator: str, rewards: str, size: int, num_groups: int, seed: int
) -> tuple[Agreement | None, Agreement, Estimate]:
    model, theta_P, R_N = problem(rewards)
    index_MG = _drawn(rewards, size, num_groups, seed)
    A_MG = groups.advantages(R_N[index_MG], estimator)
    update_MP = groups.gradients(A_MG, model.scores_NP(theta_P), index_MG)
    grad_P = model.grad_value_P(theta_P, R_N)
    ratio = float((update_MP @ grad_P).mean() / (grad_P @ grad_P))
    law_P = _update(estimator, rewards, size)
    centre_P = update_MP.mean(0) if law_P is None else law_P
    return (
        None if law_P is None else agreement(update_MP, law_P),
        agreement(update_MP, ratio * grad_P),
        mean_of(size * np.square(update_MP - centre_P).sum(1)),
    )


def _cosine(a_P: Floats, b_P: Floats) -> float:
    return float(a_P @ b_P / np.linalg.norm(a_P) / np.linalg.norm(b_P))


@lru_cache(maxsize=64)
def _sampled_bias(
    rewards: str, scale: float, num_completions: int, seed: int
) -> tuple[Estimate, ...]:
    model, theta_P, R_N = problem(rewards)
    error_C, lambdas_K = critic_error(model, scale), LAMBDAS[list(MARKED)]
    grad_P = model.grad_value_P(theta_P, R_N)
    drift_KP = gae_drift(model, theta_P, error_C, lambdas_K)
    # without an error there is no direction of the bias: look along the gradient
    toward_KP = drift_KP if scale else np.tile(grad_P, (len(lambdas_K), 1))
    toward_KP = toward_KP / np.linalg.norm(toward_KP, axis=1, keepdims=True)
    A_KNT = gae(model, R_N, model.prefix_value_C(theta_P, R_N) + error_C, lambdas_K)
    along_KNT = np.einsum("ntp,kp->knt", model.scores_NTP(theta_P), toward_KP)
    off_KN = (A_KNT * along_KNT).sum(2) - (toward_KP @ grad_P)[:, None]
    index_M = model.sample(theta_P, (num_completions,), np.random.default_rng((seed, 1)))
    length = float(np.linalg.norm(grad_P))
    return tuple(mean_of(off_N[index_M] / length) for off_N in off_KN)
