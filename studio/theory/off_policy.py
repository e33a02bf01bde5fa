"""Which ratio leads back to the gradient when the policy has moved since it sampled?

Shape letters: N completions of the toy, T time, P parameters, K kinds of ratio, D distances,
M sampled completions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.digits import n as digits
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import Estimate, Verdict, mean_of
from studio.theory.toy import Toy, toy

Floats = NDArray[np.float64]

RATIOS = ("token", "clipped", "prefix", "sequence", "normalised", "none")
FURTHEST = 8.0
DISTANCES = np.linspace(0, FURTHEST, 33)
MARKED = DISTANCES[::4]
"""Those at which the chosen ratio is also sampled."""
EXACT = 1e-9
"""A mean this close to the gradient, relative to it, is the gradient."""
ENOUGH = 200.0
"""Completions that must carry the sample before it may contradict what was worked out."""


@dataclass(frozen=True)
class KnobsOfOffPolicy(Knobs):
    ratio: str = one_of(
        "token",
        RATIOS,
        "Ratio",
        help="Of each token; the same with PPO's clip; the product up to the token; that of the "
        "whole completion; its geometric mean over the tokens (GSPO); none.",
    )
    distance: float = number(
        4.0, 0.0, FURTHEST, "Distance moved", step=0.25, help="In the logits, in one direction."
    )
    clip: float = number(
        0.2, 0.05, 0.95, "Clip ε", step=0.05, help="Only of the ratio *clipped* and its lines."
    )
    length: int = one_of(3, (1, 2, 3, 4), "Tokens of a completion")
    num_samples: int = one_of(5000, (1000, 5000, 20000), "Completions sampled")


@dataclass(frozen=True)
class Means:
    """What each ratio's mean update is, at one distance; relative to the gradient at theta."""

    tv: float
    """The largest total variation between new and old policy after any prefix."""
    max_ratio: float
    effective: float
    """1 / E of the squared ratio of completions: the share of a sample that still counts."""
    error_K: Floats
    cosine_K: Floats
    """NaN where every token is clipped: no direction."""
    noise_K: Floats
    """tr Var of one completion's update over the gradient's squared length."""


@dataclass(frozen=True)
class Law:
    """At the chosen distance, and at all `DISTANCES`."""

    here: Means
    along: tuple[Means, ...]

    def curve(self, of: str, ratio: str) -> Floats:
        """`error`, `cosine` or `noise` by distance."""
        return np.array([getattr(m, f"{of}_K")[RATIOS.index(ratio)] for m in self.along])

    @property
    def tv_D(self) -> Floats:
        return np.array([means.tv for means in self.along])


@dataclass(frozen=True)
class Sampled:
    """One ratio from completions of the old policy."""

    error: Estimate
    """Along the exact error (along the gradient where there is none)."""
    part: Estimate
    """Part of the gradient in the mean update: its projection, over the gradient's length."""
    exact_part: float
    noise: Estimate
    carried: float
    """How many completions carry the sample: (sum of lengths of updates)^2 / sum of squares; 0
    without an update."""


@dataclass(frozen=True)
class Found:
    """At the chosen distance, and at the `MARKED` ones."""

    here: Sampled
    along: tuple[Sampled, ...]


def exact(knobs: KnobsOfOffPolicy) -> Law:
    """All six ratios at all distances."""
    here = _means(knobs.length, knobs.distance, knobs.clip)
    return Law(here, _means_along(knobs.length, knobs.clip))


def estimate(knobs: KnobsOfOffPolicy, seed: int) -> Found:
    """The chosen ratio; the same completions at all distances: the old policy drew them."""
    index_M = _drawn(knobs.length, knobs.num_samples, seed)
    at = (knobs.distance, *MARKED)
    found = [_sample(knobs.length, d, knobs.ratio, knobs.clip, index_M) for d in at]
    return Found(found[0], tuple(found[1:]))


