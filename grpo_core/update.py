"""What happens to the weights in one step: annotate, assign advantages, update.

Shape letters: N completions of the step, K their tokens; see `batch.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core import advantages
from grpo_core.batch import Batch, per_token
from grpo_core.config import RunConfig
from grpo_core.losses import policy_loss, token_weights
from grpo_core.policy import Policy, Scored, score_completions
from grpo_core.records import Group, TokenTrace


@dataclass
class Annotations:
    """Numbers of each token that the update needs and does not change. `old` fills itself at the
    first forward of the update when nothing needed it earlier."""

    ref_K: Tensor
    old_K: Tensor | None = None


@dataclass
class UpdateResult:
    """Metrics of the update and the token numbers of its first forward."""

    metrics: dict[str, float] = field(default_factory=dict)
    logp_K: Tensor | None = None
    old_K: Tensor | None = None
    entropy_K: Tensor | None = None
    weight_K: Tensor | None = None
    nonfinite: str = ""
    """What was not finite, when an optimizer step was left out."""
    drift: float = 0.0
    """Mean |engine's log-prob - trainer's| over the tokens (nats)."""


def annotate(
    accelerator: Accelerator, policy: Policy, batch: Batch, config: RunConfig
) -> Annotations:
    """The forwards without gradient: reference, and old where a KL in the reward needs it."""
    temperature = config.rollout.temperature
    ref_K = _score(accelerator, policy.reference, batch, temperature)
    in_reward = config.algorithm.kl_place == "reward" and config.algorithm.kl_coefficient > 0
    old_K = _score(accelerator, policy.model, batch, temperature) if in_reward else None
    return Annotations(ref_K, old_K)


@torch.no_grad()
def _score(
    accelerator: Accelerator, model: PreTrainedModel, batch: Batch, temperature: float
) -> Tensor:
    logp_K = torch.empty_like(batch.rollout_logp_K)
    for rows in batch.micro_batches:
        scored = _forward(accelerator, model, batch, rows, temperature)
        logp_K[batch.tokens_of(rows)] = scored.logp_K
    return logp_K


def _forward(
    accelerator: Accelerator,
    model: PreTrainedModel,
    batch: Batch,
    rows: list[int],
    temperature: float,
    entropy_gradient: bool = False,
) -> Scored:
    with accelerator.autocast():
        return score_completions(
            model,
            [batch.prompts[row] for row in rows],
            [batch.completions[row] for row in rows],
            temperature,
            entropy_gradient,
        )


def assign_advantages(
    groups: list[Group], batch: Batch, notes: Annotations, config: RunConfig
) -> None:
    """Fill `advantage` of every rollout, after taking a KL in the reward off it."""
    rewards_PG = [[rollout.reward for rollout in group.rollouts] for group in groups]
    if notes.old_K is not None:
        sums = torch.zeros(len(batch.completions), device=notes.ref_K.device)
        sums.index_add_(0, batch.sequence_K, notes.old_K - notes.ref_K)
        flat = iter(sums.tolist())
        sums_PG = [[next(flat) for _ in group.rollouts] for group in groups]
        rewards_PG = advantages.penalise_kl(rewards_PG, sums_PG, config.algorithm.kl_coefficient)
    assert config.algorithm.advantage is not None
    assigned = advantages.assign(rewards_PG, config.algorithm.advantage)
    for group, values in zip(groups, assigned, strict=True):
        for rollout, value in zip(group.rollouts, values, strict=True):
            rollout.advantage = value


def update(
    accelerator: Accelerator,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    groups: list[Group],
    batch: Batch,
    notes: Annotations,
    config: RunConfig,
) -> UpdateResult:
    """`updates_per_rollout` optimizer steps on the batch; a step that is not finite is left out."""
    given = [rollout.advantage for group in groups for rollout in group.rollouts]
    advantage_K = per_token([value or 0.0 for value in given], batch)
    weight_K = _weights(given, batch, config)
    result = UpdateResult(weight_K=weight_K)
    losses, norms, clipped = [], [], 0
    for index in range(config.optim.updates_per_rollout):
        optimizer.zero_grad()
        loss, num_clipped = _accumulate(
            accelerator,
            policy,
            batch,
            notes,
            advantage_K,
            weight_K,
            config,
            result if index == 0 else None,
        )
        norm = accelerator.clip_grad_norm_(policy.model.parameters(), config.optim.max_grad_norm)
        assert norm is not None
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            result.nonfinite = "loss" if not torch.isfinite(loss) else "gradient"
            optimizer.zero_grad()
            break
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        clipped += num_clipped
    _summarise(result, notes, batch, losses, norms, clipped)
    return result


def _weights(given: list[float | None], batch: Batch, config: RunConfig) -> Tensor:
    """Loss weight of each token; those of completions without an advantage are left out."""
    counted = [
        float(length) if value is not None else 0.0
        for length, value in zip(batch.lengths, given, strict=True)
    ]
    lengths_N = torch.tensor(counted, device=batch.sequence_K.device)
    assert config.algorithm.aggregation is not None
    weights = token_weights(batch.sequence_K, lengths_N, config.algorithm.aggregation)
    return torch.where(lengths_N[batch.sequence_K] > 0, weights, 0.0)


def _accumulate(
    accelerator: Accelerator,
    policy: Policy,
    batch: Batch,
    notes: Annotations,
    advantage_K: Tensor,
    weight_K: Tensor,
    config: RunConfig,
    first: UpdateResult | None,
) -> tuple[Tensor, int]:
    """Loss and gradients of the whole batch, micro-batch by micro-batch. `first` collects the
    token numbers of the first update; its log-probs are the old ones of all that follow."""
    algorithm = config.algorithm
    if first is not None:
        first.logp_K = torch.empty_like(batch.rollout_logp_K)
        first.entropy_K = torch.empty_like(batch.rollout_logp_K)
    total = torch.zeros((), device=batch.sequence_K.device)
    num_clipped = 0
    for rows in batch.micro_batches:
        tokens = batch.tokens_of(rows)
        bonus = algorithm.entropy_coefficient != 0
        scored = _forward(accelerator, policy.model, batch, rows, config.rollout.temperature, bonus)
        if first is not None and first.logp_K is not None and first.entropy_K is not None:
            first.logp_K[tokens] = scored.logp_K.detach()
            first.entropy_K[tokens] = scored.entropy_K.detach()
        old_K = scored.logp_K.detach() if notes.old_K is None else notes.old_K[tokens]
        parts = policy_loss(
            scored.logp_K,
            old_K,
            advantage_K[tokens],
            weight_K[tokens],
            clip_low=algorithm.clip_low,
            clip_high=algorithm.clip_high,
            ref_K=notes.ref_K[tokens] if algorithm.kl_reference == "initial" else old_K,
            kl_estimator=algorithm.kl_estimator or "k3",
            kl_coefficient=algorithm.kl_coefficient if algorithm.kl_place == "loss" else 0.0,
            entropy_K=scored.entropy_K,
            entropy_coefficient=algorithm.entropy_coefficient,
        )
        accelerator.backward(parts.loss)
        total += parts.loss.detach()
        num_clipped += int(parts.num_clipped)
    if first is not None and notes.old_K is None:
        notes.old_K = first.logp_K
    return total, num_clipped


def _summarise(
    result: UpdateResult,
    notes: Annotations,
    batch: Batch,
    losses: list[float],
    norms: list[float],
    clipped: int,
) -> None:
    assert result.logp_K is not None and result.entropy_K is not None
    assert result.weight_K is not None
    result.old_K = notes.old_K
    result.drift = (result.logp_K - batch.rollout_logp_K).abs().mean().item()
    result.metrics = {
        "train/kl": (result.logp_K - notes.ref_K).mean().item(),
        "train/entropy": result.entropy_K.mean().item(),
        "train/logprob_drift": result.drift,
    }
    if losses:
        num_live = max(int((result.weight_K != 0).sum()), 1)
        result.metrics["train/loss"] = sum(losses) / len(losses)
        result.metrics["train/grad_norm"] = sum(norms) / len(norms)
        result.metrics["train/clip_fraction"] = clipped / (num_live * len(losses))
    # a NaN is no point of a curve, and the database takes none; `nonfinite` tells of it
    result.metrics = {k: value for k, value in result.metrics.items() if math.isfinite(value)}


def fill_traces(
    groups: list[Group],
    batch: Batch,
    notes: Annotations,
    result: UpdateResult,
    num_groups: int,
    piece: Callable[[int], str],
) -> None:
    """Keep the token numbers of the first `num_groups` groups; `piece` gives a token's text."""
    assert result.logp_K is not None and result.old_K is not None
    assert result.entropy_K is not None and result.weight_K is not None
    row = 0
    for group in groups[:num_groups]:
        for rollout in group.rollouts:
            span = slice(batch.offsets[row], batch.offsets[row + 1])
            rollout.trace = TokenTrace(
                pieces=[piece(token) for token in rollout.ids],
                logp=result.logp_K[span].tolist(),
                old=result.old_K[span].tolist(),
                ref=notes.ref_K[span].tolist(),
                entropy=result.entropy_K[span].tolist(),
                advantage=[rollout.advantage or 0.0] * len(rollout.ids),
                weight=result.weight_K[span].tolist(),
            )
            row += 1
