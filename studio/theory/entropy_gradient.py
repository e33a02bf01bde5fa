"""The gradient of a policy's entropy: exact, by sampling, in two parts, and what steps along and
against it do.

With s the score of a completion, grad H = -E[log pi(o) s] = -Cov(log pi, s). It has two parts: of
each token's own entropy (the usual bonus), and of the entropy of all later tokens. Derivations in
`texts/entropy_gradient.md`.

Shape letters: M samples, N completions, T time, C prefixes, V tokens, P = C V parameters, S steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studio.theory.entropy_steps import (
    NUM_STEPS,
    SIGNS,
    bandit,
    entropy,
    expected_path,
    sampled_changes,
    sampled_paths,
)
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import FAR, Agreement, Estimate, Verdict, agreement, mean_of
from studio.theory.toy import Toy, problem

Floats = NDArray[np.float64]

Kind = Literal["holds", "fails", "open", "differs"]


@dataclass(frozen=True)
class KnobsOfEntropyGradient(Knobs):
    """What can be turned."""

    estimator: str = one_of(
        "whole",
        ("whole", "per token", "sampled surprise"),
        "Estimator",
        help="How completions become a gradient of H: the score weighted by the surprise of the "
        "whole completion; the exact entropy of each token's distribution, as an entropy bonus "
        "does it; or simply differentiating the surprise of what was sampled.",
    )
    samples: int = one_of(
        20_000, (5_000, 20_000, 50_000), "Sampled completions", help="Only in *Two parts*."
    )
    spread: float = number(
        1.0,
        0.25,
        1.25,
        "Spread of the logits",
        step=0.25,
        help="Standard deviation of the toy's logits: how far the policy is from uniform. "
        "Only in *Two parts*.",
    )
    alpha: float = number(
        0.1,
        0.02,
        0.5,
        "α: weight of the entropy",
        step=0.02,
        help="Added once and subtracted once. Only in *With and against*.",
    )
    eta: float = one_of(
        1.0,
        (0.25, 0.5, 1.0, 2.0, 4.0),
        "η: size of a step",
        help="Of every gradient step here. Not in *Two parts*.",
    )


@dataclass(frozen=True)
class Parts:
    """The gradient of the toy's entropy and its parts, `(P,)` each; shares by position, `(T,)`."""

    entropy: float
    gradient_P: Floats
    token_P: Floats
    """Of each token's own entropy, prefixes held fixed."""
    future_P: Floats
    """Of how likely the prefixes are: the entropy of later tokens."""
    token_shares_T: Floats
    """Of the squared length of the gradient, by the position of the token; both sum to 1."""
    future_shares_T: Floats

    @property
    def token_error(self) -> float:
        """What the token part lacks, over the length of the gradient."""
        return float(np.linalg.norm(self.future_P) / np.linalg.norm(self.gradient_P))

    @property
    def token_cosine(self) -> float:
        """Between the token part and the gradient."""
        lengths = np.linalg.norm(self.token_P) * np.linalg.norm(self.gradient_P)
        return float(self.token_P @ self.gradient_P / lengths)


@dataclass(frozen=True)
class Exact:
    """What is worked out."""

    parts: Parts
    paths: tuple[Floats, ...]
    """H before each step along the expected gradient, `(S + 1,)`, for each of `SIGNS`."""
    limit: float
    """H of softmax(r / alpha), where +alpha H ends."""


@dataclass(frozen=True)
class Found:
    """What is sampled."""

    agreement: Agreement
    """Of the chosen estimator with the whole gradient of H."""
    shares: tuple[Estimate, ...]
    """Of the chosen estimator, by position: projected as in `Parts`."""
    paths: tuple[tuple[Estimate, ...], ...]
    """H at every `EVERY`th step of GRPO runs, for each of `SIGNS`."""
    changes: tuple[Estimate, ...]
    """Of H by one step on a sampled group, at `MARKS`."""

    @property
    def ends(self) -> tuple[Estimate, ...]:
        """H after the last step, for each of `SIGNS`."""
        return tuple(path[-1] for path in self.paths)


