"""How many completions a prompt should have: what the size of the group does to the noise of the
gradient, to the best use of a fixed number of completions, and to the weight of a hard prompt.

Shape letters: Q prompts, N completions of the toy, P parameters, M independent samples, G
completions of a group, S the sizes that are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory import difficulty
from studio.theory.groups import advantages, gradients
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import FAR, Estimate, Verdict, mean_of
from studio.theory.toy import Toy, problem, with_success

Floats = NDArray[np.float64]
Estimates = tuple[Estimate, ...]

SIZES = (2, 4, 8, 16, 32)
NUM_PROMPTS = 24
NUM_GROUPS = 4000
"""Groups of one prompt, for each size."""
NUM_COMPLETIONS = 96_000
"""Completions of all batches together, for each size."""


@dataclass(frozen=True)
class KnobsOfGroupSize(Knobs):
    """What can be turned."""

    group_size: int = one_of(8, SIZES, "Group size G")
    budget: int = one_of(
        64,
        (32, 64, 128, 256),
        "Completions per step n",
        help="Prompts per step are n / G. Only in *Fixed budget*.",
    )
    diversity: float = number(
        1.0, 0.0, 1.0, "Diversity of the prompts", step=0.1,
        help="0: all prompts reward the same. 1: each has rewards of its own. "
        "Only in the figure *Fixed budget*.",
    )  # fmt: skip
    p: float = number(
        0.1, 0.02, 0.98, "Share p of right completions", step=0.02,
        help="Of the prompt whose weight is looked at. Only in the figure *Difficulty*.",
    )  # fmt: skip
    filtered: bool = one_of(
        False, (False, True), "Only groups with signal",
        help="The weight's mean leaves out groups of equal rewards. Only in *Difficulty*.",
    )  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """Where the variance of a leave-one-out gradient comes from: traces of covariances."""

    between: float
    """tau^2: how much the gradients of prompts differ."""
    within: float
    """v = E a^2 ||s||^2 - ||g||^2: one completion's, were the value known."""
    price: float
    """kappa = sigma^2 F + ||g||^2: what not knowing the value costs."""

    def at(self, size: float, budget: float) -> float:
        """Variance of the mean over budget / size prompts, each with a group of `size`."""
        return (size * self.between + self.within + self.price / (size - 1)) / budget

    @property
    def best(self) -> float:
        """The size with the least variance, whatever the budget; inf where prompts are alike."""
        return 1 + math.sqrt(self.price / self.between) if self.between > 1e-15 else math.inf


@dataclass(frozen=True)
class Exact:
    """What can be worked out."""

    one: Noise
    """Of one prompt: nothing is between prompts, and the budget is one group."""
    sigma2: float
    """Variance of this prompt's reward."""
    many: Noise
    """Of the prompts that a step draws from."""
    weight: float
    """Factor of grad p in the mean z-scored gradient (population deviation, no delta)."""
    flat: float
    """Probability of a group without signal."""


@dataclass(frozen=True)
class Found:
    """The same by sampling; tuples run over `SIZES`."""

    advantage_S: Estimates
    """Variance of a mean-centred advantage."""
    baseline_S: Estimates
    """Mean squared error of the group mean as an estimate of the value."""
    gradient_S: Estimates
    """Squared error of one group's gradient."""
    step_S: Estimates
    """Squared error of a step's gradient at the budget."""
    weight: Estimate
    flat: Estimate


def exact(knobs: KnobsOfGroupSize) -> Exact:
    """All laws at these settings."""
    model, theta_P, R_N = problem()
    flat = difficulty.flat(knobs.group_size, knobs.p)
    return Exact(
        one=noise(model, theta_P, R_N[None]),
        sigma2=float(model.p_N(theta_P) @ np.square(R_N - model.value(theta_P, R_N))),
        many=noise(*prompts(knobs.diversity)),
        weight=weight(knobs.group_size, knobs.p, knobs.filtered),
        flat=flat,
    )


def estimate(knobs: KnobsOfGroupSize, seed: int) -> Found:
    """The same from samples."""
    advantage_S, baseline_S, gradient_S = _one_prompt(seed)
    step_S = _steps(knobs.budget, knobs.diversity, seed)
    factor, flat = _zscored(knobs.group_size, knobs.p, knobs.filtered, seed)
    return Found(advantage_S, baseline_S, gradient_S, step_S, factor, flat)


def noise(model: Toy, theta_P: Floats, R_QN: Floats) -> Noise:
    """The three parts of the variance for prompts that are drawn alike often."""
    p_N, scores_NP = model.p_N(theta_P), model.scores_NP(theta_P)
    norms_N = np.square(scores_NP).sum(1)
    a_QN = R_QN - (R_QN @ p_N)[:, None]
    g_QP = (a_QN * p_N) @ scores_NP
    g2_Q = np.square(g_QP).sum(1)
    return Noise(
        between=float(np.square(g_QP - g_QP.mean(0)).sum(1).mean()),
        within=float((np.square(a_QN) @ (p_N * norms_N) - g2_Q).mean()),
        price=float((np.square(a_QN) @ p_N * (p_N @ norms_N) + g2_Q).mean()),
    )


@lru_cache(maxsize=16)
def prompts(diversity: float) -> tuple[Toy, Floats, Floats]:
    """A toy, its logits, and rewards `(Q, N)`, between their mean over prompts and their own."""
    model, theta_P, _ = problem()
    rng = np.random.default_rng(5)
    own_QN = np.stack(
        [
            np.clip(rng.random(model.N) * rng.random() + rng.random() * 0.5, 0, 1)
            for _ in range(NUM_PROMPTS)
        ]
    )
    shared_N = own_QN.mean(0)
    return model, theta_P, shared_N + diversity * (own_QN - shared_N)


