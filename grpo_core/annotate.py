"""The forwards without gradient: what the update needs of each token and does not change.

Shape letters: K completion tokens of the step, D width of the hidden states; see `batch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from grpo_core.advantages import PER_TOKEN
from grpo_core.batch import Batch
from grpo_core.config import RunConfig
from grpo_core.learner import Learner


@dataclass
class Annotations:
    """Numbers of each token before the update. Those that a row does not need are None; `old_K`
    then fills itself at the first forward of the update, which is the same policy."""

    initial_K: Tensor
    """log-prob under the policy the run began with; `train/kl` is measured against it."""
    ref_K: Tensor | None = None
    """log-prob under the reference of the KL; None where that is `old_K`."""
    old_K: Tensor | None = None
    value_K: Tensor | None = None
    hidden_KD: Tensor | None = None
    """Hidden states before each token, of this process's rows only (the rest are zeros)."""


@torch.no_grad()
def annotate(learner: Learner, batch: Batch, config: RunConfig) -> Annotations:
    """Only the forwards that the row needs: the initial policy always, because its KL is shown."""
    algorithm, temperature = config.algorithm, config.rollout.temperature
    initial_K = _logp(learner, learner.policy.reference, batch, temperature)
    notes = Annotations(initial_K, initial_K)
    if algorithm.kl_reference == "old":
        notes.ref_K = None
    elif learner.moving is not None:
        notes.ref_K = _logp(learner, learner.moving, batch, temperature)
    if _needs_old(config):
        _annotate_old(learner, batch, config, notes)
    return notes


def _needs_old(config: RunConfig) -> bool:
    """Whether something asks for the sampling policy before the update's own first forward."""
    algorithm = config.algorithm
    in_reward = algorithm.kl_place == "reward" and bool(algorithm.kl_coefficient)
    return in_reward or algorithm.advantage in PER_TOKEN or config.optim.minibatches > 1


def _logp(learner: Learner, model: PreTrainedModel, batch: Batch, temperature: float) -> Tensor:
    logp_K = _empty(learner, batch)
    for rows in batch.micro_batches:
        scored = learner.forward(model, batch, rows, temperature)
        logp_K[batch.tokens_of(rows)] = scored.logp_K
    return learner.team.sum(logp_K)


def _annotate_old(learner: Learner, batch: Batch, config: RunConfig, notes: Annotations) -> None:
    """The sampling policy once more: log-probs, and hidden states or values on the way."""
    old_K, value_K = _empty(learner, batch), _empty(learner, batch)
    for rows in batch.micro_batches:
        tokens = batch.tokens_of(rows)
        model = learner.policy.model
        scored = learner.forward(model, batch, rows, config.rollout.temperature)
        old_K[tokens] = scored.logp_K
        if config.algorithm.advantage == "prefix_attention":
            if notes.hidden_KD is None:
                shape = (len(old_K), scored.hidden_KD.shape[1])
                notes.hidden_KD = scored.hidden_KD.new_zeros(shape)
            notes.hidden_KD[tokens] = scored.hidden_KD
        if learner.critic is not None:
            with learner.timing_critic():
                value_K[tokens] = learner.values(batch, rows, scored.hidden_KD)
    notes.old_K = learner.team.sum(old_K)
    if learner.critic is not None:
        notes.value_K = learner.team.sum(value_K)


def _empty(learner: Learner, batch: Batch) -> Tensor:
    return torch.zeros(len(batch.sequence_K), dtype=learner.dtype, device=batch.sequence_K.device)