# --- the gradient of a toy language model ---------------------------------------------------------


def token_gradients_CV(model: Toy, theta_P: Floats) -> Floats:
    """Gradient of each prefix's own entropy by its logits: -pi (log pi + H)."""
    logp_CV = model.logp_CV(theta_P)
    pi_CV = np.exp(logp_CV)
    entropy_C = -(pi_CV * logp_CV).sum(1)
    return -pi_CV * (logp_CV + entropy_C[:, None])


def future_entropy_NT(model: Toy, theta_P: Floats) -> Floats:
    """Sum of the entropies of the distributions behind each token of each completion."""
    logp_CV = model.logp_CV(theta_P)
    own_NT = -(np.exp(logp_CV) * logp_CV).sum(1)[model.prefix_NT] * model.mask_NT
    return np.asarray(own_NT.sum(1, keepdims=True) - own_NT.cumsum(1))


def parts(model: Toy, theta_P: Floats) -> Parts:
    """Gradient of the entropy of completions, its two parts and their shares."""
    gradient_P = model.grad_entropy_P(theta_P)
    token_P = (model.visits_C(theta_P)[:, None] * token_gradients_CV(model, theta_P)).ravel()
    later_NT = future_entropy_NT(model, theta_P)
    weights_NT = model.p_N(theta_P)[:, None] * later_NT
    future_P = np.einsum("nt,ntp->p", weights_NT, model.scores_NTP(theta_P))
    return Parts(
        entropy=model.entropy(theta_P),
        gradient_P=gradient_P,
        token_P=token_P,
        future_P=future_P,
        token_shares_T=shares_T(model, token_P, gradient_P),
        future_shares_T=shares_T(model, future_P, gradient_P),
    )


def shares_T(model: Toy, part_XP: Floats, gradient_P: Floats) -> Floats:
    """Projection of vectors on the gradient, over its squared length, by the position that the
    parameters belong to: `(..., T)`."""
    position_P = np.repeat([len(prefix) for prefix in model.prefixes], model.V)
    product_XP = part_XP * gradient_P / (gradient_P @ gradient_P)
    by_position = [product_XP[..., position_P == t].sum(-1) for t in range(model.T)]
    return np.stack(by_position, axis=-1)


def contributions_NP(model: Toy, theta_P: Floats, estimator: str) -> Floats:
    """What each completion adds to the chosen estimate of the gradient of H."""
    if estimator == "whole":
        surprise_N = -model.logp_N(theta_P)
        # less H, a baseline: the mean stays, the noise does not
        centred_N = surprise_N - model.entropy(theta_P)
        return np.asarray(centred_N[:, None] * model.scores_NP(theta_P))
    if estimator == "per token":
        each_CV = token_gradients_CV(model, theta_P)
        return (model.through_CN.T[:, :, None] * each_CV).reshape(model.N, model.P)
    return -model.scores_NP(theta_P)


@lru_cache(maxsize=16)
def _toy_policy(spread: float) -> tuple[Toy, Floats]:
    model, theta_P, _ = problem("graded", scale=spread)
    return model, theta_P


@lru_cache(maxsize=16)
def _parts(spread: float) -> Parts:
    return parts(*_toy_policy(spread))


# --- the three functions of a card ----------------------------------------------------------------


def exact(knobs: KnobsOfEntropyGradient) -> Exact:
    """By enumeration of the toy, and along expected gradients."""
    limit = float(entropy(bandit()[1] / knobs.alpha))
    paths = tuple(expected_path(sign * knobs.alpha, knobs.eta) for sign in SIGNS)
    return Exact(_parts(knobs.spread), paths, limit)


