"""The policy loss, as short pure functions over the flat completion tokens of a step.

Shape letters: K completion tokens, N completions, V vocabulary. Padding exists nowhere:
`sequence_K` says which completion a token belongs to, `weight_K` carries mask and denominator, so
that splitting a step into micro-batches or over processes cannot change its loss. Minimised is

    sum over K of weight * ( policy term + beta * kl - alpha * entropy )

with one function per ratio, policy term, aggregation and KL. Which row of the table of algorithms
uses which stands in `config.ALGORITHMS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grpo_core.objective import MAX_LOG_RATIO, Objective

# --- ratio: how far the policy has moved since it sampled -----------------------------------------


def token_ratio(logp_K: Tensor, old_K: Tensor) -> Tensor:
    """r = pi / pi_old of each token."""
    return (logp_K - old_K).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def sequence_ratio(logp_K: Tensor, old_K: Tensor, sequence_K: Tensor) -> Tensor:
    """s = (pi(o) / pi_old(o))^(1/|o|), the same for all tokens of o: GSPO, arXiv 2507.18071.

    All tokens of a completion must be here: a micro-batch holds whole rows.
    """
    log_ratio_K = (logp_K - old_K).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    rows, row_K = sequence_K.unique(return_inverse=True)
    # in float64: a GPU adds in any order, which must not show
    sums = torch.zeros(len(rows), dtype=torch.float64, device=logp_K.device)
    lengths = torch.bincount(row_K, minlength=len(rows))
    means = sums.index_add(0, row_K, log_ratio_K.double()) / lengths
    return means.exp()[row_K].to(logp_K.dtype)


def importance(old_K: Tensor, engine_K: Tensor, cap: float) -> Tensor:
    """min(pi_old / pi_engine, cap): truncated importance sampling between the log-probs of the
    trainer and those of the engine that sampled."""
    log_ratio_K = (old_K - engine_K.to(old_K.dtype)).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio_K.exp().clamp(max=cap)


# --- policy term: what is done with ratio r and advantage A ---------------------------------------


def ppo_clip(r_K: Tensor, A_K: Tensor, low: float, high: float, dual: float | None) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A): PPO, arXiv 1707.06347, eq. 7.

    `high` > `low` is DAPO's clip-higher (arXiv 2503.14476). With `dual`, a negative advantage
    never costs more than -dual A (dual clip, arXiv 1912.09729).
    """
    loss_K = -torch.minimum(r_K * A_K, r_K.clamp(1 - low, 1 + high) * A_K)
    if dual is None:
        return loss_K
    return torch.where((A_K < 0) & (r_K > dual), -dual * A_K, loss_K)


def cispo(r_K: Tensor, A_K: Tensor, logp_K: Tensor, high: float) -> Tensor:
    """-sg[min(r, 1 + high)] A log pi: MiniMax-M1, arXiv 2506.13585. No token's gradient is ever
    cut off. (`high` + 1 is the cap that TRL calls `epsilon_high` here.)"""
    return -r_K.detach().clamp(max=1 + high) * A_K * logp_K


def sapo(r_K: Tensor, A_K: Tensor, positive: float, negative: float) -> Tensor:
    """-4/tau sigmoid(tau (r - 1)) A, tau by the sign of A: SAPO, arXiv 2511.20347: a smooth gate
    in place of the clip."""
    # not torch.where(A > 0, positive, negative): of two scalars that makes float32, wrong by 4e-8
    tau_K = torch.full_like(r_K, negative).masked_fill(A_K > 0, positive)
    return -4 / tau_K * torch.sigmoid(tau_K * (r_K - 1)) * A_K


def unclipped(r_K: Tensor, A_K: Tensor) -> Tensor:
    """-r A: plain importance sampling."""
    return -r_K * A_K


def reinforce(A_K: Tensor, logp_K: Tensor) -> Tensor:
    """-A log pi (Williams 1992): no ratio, right only for the first update on a rollout."""
    return -A_K * logp_K


# --- KL to a reference, per token -----------------------------------------------------------------


def kl_k1(logp_K: Tensor, ref_K: Tensor, old_K: Tensor) -> Tensor:
    """log pi - log pi_ref: unbiased as a number, useless as a loss (zero expected gradient)."""
    return logp_K - ref_K


def kl_k2(logp_K: Tensor, ref_K: Tensor, old_K: Tensor) -> Tensor:
    """(log pi - log pi_ref)^2 / 2: its gradient is that of KL(pi || pi_ref) per token."""
    return 0.5 * (logp_K - ref_K).square()


def kl_k3(logp_K: Tensor, ref_K: Tensor, old_K: Tensor) -> Tensor:
    """pi_ref/pi - 1 - log(pi_ref/pi) >= 0: DeepSeekMath, arXiv 2402.03300, eq. 4. Its gradient is
    that of KL(pi_ref || pi), the other direction."""
    log_ratio = (ref_K - logp_K).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio.exp() - 1 - log_ratio


def kl_k3_is(logp_K: Tensor, ref_K: Tensor, old_K: Tensor) -> Tensor:
    """r k3 with a differentiable r: the gradient of k2, off-policy too (DeepSeek-V3.2,
    arXiv 2512.02556)."""
    return token_ratio(logp_K, old_K) * kl_k3(logp_K, ref_K, old_K)


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3, "k3_is": kl_k3_is}


