"""What each way to put a KL into an update follows: estimator and place, on the toy.

With l = log pi/pi_ref of a token: k1 = l, k2 = l^2/2, k3 = exp(-l) - 1 + l; r = pi/pi_old.
Every way adds a number times the score of each token; the number is its coefficient.

Shape letters: N completions, T time, C prefixes, V tokens, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.toy import Toy, problem

Floats = NDArray[np.float64]

FORMS = (
    "k1 in loss",
    "k2 in loss",
    "k3 in loss",
    "r·k3 in loss",
    "k1 in reward",
    "k3 in reward",
)


def k3(ell: Floats) -> Floats:
    """exp(-l) - 1 + l, never negative."""
    return np.asarray(np.expm1(-ell) + ell)


def coefficients(form: str, logp_NT: Floats, ref_NT: Floats, old_NT: Floats) -> Floats:
    """What the score of each token is multiplied by in the gradient of the KL term, `(N, T)`.

    In the loss it is the derivative of the estimate by the token's log-prob; in the reward, the
    completion's estimate at the policy that sampled, times the token's ratio (no baseline). Tokens
    behind the end have log-probs 0. Raises KeyError on an unknown form.
    """
    ell_NT, ratio_NT = logp_NT - ref_NT, np.exp(logp_NT - old_NT)
    old_ell_NT = old_NT - ref_NT
    in_reward = {"k1 in reward": old_ell_NT, "k3 in reward": k3(old_ell_NT)}
    if form in in_reward:
        return np.asarray(in_reward[form].sum(1, keepdims=True) * ratio_NT)
    return {
        "k1 in loss": np.ones_like(ell_NT),
        "k2 in loss": ell_NT,
        "k3 in loss": -np.expm1(-ell_NT),
        "r·k3 in loss": ratio_NT * ell_NT,
    }[form]


@dataclass(frozen=True)
class Setup:
    """The toy with its policy, the reference and the policy that sampled."""

    model: Toy
    theta_P: Floats
    ref_P: Floats
    old_P: Floats


@lru_cache(maxsize=64)
def setup(drift: float, moved: float) -> Setup:
    """Reference and sampling policy: the logits plus noise of these standard deviations."""
    model, theta_P, _ = problem()
    ref_P = theta_P + drift * np.random.default_rng(4).normal(size=model.P)
    old_P = theta_P + moved * np.random.default_rng(8).normal(size=model.P)
    return Setup(model, theta_P, ref_P, old_P)


@lru_cache(maxsize=64)
def completions(form: str, drift: float, moved: float) -> Floats:
    """The gradient that each completion contributes, `(N, P)`. In the reward, a known mean is taken
    off first, as a group's baseline would: it does not change the expectation."""
    at = setup(drift, moved)
    logps = (at.model.token_logp_NT(each) for each in (at.theta_P, at.ref_P, at.old_P))
    logp_NT, ref_NT, old_NT = logps
    weights_NT = coefficients(form, logp_NT, ref_NT, old_NT)
    if form.endswith("reward"):
        ratio_NT = np.exp(logp_NT - old_NT)
        mean = at.model.p_N(at.old_P) @ (weights_NT / ratio_NT)[:, 0]
        weights_NT = weights_NT - mean * ratio_NT
    return np.einsum("nt,ntp->np", weights_NT, at.model.scores_NTP(at.theta_P))


def expected(form: str, drift: float, moved: float) -> Floats:
    """Its mean over completions of the policy that sampled, `(P,)`."""
    at = setup(drift, moved)
    return np.asarray(at.model.p_N(at.old_P) @ completions(form, drift, moved))


@dataclass(frozen=True)
class Targets:
    """The gradients one may want, `(P,)` each."""

    whole_P: Floats
    """Of KL(pi || pi_ref) of whole completions."""
    reverse_P: Floats
    """Of KL(pi || pi_ref) of each next token, prefixes held where the samples were."""
    forward_P: Floats
    """Of KL(pi_ref || pi) of each next token, likewise."""


@lru_cache(maxsize=64)
def targets(drift: float, moved: float) -> Targets:
    """All three, exactly."""
    at = setup(drift, moved)
    logp_CV, ref_CV = at.model.logp_CV(at.theta_P), at.model.logp_CV(at.ref_P)
    pi_CV, ell_CV = np.exp(logp_CV), logp_CV - ref_CV
    visits_C1 = at.model.visits_C(at.old_P)[:, None]
    kl_C1 = (pi_CV * ell_CV).sum(1, keepdims=True)
    reverse_CV = visits_C1 * pi_CV * (ell_CV - kl_C1)
    forward_CV = visits_C1 * (pi_CV - np.exp(ref_CV))
    whole_P = at.model.grad_kl_P(at.theta_P, at.ref_P)
    return Targets(whole_P, reverse_CV.ravel(), forward_CV.ravel())


def trace(form: str, drift: float, moved: float) -> float:
    """Trace of the covariance of one completion's contribution."""
    at = setup(drift, moved)
    second = at.model.p_N(at.old_P) @ np.square(completions(form, drift, moved)).sum(1)
    return float(second) - float(np.square(expected(form, drift, moved)).sum())


# --- as values: one token out of 16 ---------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """One softmax and its reference, and the three estimates of their KL."""

    p_V: Floats
    k_3V: Floats
    """k1, k2 and k3 of each token."""

    @property
    def mean_3(self) -> Floats:
        """Expectation of each; the first and the last are the KL."""
        return np.asarray(self.k_3V @ self.p_V)

    @property
    def sd_3(self) -> Floats:
        """Standard deviation of each."""
        return np.asarray(np.sqrt(np.square(self.k_3V - self.mean_3[:, None]) @ self.p_V))


@lru_cache(maxsize=64)
def values(drift: float) -> Values:
    """Logits `drift` times a random direction away from the reference."""
    rng = np.random.default_rng(1)
    ref_V, direction_V = rng.normal(size=16), rng.normal(size=16)
    logits_V = ref_V + drift * direction_V
    logp_V = logits_V - np.log(np.exp(logits_V).sum())
    ell_V = logp_V - ref_V + np.log(np.exp(ref_V).sum())
    return Values(np.exp(logp_V), np.stack([ell_V, np.square(ell_V) / 2, k3(ell_V)]))