def verdict(knobs: KnobsOfOffPolicy, exact: Law, found: Found) -> Verdict:
    """Is the mean update the gradient?"""
    here, kind = found.here, RATIOS.index(knobs.ratio)
    error, cosine = float(exact.here.error_K[kind]), float(exact.here.cosine_K[kind])
    agrees = here.error.agrees(error) and here.part.agrees(here.exact_part)
    rule = (
        "First the sample: it does not agree if it is three standard errors or more off the exact "
        f"mean and at least {ENOUGH:.0f} completions carry it; no verdict if it is as far off and "
        "fewer carry it. Then the claim: it holds if the exact mean is within $10^{-9}$ of the "
        "gradient, and is not as often said otherwise."
    )
    where = f"At a total variation of {digits(exact.here.tv, 2)}"
    if not agrees:
        few = here.carried < ENOUGH
        name, seen, law = "error", here.error, error
        if seen.agrees(law):
            name, seen, law = "part of $\\nabla V$", here.part, here.exact_part
        text = (
            f"{where} the sampled {name} is {digits(seen.value, 3)}, the exact one "
            f"{digits(law, 3)}; {here.carried:.0f} of {knobs.num_samples} completions "
            "carry the sample."
        )
        if few:
            text += " No verdict: with so few of them the band is itself too narrow."
        agreed = "The sampled mean update is the one that was worked out."
        return Verdict("open" if few else "fails", text, rule, agreed)
    claim = f"With the ratio `{knobs.ratio}` the mean update is the gradient at the new policy."
    variance = digits(float(exact.here.noise_K[kind]))
    noise = f"One completion's variance is {variance} times $\\Vert\\nabla V\\Vert^2$."
    if error < EXACT:
        return Verdict("holds", f"{where} the mean update is the gradient. {noise}", rule, claim)
    turned = f"cosine {digits(cosine, 3)}" if math.isfinite(cosine) else "with nothing left of it"
    text = (
        f"{where} the mean update is {digits(100 * error, 3)} % off the gradient, {turned}. {noise}"
    )
    return Verdict("differs", text, rule, claim)


# --- ratios -----------------------------------------------------------------------------------


def coefficients(
    ratio_NT: Floats, A_N: Floats, lengths_N: NDArray[np.int64], kind: str, clip: float
) -> Floats:
    """What stands before the score of each token, `(N, T)`. Ratios are 1 behind the end.

    `normalised` is GSPO's ratio with the tokens summed, not averaged: the same direction for
    completions of one length, and comparable with the others. Raises KeyError on another kind.
    """
    A_N1 = A_N[:, None]
    whole_N1 = ratio_NT.prod(1)[:, None]
    every = {
        "token": ratio_NT * A_N1,
        "clipped": passes(ratio_NT, A_N1, clip) * ratio_NT * A_N1,
        "prefix": np.cumprod(ratio_NT, 1) * A_N1,
        "sequence": whole_N1 * A_N1,
        "normalised": whole_N1 ** (1 / lengths_N[:, None]) * A_N1,
        "none": A_N1,
    }
    return np.broadcast_to(every[kind], ratio_NT.shape)


def passes(ratio_NT: Floats, A_N1: Floats, clip: float) -> NDArray[np.bool_]:
    """Tokens that have a gradient under PPO's clip: m of the formula."""
    above = (A_N1 > 0) & (ratio_NT > 1 + clip)
    return ~(above | ((A_N1 < 0) & (ratio_NT < 1 - clip)))


@dataclass(frozen=True)
class _Moved:
    """The toy after the policy has moved."""

    model: Toy
    p_N: Floats
    """Of the old policy, that samples."""
    ratio_NT: Floats
    A_N: Floats
    """R - V of the old policy: the advantage in an endless group."""
    scores: Floats
    """Of the new policy, `(N T, P)`."""
    grad_P: Floats
    tv: float


def setting(length: int) -> tuple[Toy, Floats, Floats, Floats]:
    """The toy, its old logits, its rewards, and the direction in which it moves: as far after each
    prefix whatever the length."""
    model, rng = toy(4, length), np.random.default_rng(0)
    theta_P = rng.normal(0, 1, model.P)
    R_N = rng.random(model.N)
    toward_P = np.random.default_rng(7).normal(size=model.P)
    toward_P *= math.sqrt(model.C / toy(4, 3).C) / np.linalg.norm(toward_P)
    return model, theta_P, R_N, toward_P


