"""The policy loss, as short pure functions over the flat completion tokens of a step.

Shape letters: K valid completion tokens, N completions. Padding exists nowhere: `sequence_K` says
which completion a token belongs to, `weight_K` carries mask and denominator, so that splitting a
step into micro-batches cannot change its loss. Minimised is, with r = pi / pi_old,

    sum_K weight * ( -min(r A, clip(r, 1 - low, 1 + high) A) + beta * kl - alpha * entropy )
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Beyond e^20 a ratio says only that something is broken; clamped, its gradient is zero."""


def ratio(logp_K: Tensor, old_K: Tensor) -> Tensor:
    """pi / pi_old of each token."""
    return (logp_K - old_K).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def clipped_surrogate(ratio_K: Tensor, advantage_K: Tensor, low: float, high: float) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A): PPO, arXiv 1707.06347, eq. 7."""
    clipped = ratio_K.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio_K * advantage_K, clipped * advantage_K)


def is_clipped(ratio_K: Tensor, advantage_K: Tensor, low: float, high: float) -> Tensor:
    """Tokens whose gradient the clip removes (bool)."""
    too_high = (ratio_K > 1 + high) & (advantage_K > 0)
    too_low = (ratio_K < 1 - low) & (advantage_K < 0)
    return too_high | too_low


def kl_k1(logp_K: Tensor, ref_K: Tensor) -> Tensor:
    """log pi - log pi_ref: unbiased as a number, useless as a loss (zero expected gradient)."""
    return logp_K - ref_K


def kl_k2(logp_K: Tensor, ref_K: Tensor) -> Tensor:
    """(log pi - log pi_ref)^2 / 2: its gradient is that of the reverse KL per token."""
    return 0.5 * (logp_K - ref_K).square()


def kl_k3(logp_K: Tensor, ref_K: Tensor) -> Tensor:
    """pi_ref/pi - 1 - log(pi_ref/pi) >= 0: DeepSeekMath, arXiv 2402.03300, eq. 4."""
    log_ratio = (ref_K - logp_K).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio.exp() - 1 - log_ratio


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def token_weights(sequence_K: Tensor, lengths_N: Tensor, aggregation: str) -> Tensor:
    """W of each token, so that loss = sum(W * l) over *all* micro-batches of the step.

    `sequence_K`: index of each token's completion; `lengths_N`: tokens in the loss of each
    completion of the step, 0 for one that is left out. Completions without tokens do not count.
    """
    num_sequences = (lengths_N > 0).sum().clamp(min=1)
    if aggregation == "seq_sum":
        return torch.ones_like(sequence_K, dtype=lengths_N.dtype) / num_sequences
    if aggregation == "seq_mean":
        return 1.0 / (lengths_N[sequence_K].clamp(min=1) * num_sequences)
    assert aggregation == "token_mean", aggregation
    return torch.ones_like(sequence_K, dtype=lengths_N.dtype) / lengths_N.sum().clamp(min=1)


@dataclass
class LossParts:
    """What `policy_loss` hands back: the scalar to minimise and how many tokens it clipped."""

    loss: Tensor
    num_clipped: Tensor


def policy_loss(
    logp_K: Tensor,
    old_K: Tensor,
    advantage_K: Tensor,
    weight_K: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    ref_K: Tensor | None = None,
    kl_estimator: str = "k3",
    kl_coefficient: float = 0.0,
    entropy_K: Tensor | None = None,
    entropy_coefficient: float = 0.0,
) -> LossParts:
    """The loss of these tokens: surrogate, KL and entropy joined by the weights.

    `ref_K` is needed with a KL in the loss, `entropy_K` (nats, differentiable) with an entropy
    bonus. Tokens of weight 0 never matter, whatever their values (even inf or NaN).
    """
    live = weight_K != 0
    logp_K, old_K, advantage_K, weight_K = (x[live] for x in (logp_K, old_K, advantage_K, weight_K))
    ratio_K = ratio(logp_K, old_K)
    loss_K = clipped_surrogate(ratio_K, advantage_K, clip_low, clip_high)
    if kl_coefficient:
        assert ref_K is not None
        loss_K = loss_K + kl_coefficient * KL_ESTIMATORS[kl_estimator](logp_K, ref_K[live])
    if entropy_coefficient:
        assert entropy_K is not None
        loss_K = loss_K - entropy_coefficient * entropy_K[live]
    with torch.no_grad():
        num_clipped = is_clipped(ratio_K, advantage_K, clip_low, clip_high).sum()
    return LossParts((loss_K * weight_K).sum(), num_clipped)