# --- entropy --------------------------------------------------------------------------------------


def entropy(logits_KV: Tensor) -> Tensor:
    """H of each row in nats, exact: -sum over V of p log p."""
    log_probabilities = logits_KV - logits_KV.logsumexp(-1, keepdim=True)
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


# --- aggregation: the weight of each token --------------------------------------------------------


def token_weights(lengths_N: Tensor, aggregation: str, max_length: int | None = None) -> Tensor:
    """W of a token of each completion, `(N,)`, so that loss = sum(W l) over *all* micro-batches and
    processes of an optimizer step.

    `lengths_N`: tokens in the loss of every completion, 0 for one that is left out. With N the
    completions that have tokens: `seq_sum` 1/N, `seq_mean` 1/(N |o|), `token_mean` 1/sum |o|, and
    `dr_grpo` 1/(N_all max_length) with a constant, where completions left out count too
    (arXiv 2503.20783).
    """
    counted_N = lengths_N > 0
    num_sequences = counted_N.sum().clamp(min=1)
    if aggregation == "seq_sum":
        weights_N = torch.ones_like(lengths_N) / num_sequences
    elif aggregation == "seq_mean":
        weights_N = 1 / (lengths_N.clamp(min=1) * num_sequences)
    elif aggregation == "token_mean":
        weights_N = torch.ones_like(lengths_N) / lengths_N.sum().clamp(min=1)
    else:
        assert aggregation == "dr_grpo" and max_length, aggregation
        weights_N = torch.full_like(lengths_N, 1 / (len(lengths_N) * max_length))
    return torch.where(counted_N, weights_N, 0.0)


# --- all of it ------------------------------------------------------------------------------------


@dataclass
class LossParts:
    """What `policy_loss` hands back: the scalar to minimise, and how many tokens were beyond the
    clip on the side where it acts."""

    loss: Tensor
    num_high: Tensor
    num_low: Tensor

    @property
    def num_clipped(self) -> Tensor:
        """Tokens beyond either end."""
        return self.num_high + self.num_low


def policy_loss(
    objective: Objective,
    logp_K: Tensor,
    old_K: Tensor,
    advantage_K: Tensor,
    weight_K: Tensor,
    sequence_K: Tensor,
    ref_K: Tensor | None = None,
    entropy_K: Tensor | None = None,
) -> LossParts:
    """The loss of these tokens: policy term, KL and entropy joined by the weights.

    `ref_K` is needed with a KL in the loss, `entropy_K` (nats, differentiable) with an entropy
    bonus. Tokens of weight 0 never matter, whatever their values (even inf or NaN).
    """
    live = weight_K != 0
    logp_K, old_K, A_K, weight_K = (x[live] for x in (logp_K, old_K, advantage_K, weight_K))
    if objective.ratio_level == "sequence":
        r_K = sequence_ratio(logp_K, old_K, sequence_K[live])
    else:
        r_K = token_ratio(logp_K, old_K)
    loss_K = policy_term(objective, r_K, A_K, logp_K)
    if objective.kl_coefficient:
        assert ref_K is not None
        kl_K = KL_ESTIMATORS[objective.kl_estimator](logp_K, ref_K[live], old_K)
        loss_K = loss_K + objective.kl_coefficient * kl_K
    if objective.entropy_coefficient:
        assert entropy_K is not None
        loss_K = loss_K - objective.entropy_coefficient * entropy_K[live]
    high_K, low_K = beyond_clip(objective, r_K.detach(), A_K)
    return LossParts((loss_K * weight_K).sum(), high_K.sum(), low_K.sum())


def policy_term(objective: Objective, r_K: Tensor, A_K: Tensor, logp_K: Tensor) -> Tensor:
    """The policy term of each token, before its weight."""
    low, high = objective.clip_low, objective.clip_high
    if objective.ratio_level == "none":
        return reinforce(A_K, logp_K)
    if objective.clipping == "ppo":
        assert low is not None and high is not None
        return ppo_clip(r_K, A_K, low, high, objective.dual_clip)
    if objective.clipping == "cispo":
        assert high is not None
        return cispo(r_K, A_K, logp_K, high)
    if objective.clipping == "sapo":
        return sapo(r_K, A_K, objective.sapo_positive, objective.sapo_negative)
    assert objective.clipping == "none", objective.clipping
    return unclipped(r_K, A_K)


def beyond_clip(objective: Objective, r_K: Tensor, A_K: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens above and below the clip on the side where it acts (bool): r > 1 + high with A > 0,
    r < 1 - low with A < 0; for `cispo` all r beyond its cap that have an advantage. None
    where there is no clip.
    """
    nothing = torch.zeros_like(r_K, dtype=torch.bool)
    low, high = objective.clip_low, objective.clip_high
    if high is None or objective.clipping == "sapo":
        return nothing, nothing
    if objective.clipping == "cispo":
        return (r_K > 1 + high) & (A_K != 0), nothing
    above = (r_K > 1 + high) & (A_K > 0)
    return above, nothing if low is None else (r_K < 1 - low) & (A_K < 0)
