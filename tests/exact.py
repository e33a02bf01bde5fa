"""An exactly enumerable policy: one softmax over a few actions. All quantities are finite sums
over the actions, written from their definitions; nothing of the product is used.
"""

import numpy as np


class Bandit:
    """pi = softmax(logits) over actions with rewards r; score of action a: e_a - pi."""

    def __init__(self, logits, rewards, ref_logits):
        self.pi, self.ref = _softmax(logits), _softmax(ref_logits)
        self.r = np.array(rewards, float)
        self.V = float(self.pi @ self.r)
        self.scores = np.eye(len(self.pi)) - self.pi
        self.a = self.r - self.V
        self.grad_V = sum(p * a * s for p, a, s in zip(self.pi, self.a, self.scores, strict=True))
        self.sigma2 = float(self.pi @ self.a**2)
        norms = (self.scores**2).sum(1)
        self.trace_fisher = float(self.pi @ norms)
        self.entropy = float(-(self.pi @ np.log(self.pi)))
        self.grad_entropy = -sum(
            p * np.log(p) * s for p, s in zip(self.pi, self.scores, strict=True)
        )
        log_ratio = np.log(self.pi / self.ref)
        self.kl_pi_ref = float(self.pi @ log_ratio)
        self.grad_kl_pi_ref = sum(
            p * k * s for p, k, s in zip(self.pi, log_ratio, self.scores, strict=True)
        )
        self.kl_ref_pi = float(self.ref @ -log_ratio)
        self.grad_kl_ref_pi = -sum(q * s for q, s in zip(self.ref, self.scores, strict=True))
        self._second_moment = float(self.pi @ (self.a**2 * norms))

    def trace_var_oracle(self, G: int) -> float:
        """Variance (trace) of the gradient estimate with the baseline V."""
        return (self._second_moment - self.grad_V @ self.grad_V) / G

    def trace_var_loo(self, G: int) -> float:
        """The same with the leave-one-out baseline (U-statistic)."""
        g2 = float(self.grad_V @ self.grad_V)
        return self.trace_var_oracle(G) + (self.sigma2 * self.trace_fisher + g2) / (G * (G - 1))

    def boltzmann(self, beta: float) -> np.ndarray:
        """Maximiser of E[r] - beta KL(pi || ref)."""
        weights = self.ref * np.exp(self.r / beta)
        return weights / weights.sum()


def _softmax(logits) -> np.ndarray:
    weights = np.exp(np.array(logits, float) - np.max(logits))
    return weights / weights.sum()