def estimate(knobs: KnobsOfEntropyGradient, seed: int) -> Found:
    """By samples of the toy, and by runs on sampled groups."""
    seen, shares = _sampled_gradient(knobs.estimator, knobs.samples, knobs.spread, seed)
    paths = sampled_paths(knobs.alpha, knobs.eta, seed)
    return Found(seen, shares, paths, sampled_changes(knobs.eta, seed))


@lru_cache(maxsize=64)
def _sampled_gradient(
    estimator: str, samples: int, spread: float, seed: int
) -> tuple[Agreement, tuple[Estimate, ...]]:
    model, theta_P = _toy_policy(spread)
    gradient_P = _parts(spread).gradient_P
    index_M = model.sample(theta_P, (samples,), np.random.default_rng([seed, 2]))
    each_NP = contributions_NP(model, theta_P, estimator)
    shares_MT = shares_T(model, each_NP, gradient_P)[index_M]
    return agreement(each_NP[index_M], gradient_P), tuple(mean_of(s) for s in shares_MT.T)


RULE = (
    f"Two tests: (1) the projection of the sampled gradient on $\\nabla H$ within {FAR:g} standard "
    "errors of 1, and no direction off by more than chance ($|z_{\\chi^2}| < 4$); (2) $H$ after "
    f"$+\\alpha H$, none, $-\\alpha H$ falls, each gap above {FAR:g} standard errors. Both: "
    "*holds*. A gap the other way, or (1) not met by the whole gradient: *does not hold*. (1) not "
    "met by one of the other two estimators: *not as often said*. A gap within "
    f"{FAR:g} standard errors, or one of those two not told apart: *no verdict*."
)


def verdict(knobs: KnobsOfEntropyGradient, worked: Exact, found: Found) -> Verdict:
    """Two tests: the estimator against the gradient of H, and the order of three runs."""
    plus, none, minus = found.ends
    gaps = (_gap(plus, none), _gap(none, minus))
    ends = (
        f"after {NUM_STEPS} steps $H$ is {plus.value:.3g} with $+\\alpha H$, {none.value:.3g} "
        f"without and {minus.value:.3g} with $-\\alpha H$"
    )
    measured = f"{_signed(found.agreement.ratio.value)} ± {1.96 * found.agreement.ratio.se:.2g}"
    kind = _kind(knobs, found, gaps)
    sentence = _sentence(knobs, worked, measured, ends)
    if kind == "open":
        close = min(gaps) <= FAR
        sentence += " No verdict: " + (
            "two of the three runs end too close to be told apart."
            if close and (knobs.estimator == "whole" or found.agreement.holds)
            else "so few samples do not tell this estimator from $\\nabla H$."
        )
    claim = (
        f"The estimator *{knobs.estimator}* has the mean $\\nabla H$, and $+\\alpha H$ leaves "
        "more entropy than no such term, $-\\alpha H$ less."
    )
    return Verdict(kind, sentence, RULE, claim)


def _kind(knobs: KnobsOfEntropyGradient, found: Found, gaps: tuple[float, float]) -> Kind:
    right, whole = found.agreement.holds, knobs.estimator == "whole"
    if min(gaps) < -FAR or (whole and not right):
        return "fails"
    if not whole and not right:
        return "differs"
    return "holds" if whole and min(gaps) > FAR else "open"


def _sentence(knobs: KnobsOfEntropyGradient, worked: Exact, measured: str, ends: str) -> str:
    start = {
        "whole": f"Sampled over exact gradient of $H$: {measured}",
        "per token": "An entropy per token leaves out that of later tokens, a part "
        f"{100 * worked.parts.token_error:.0f} % as long as $\\nabla H$ (projection {measured})",
        "sampled surprise": "Differentiating the surprise of what was sampled follows nothing "
        f"(projection {measured}): its mean is 0",
    }[knobs.estimator]
    return f"{start}; {ends}."


def _gap(higher: Estimate, lower: Estimate) -> float:
    """The difference of two independent means, in its standard errors."""
    return (higher.value - lower.value) / math.hypot(higher.se, lower.se)


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