@lru_cache(maxsize=64)
def _moved(length: int, distance: float) -> _Moved:
    model, old_P, R_N, toward_P = setting(length)
    theta_P = old_P + distance * toward_P
    p_N = model.p_N(old_P)
    apart_CV = np.exp(model.logp_CV(theta_P)) - np.exp(model.logp_CV(old_P))
    return _Moved(
        model=model,
        p_N=p_N,
        ratio_NT=np.exp(model.token_logp_NT(theta_P) - model.token_logp_NT(old_P)),
        A_N=R_N - p_N @ R_N,
        scores=model.scores_NTP(theta_P).reshape(-1, model.P),
        grad_P=model.grad_value_P(theta_P, R_N),
        tv=float(0.5 * np.abs(apart_CV).sum(1).max()),
    )


def _mean_and_noise(moved: _Moved, coefficient_NT: Floats) -> tuple[Floats, float]:
    mean_P = (coefficient_NT * moved.p_N[:, None]).reshape(-1) @ moved.scores
    # tokens of one completion have scores in different prefixes: their squares add up
    length2_NT = np.square(moved.scores).sum(1).reshape(coefficient_NT.shape)
    square = float(moved.p_N @ (np.square(coefficient_NT) * length2_NT).sum(1))
    return mean_P, square - float(mean_P @ mean_P)


def _means(length: int, distance: float, clip: float) -> Means:
    moved = _moved(length, distance)
    grad_P, size = moved.grad_P, float(np.linalg.norm(moved.grad_P))
    error, cosine, noise = [], [], []
    for kind in RATIOS:
        c_NT = coefficients(moved.ratio_NT, moved.A_N, moved.model.lengths_N, kind, clip)
        mean_P, variance = _mean_and_noise(moved, c_NT)
        error.append(float(np.linalg.norm(mean_P - grad_P)) / size)
        long = float(np.linalg.norm(mean_P))
        cosine.append(float(mean_P @ grad_P) / size / long if long else math.nan)
        noise.append(variance / size**2)
    return Means(
        tv=moved.tv,
        max_ratio=float(moved.ratio_NT.max()),
        effective=1 / float(moved.p_N @ np.square(moved.ratio_NT.prod(1))),
        error_K=np.array(error),
        cosine_K=np.array(cosine),
        noise_K=np.array(noise),
    )


@lru_cache(maxsize=64)
def _means_along(length: int, clip: float) -> tuple[Means, ...]:
    return tuple(_means(length, float(d), clip) for d in DISTANCES)


# --- samples ----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _drawn(length: int, num_samples: int, seed: int) -> NDArray[np.int64]:
    model, theta_P, _, _ = setting(length)
    return model.sample(theta_P, (num_samples,), np.random.default_rng(seed))


def _sample(
    length: int, distance: float, kind: str, clip: float, index_M: NDArray[np.int64]
) -> Sampled:
    moved = _moved(length, distance)
    c_NT = coefficients(moved.ratio_NT, moved.A_N, moved.model.lengths_N, kind, clip)
    mean_P, _ = _mean_and_noise(moved, c_NT)
    grad_P, size = moved.grad_P, float(np.linalg.norm(moved.grad_P))
    off_P = mean_P - grad_P
    is_off = np.linalg.norm(off_P) > EXACT * size
    toward_P = off_P / np.linalg.norm(off_P) if is_off else grad_P / size
    shape = (moved.model.N, moved.model.T, moved.model.P)
    update_NP = np.einsum("nt,ntp->np", c_NT, moved.scores.reshape(shape))
    error_N = (update_NP @ toward_P - grad_P @ toward_P) / size
    spread_N = np.square(update_NP - mean_P).sum(1) / size**2
    length_M = np.linalg.norm(update_NP, axis=1)[index_M]
    square = float(np.square(length_M).sum())
    return Sampled(
        error=mean_of(error_N[index_M]),
        part=mean_of((update_NP @ grad_P)[index_M] / size**2),
        exact_part=float(mean_P @ grad_P) / size**2,
        noise=mean_of(spread_N[index_M]),
        carried=float(length_M.sum()) ** 2 / square if square else 0.0,
    )
