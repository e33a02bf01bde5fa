"""Exact ascent of V on the toy, and the constants and bounds of Theorems 1 and 2.

Shape letters: N completions, C prefixes, V tokens, P parameters, X = C V cells; K updates, L marks
among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from studio.theory import many
from studio.theory.toy import Floats, Ints, Toy, problem

NUM_EXACT = 3000
"""Updates."""
STARTS = {"random": None, "unlikely": 1e-3, "hidden": 1e-5}
"""Probability of the best completion before the first update; None is as the logits fall."""


@dataclass(frozen=True)
class Setting:
    """A toy with its start, and the numbers the theorems ask for."""

    model: Toy
    theta_P: Floats
    R_N: Floats
    best: int
    """The completion with the highest reward."""

    @property
    def span(self) -> float:
        return float(np.ptp(self.R_N))

    @property
    def smoothness(self) -> float:
        """L: half the span bounds the second derivatives of V."""
        return self.span / 2

    @property
    def gap(self) -> float:
        """V* - V at the start."""
        return float(self.R_N[self.best]) - self.model.value(self.theta_P, self.R_N)

    @property
    def ceiling(self) -> float:
        """span^2 / 8: no policy's squared gradient is larger, so a bound above says nothing."""
        return self.span**2 / 8

    def noise(self, group_size: int) -> float:
        """nu^2 of Theorem 1: bounds the trace of the variance of the leave-one-out estimate."""
        size = group_size
        return self.span**2 * self.model.T * (1 / size + 1 / (4 * size * (size - 1)))

    def theorem_1(self, step: float, noise: float, num: Ints | int) -> Floats:
        """Bound of the mean squared gradient over `num` updates."""
        length = step / self.smoothness
        return np.asarray(2 * self.gap / (length * num) + self.smoothness * length * noise)

    def best_theorem_1(self, group_size: int, num: int) -> float:
        """The same at the step size that makes it smallest."""
        return 2 * math.sqrt(2 * self.gap * self.smoothness * self.noise(group_size) / num)


@lru_cache(maxsize=8)
def setting(start: str) -> Setting:
    """Random logits; for an unlikely start every token of the best completion is made rarer."""
    model, theta_P, R_N = problem(seed=0, scale=0.5)
    best, probability = int(R_N.argmax()), STARTS[start]
    if probability is not None:
        theta_CV = theta_P.copy().reshape(model.C, model.V)
        each = probability ** (1 / model.T)
        for c, token in zip(model.prefix_NT[best], model.token_NT[best], strict=True):
            others = np.delete(theta_CV[c], token)
            theta_CV[c, token] = np.log(np.exp(others).sum()) + math.log(each / (1 - each))
        theta_P = theta_CV.ravel()
    return Setting(model, theta_P, R_N, best)


def marks(last: int, num: int = 120) -> Ints:
    """About `num` whole numbers from 1 to `last`, even on a logarithmic axis."""
    return np.unique(np.round(np.geomspace(1, last, num)).astype(int))


# --- exact updates --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ascent:
    """Exact expected updates, after each of `num_L` of them."""

    num_L: Ints
    gap_L: Floats
    path_bound_L: Floats
    """Theorem 2 with the probability of the best completion at each update so far."""
    worst_bound_L: Floats
    """Theorem 2 with the smallest of them."""
    mean_square_L: Floats
    """Mean of ||gradient of V||^2 over the updates so far."""
    domination: float
    """The smallest ||gradient|| sqrt(T) / (pi(best) (V* - V)) on the way: at least 1."""
    rarest: float
    """The smallest probability of the best completion on the way."""


@lru_cache(maxsize=64)
def ascend(step: float, start: str) -> Ascent:
    """`NUM_EXACT` updates by c eta times the gradient of V, with c eta = `step` / L."""
    at = setting(start)
    model, uses_NX, length = at.model, many.uses_NX(at.model), step / at.smoothness
    theta_X, p_best, gaps, squares = at.theta_P[None], [], [], []
    for _ in range(NUM_EXACT + 1):
        logp_X = many.logp_RX(model, theta_X)
        p_N = np.exp(logp_X @ uses_NX.T)[0]
        value = float(p_N @ at.R_N)
        gradient_X = many.pull_RX(model, ((p_N * (at.R_N - value)) @ uses_NX)[None], logp_X)
        p_best.append(p_N[at.best])
        gaps.append(at.R_N[at.best] - value)
        squares.append(float(np.square(gradient_X).sum()))
        theta_X = theta_X + length * gradient_X
    p_K, gap_K, square_K = np.array(p_best), np.array(gaps), np.array(squares)
    num_L = marks(NUM_EXACT)
    rate = length / (2 * model.T)
    rarest_L = np.minimum.accumulate(p_K)[num_L - 1]
    return Ascent(
        num_L,
        gap_K[num_L],
        1 / (1 / gap_K[0] + rate * np.cumsum(np.square(p_K))[num_L - 1]),
        1 / (rate * np.square(rarest_L) * num_L),
        (np.cumsum(square_K) / np.arange(1, len(square_K) + 1))[num_L - 1],
        float((np.sqrt(square_K * model.T) / (p_K * gap_K)).min()),
        float(p_K.min()),
    )
