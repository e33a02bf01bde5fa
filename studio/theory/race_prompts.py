"""Prompts on which GRPO and PPO race: what a completion earns on average, and the policy all begin
with.

Every prompt has 64 completions of 3 tokens out of 4, and a table of logits of its own for every
prefix. A completion earns 1 with probability mu = sigmoid(b + an effect of each token after its
prefix), else 0. As mu is known, V, V* and the value of every prefix are finite sums.

Shape letters: S seeds, Q prompts, V tokens of the vocabulary (first: sums over it are fast),
C = 21 prefixes in the order of `toy.Toy`, X = 16 prefixes of two tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

VOCABULARY, LENGTH, PREFIXES = 4, 3, 21
SPREAD_OF_LOGITS = 0.5
"""Standard deviation of the initial logits."""


@dataclass(frozen=True)
class Regime:
    """A kind of prompts. Standard deviations are of normal draws, in logits of mu."""

    says: str
    num_prompts: int = 32
    iterations: int = 200
    """Length of a race, about where the curves flatten."""
    bias: tuple[float, float] = (-1.0, 1.5)
    """Mean and standard deviation of b, the ease of a prompt."""
    effects: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Standard deviation of the effect of the first, second and third token."""
    exact_critic: bool = False
    """Whether the critic starts with the true values, not at 0."""


REGIMES = {
    "base": Regime("32 prompts, some easy, some hard"),
    "uniform": Regime("32 prompts, all alike", bias=(-0.5, 0.0)),
    "few": Regime("4 prompts", num_prompts=4, iterations=60),
    "strategy": Regime("the first token decides", effects=(2.5, 0.3, 0.3)),
    "pretrained": Regime("as base, but the critic is right at the start", exact_critic=True),
    "sparse": Regime("hardly ever right", iterations=400, bias=(-5.0, 0.5), effects=(1.5,) * 3),
    "many": Regime("128 prompts", num_prompts=128, iterations=240),
}


@dataclass(frozen=True)
class Prompts:
    """The prompts of several seeds."""

    mu_VSQX: Floats
    """Probability that a completion is right: by its last token, and the two before it."""
    theta_VSQC: Floats
    """Initial logits."""

    @property
    def best_S(self) -> Floats:
        """V*: what the best completion of each prompt earns, on average over the prompts."""
        return np.asarray(self.mu_VSQX.max((0, 3)).mean(1))


def make(regime: str, seeds: tuple[int, ...]) -> Prompts:
    """Prompts and initial policy of each seed; a seed's do not depend on the others."""
    made = [_make_one(REGIMES[regime], seed) for seed in seeds]
    return Prompts(np.stack([m for m, _ in made], 1), np.stack([t for _, t in made], 1))


def _make_one(regime: Regime, seed: int) -> tuple[Floats, Floats]:
    rng, num = np.random.default_rng(10_000 + seed), regime.num_prompts
    bias_Q = regime.bias[0] + rng.normal(0.0, regime.bias[1], num)
    first, second, third = (
        rng.normal(0.0, spread, (num, VOCABULARY ** (t + 1)))
        for t, spread in enumerate(regime.effects)
    )
    x_QXV = (second + np.repeat(first, VOCABULARY, 1))[..., None] + third.reshape(num, -1, 4)
    mu_QXV = 1 / (1 + np.exp(-(bias_Q[:, None, None] + x_QXV)))
    theta_QCV = rng.normal(0.0, SPREAD_OF_LOGITS, (num, PREFIXES, VOCABULARY))
    return np.moveaxis(mu_QXV, 2, 0), np.moveaxis(theta_QCV, 2, 0)


def softmax(logits_V: Floats) -> Floats:
    """Over the first axis."""
    weights = np.exp(logits_V - logits_V.max(0))
    return np.asarray(weights / weights.sum(0))


def prefix_values(pi_VSQC: Floats, mu_VSQX: Floats) -> Floats:
    """Expected reward from each prefix on, `(S, Q, C)`; the first is V of the prompt."""
    third_SQX = (pi_VSQC[..., 5:] * mu_VSQX).sum(0)
    second_SQ4 = (pi_VSQC[..., 1:5] * _after(third_SQX)).sum(0)
    root_SQ1 = (pi_VSQC[..., :1] * _after(second_SQ4)).sum(0)
    return np.concatenate([root_SQ1, second_SQ4, third_SQX], -1)


def expected_update(pi_VSQC: Floats, mu_VSQX: Floats, critic_SQC: Floats, lam: float) -> Floats:
    """Mean of the sum over t of s_t A_t by the logits, `(V, S, Q, C)`, with generalised advantages
    of any critic: the gradient of V where `lam` is 1 or the critic is right."""
    true_SQC = prefix_values(pi_VSQC, mu_VSQX)
    after_second = _after((1 - lam) * critic_SQC[..., 5:] + lam * true_SQC[..., 5:])
    later_SQ4 = (pi_VSQC[..., 1:5] * after_second).sum(0)
    after_first = _after((1 - lam) * critic_SQC[..., 1:5] + lam * later_SQ4)
    return_VSQC = np.concatenate([after_first, after_second, mu_VSQX], -1)
    centred_VSQC = return_VSQC - (pi_VSQC * return_VSQC).sum(0)
    return np.asarray(_visits(pi_VSQC) * pi_VSQC * centred_VSQC)


def _after(value_SQX: Floats) -> Floats:
    """Of states after a token, by that token and the prefix before it."""
    seeds, num, size = value_SQX.shape
    by_token = value_SQX.reshape(seeds, num, size // VOCABULARY, VOCABULARY)
    return np.moveaxis(by_token, 3, 0)


def _visits(pi_VSQC: Floats) -> Floats:
    """Probability that a completion comes through each prefix."""
    first_SQ4 = np.moveaxis(pi_VSQC[..., 0], 0, 2)
    second_SQ44 = first_SQ4[..., None] * np.moveaxis(pi_VSQC[..., 1:5], 0, 3)
    second_SQX = second_SQ44.reshape(*first_SQ4.shape[:2], -1)
    return np.concatenate([np.ones_like(first_SQ4[..., :1]), first_SQ4, second_SQX], -1)
