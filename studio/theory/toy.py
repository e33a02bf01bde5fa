"""A language model small enough to be worked out by hand: a softmax for every prefix.

With 4 tokens and length 3 there are 64 completions, 21 prefixes and 84 parameters; with an
end-of-text token 40 completions of length 1 to 3. Value, gradient, entropy, KL and Fisher
information are finite sums over all completions, in float64.

Shape letters: N completions, T time, C prefixes, V tokens, P = C V parameters.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def log_softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


class Toy:
    """All completions of `length` tokens out of `vocabulary`; one that holds `eos` ends there."""

    def __init__(self, vocabulary: int = 4, length: int = 3, eos: int | None = None) -> None:
        self.V, self.T, self.eos = vocabulary, length, eos
        self.prefixes: dict[tuple[int, ...], int] = {(): 0}
        self.completions: list[tuple[int, ...]] = []
        self._enumerate()
        self.N, self.C = len(self.completions), len(self.prefixes)
        self.P = self.C * self.V
        self.lengths_N: Ints = np.array([len(o) for o in self.completions])
        self.token_NT, self.prefix_NT = np.zeros((2, self.N, self.T), dtype=int)
        self.mask_NT = np.zeros((self.N, self.T))
        for n, o in enumerate(self.completions):
            for t, token in enumerate(o):
                self.token_NT[n, t], self.prefix_NT[n, t] = token, self.prefixes[o[:t]]
                self.mask_NT[n, t] = 1.0
        self.through_CN = np.zeros((self.C, self.N))
        """1 where a completion comes through a prefix."""
        rows, times = np.nonzero(self.mask_NT)
        self.through_CN[self.prefix_NT[rows, times], rows] = 1.0

    def _enumerate(self) -> None:
        open_ends: list[tuple[int, ...]] = [()]
        for _ in range(self.T):
            longer: list[tuple[int, ...]] = []
            for prefix in open_ends:
                self.prefixes.setdefault(prefix, len(self.prefixes))
                for token in range(self.V):
                    o = (*prefix, token)
                    ends = len(o) == self.T or token == self.eos
                    (self.completions if ends else longer).append(o)
            open_ends = longer

    # --- probabilities ------------------------------------------------------------------------

    def logp_CV(self, theta_P: Floats) -> Floats:
        """Log-probability of each token after each prefix."""
        return log_softmax(theta_P.reshape(self.C, self.V))

    def token_logp_NT(self, theta_P: Floats) -> Floats:
        """Of each token of each completion; 0 behind its end."""
        return np.asarray(self.logp_CV(theta_P)[self.prefix_NT, self.token_NT] * self.mask_NT)

    def logp_N(self, theta_P: Floats) -> Floats:
        """Of each completion."""
        return np.asarray(self.token_logp_NT(theta_P).sum(1))

    def p_N(self, theta_P: Floats) -> Floats:
        """Probability of each completion."""
        return np.exp(self.logp_N(theta_P))

    def visits_C(self, theta_P: Floats) -> Floats:
        """Probability that a completion comes through each prefix."""
        return np.asarray(self.through_CN @ self.p_N(theta_P))

    def scores_NTP(self, theta_P: Floats) -> Floats:
        """Gradient of the log-probability of each token; 0 behind the end."""
        pi_CV = np.exp(self.logp_CV(theta_P))
        scores = np.zeros((self.N, self.T, self.C, self.V))
        n, t = np.nonzero(self.mask_NT)
        c = self.prefix_NT[n, t]
        scores[n, t, c] = -pi_CV[c]
        scores[n, t, c, self.token_NT[n, t]] += 1.0
        return scores.reshape(self.N, self.T, self.P)

    def scores_NP(self, theta_P: Floats) -> Floats:
        """Gradient of the log-probability of each completion."""
        return np.asarray(self.scores_NTP(theta_P).sum(1))

    # --- exact quantities ---------------------------------------------------------------------

    def value(self, theta_P: Floats, R_N: Floats) -> float:
        """V: the expected reward."""
        return float(self.p_N(theta_P) @ R_N)

    def grad_value_P(self, theta_P: Floats, R_N: Floats) -> Floats:
        """Gradient of V."""
        p_N = self.p_N(theta_P)
        return np.asarray((p_N * (R_N - p_N @ R_N)) @ self.scores_NP(theta_P))

    def prefix_value_C(self, theta_P: Floats, R_N: Floats) -> Floats:
        """Expected reward from each prefix on: what a perfect critic says."""
        p_N = self.p_N(theta_P)
        return np.asarray((self.through_CN @ (p_N * R_N)) / (self.through_CN @ p_N))

    def entropy(self, theta_P: Floats) -> float:
        """Of whole completions, in nats."""
        logp_N = self.logp_N(theta_P)
        return float(-(np.exp(logp_N) @ logp_N))

    def grad_entropy_P(self, theta_P: Floats) -> Floats:
        """Gradient of it."""
        logp_N = self.logp_N(theta_P)
        return np.asarray(-(np.exp(logp_N) * logp_N) @ self.scores_NP(theta_P))

    def kl(self, theta_P: Floats, ref_P: Floats) -> float:
        """KL(pi_theta || pi_ref) of whole completions, in nats."""
        logp_N = self.logp_N(theta_P)
        return float(np.exp(logp_N) @ (logp_N - self.logp_N(ref_P)))

    def grad_kl_P(self, theta_P: Floats, ref_P: Floats) -> Floats:
        """Gradient of it by theta."""
        logp_N = self.logp_N(theta_P)
        weights_N = np.exp(logp_N) * (logp_N - self.logp_N(ref_P))
        return np.asarray(weights_N @ self.scores_NP(theta_P))

    # --- samples ------------------------------------------------------------------------------

    def sample(self, theta_P: Floats, shape: tuple[int, ...], rng: np.random.Generator) -> Ints:
        """Indices of completions drawn from the policy."""
        edges_N = np.cumsum(self.p_N(theta_P))
        drawn = rng.random(shape) * edges_N[-1]
        return np.minimum(np.searchsorted(edges_N, drawn, side="right"), self.N - 1)


@lru_cache(maxsize=16)
def toy(vocabulary: int = 4, length: int = 3, eos: int | None = None) -> Toy:
    """The same object for the same sizes: nothing in it is ever written to."""
    return Toy(vocabulary, length, eos)


def problem(
    kind: str = "graded", seed: int = 0, *, scale: float = 1.0, eos: int | None = None
) -> tuple[Toy, Floats, Floats]:
    """A toy, random logits with standard deviation `scale`, and rewards `(N,)`.

    `graded`: uniform in 0..1. `binary`: 1 for about 30 %. `strategy`: the first token decides most
    of it. Raises KeyError on another kind.
    """
    model, rng = toy(eos=eos), np.random.default_rng(seed)
    theta_P = rng.normal(0, scale, model.P)
    rewards = {
        "graded": lambda: rng.random(model.N),
        "binary": lambda: (rng.random(model.N) < 0.3).astype(float),
        "strategy": lambda: (
            np.array([0.0, 0.3, 0.6, 0.9])[model.token_NT[:, 0]] + 0.1 * rng.random(model.N)
        ),
    }
    return model, theta_P, rewards[kind]()


def with_success(model: Toy, theta_P: Floats, R_N: Floats, p: float) -> Floats:
    """Logits of pi(o) e^(lambda R(o)) / Z, with lambda such that its expected reward is `p`.

    Rewards are 0 or 1, both possible, and 0 < p < 1. It is the policy nearest to theta's, by
    KL(new || old), that has this success probability.
    """
    p_N = model.p_N(theta_P)
    now = float(p_N @ R_N)
    odds = p / (1 - p) * (1 - now) / now
    weights_N = p_N * np.where(R_N > 0, odds, 1.0)
    rows, times = np.nonzero(model.mask_NT)
    sums_CV = np.zeros((model.C, model.V))
    np.add.at(sums_CV, (model.prefix_NT[rows, times], model.token_NT[rows, times]), weights_N[rows])
    return np.log(sums_CV).ravel()