def weight(size: int, p: float, filtered: bool) -> float:
    """w_G(p), over the share of groups with signal where the others are left out."""
    kept = 1 - difficulty.flat(size, p) if filtered else 1.0
    return difficulty.weight(size, p) / kept


@lru_cache(maxsize=16)
def _one_prompt(seed: int) -> tuple[Estimates, Estimates, Estimates]:
    """Variances of advantage, baseline and gradient."""
    model, theta_P, R_N = problem()
    scores_NP, value = model.scores_NP(theta_P), model.value(theta_P, R_N)
    grad_P, rng = model.grad_value_P(theta_P, R_N), np.random.default_rng((seed, 0))
    spread, baseline, gradient = [], [], []
    for size in SIZES:
        index_MG = model.sample(theta_P, (NUM_GROUPS, size), rng)
        R_MG = R_N[index_MG]
        mean_MG, loo_MG = advantages(R_MG, "mean"), advantages(R_MG, "loo")
        off_MP = gradients(loo_MG, scores_NP, index_MG) - grad_P
        spread.append(mean_of(np.square(mean_MG).mean(1)))
        baseline.append(mean_of(np.square(R_MG.mean(1) - value)))
        gradient.append(mean_of(np.square(off_MP).sum(1)))
    return tuple(spread), tuple(baseline), tuple(gradient)


@lru_cache(maxsize=16)
def _steps(budget: int, diversity: float, seed: int) -> Estimates:
    """Squared error of a step's gradient: prompts drawn at random, a group for each."""
    model, theta_P, R_QN = prompts(diversity)
    scores_NP, rng = model.scores_NP(theta_P), np.random.default_rng((seed, 1))
    grad_P = model.grad_value_P(theta_P, R_QN.mean(0))
    num, found = NUM_COMPLETIONS // budget, []
    for size in SIZES:
        prompt = rng.integers(len(R_QN), size=(num, budget // size, 1))
        index = model.sample(theta_P, (num, budget // size, size), rng)
        A = advantages(R_QN[prompt, index], "loo").reshape(num, budget)
        off_MP = gradients(A, scores_NP, index.reshape(num, budget)) - grad_P
        found.append(mean_of(np.square(off_MP).sum(1)))
    return tuple(found)


def _zscored(size: int, p: float, filtered: bool, seed: int) -> tuple[Estimate, Estimate]:
    """Factor of grad p in z-scored gradients, and the share of groups without signal."""
    model, theta_P, scores_NP, R_N, grad_P = _binary(p)
    rng = np.random.default_rng((seed, 2))
    index_MG = model.sample(theta_P, (2 * NUM_GROUPS, size), rng)
    A_MG = advantages(R_N[index_MG], "zscore", delta=0.0, ddof=0)
    along_N1 = (scores_NP @ grad_P / (grad_P @ grad_P))[:, None]
    factor_M = gradients(A_MG, along_N1, index_MG)[:, 0]
    flat_M = np.ptp(R_N[index_MG], axis=1) == 0
    return mean_of(factor_M[~flat_M] if filtered else factor_M), mean_of(flat_M.astype(float))


@lru_cache(maxsize=64)
def _binary(p: float) -> tuple[Toy, Floats, Floats, Floats, Floats]:
    """A toy, logits with success probability `p`, scores, rewards 0 or 1, gradient of p."""
    model, theta_P, R_N = problem("binary")
    theta_P = with_success(model, theta_P, R_N, p)
    return model, theta_P, model.scores_NP(theta_P), R_N, model.grad_value_P(theta_P, R_N)


def verdict(knobs: KnobsOfGroupSize, exact: Exact, found: Found) -> Verdict:
    """Whether the samples agree with the laws, and how good this size is."""
    size, at = knobs.group_size, SIZES.index(knobs.group_size)
    law = exact.many.at(size, knobs.budget)
    offs = {
        "one group's gradient": found.gradient_S[at].z(exact.one.at(size, size)),
        "a step's gradient": found.step_S[at].z(law),
        "the z-score's weight": found.weight.z(exact.weight),
    }
    name, worst = max(offs.items(), key=lambda item: abs(item[1]))
    rule = (
        f"Holds where three sampled numbers at the chosen settings ({', '.join(offs)}) are each "
        f"within {FAR:g} standard errors of their laws, and does not hold otherwise. By chance "
        "alone that comes about for one seed in a hundred."
    )
    claim = (
        f"At $G={size}$ the variances of a group's and of a step's gradient, and the weight of a "
        "prompt with z-scores, are those of the laws."
    )
    if abs(worst) >= FAR:
        off = f"{abs(worst):.1f} standard errors {'above' if worst > 0 else 'below'}"
        return Verdict("fails", f"What was sampled for {name} is {off} its law.", rule, claim)
    return Verdict("holds", _sentence(knobs, exact, law), rule, claim)


def _sentence(knobs: KnobsOfGroupSize, exact: Exact, law: float) -> str:
    size, best = knobs.group_size, exact.many.best
    start = f"At ${knobs.budget}$ completions a step, $G = {size}$ has variance {_plain(law)}"
    if math.isinf(best):
        return (
            f"{start}. All prompts have the same gradient, so nothing speaks against ever larger "
            "groups."
        )
    more = 100 * (law / exact.many.at(best, knobs.budget) - 1)
    return (
        f"{start}, {more:.1f} % more than the least there is. That is at "
        f"$G^\\star = {best:.1f}$, whatever the budget."
    )


def _plain(value: float) -> str:
    """Three digits, without an exponent; `value` is positive."""
    return f"{value:.{2 - math.floor(math.log10(value))}f}"
