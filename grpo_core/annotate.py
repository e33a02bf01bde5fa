"""What is known of each token: before the update, by forwards without gradient, and after it.

Shape letters: K completion tokens of the step, D width of the hidden states; see `batch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """log-prob under the policy the run began with; `train/kl` is measured against it. NaN where
    it was not asked for."""
    ref_K: Tensor | None = None
    """log-prob under the reference of the KL; None where that is `old_K`."""
    old_K: Tensor | None = None
    value_K: Tensor | None = None
    hidden_KD: Tensor | None = None
    """Hidden states before each token, of this process's rows only (the rest are zeros)."""
    traced: list[int] = field(default_factory=list)
    """The groups whose token numbers are kept."""


@dataclass
class UpdateResult:
    """Metrics of the update, and of each token the numbers of its first pass."""

    logp_K: Tensor
    entropy_K: Tensor
    weight_K: Tensor
    old_K: Tensor
    advantage_K: Tensor
    """As the loss used it, the engine's correction included."""
    passes: list[Tensor] = field(default_factory=list)
    """`(C, K)` each, the channels of `passes.CHANNELS`: of all tokens in the first pass, in later
    ones of those that are kept; NaN where a pass did not look."""
    metrics: dict[str, float] = field(default_factory=dict)
    nonfinite: str = ""
    """What was not finite, when an optimizer step was left out."""
    drift: float = 0.0
    """Mean |engine's log-prob - trainer's| over the tokens (nats)."""


@torch.no_grad()
def annotate(
    learner: Learner, batch: Batch, config: RunConfig, traced: list[int] | None = None
) -> Annotations:
    """Only the forwards that the row needs. The KL to the initial policy is always shown; where
    nothing is learned from it the first groups do for that. `traced`: the groups whose token
    numbers are kept, by default the first; their log-probs under the reference are known too."""
    algorithm, reference = config.algorithm, config.algorithm.kl_reference
    every = list(range(len(batch.group_rows)))
    traced = every[: config.store.token_groups] if traced is None else traced
    first = every[: max(config.store.kl_groups, config.store.token_groups)]
    shown = sorted({*first, *traced})
    needed = every if algorithm.kl_coefficient else shown
    with learner.policy.as_it_began() as model:
        groups = needed if reference == "initial" else shown
        ref_K = _logp(learner, model, batch, config, groups)
    initial_K = ref_K
    if len(groups) > len(first) and groups is shown:
        # which groups are traced depends on their rewards: they must not decide the KL's mean
        initial_K = ref_K.clone()
        extra = [group for group in groups if group not in first]
        initial_K[batch.tokens_of_groups(extra)] = torch.nan
    notes = Annotations(initial_K, ref_K, traced=traced)
    if reference == "old":
        notes.ref_K = None
    elif learner.moving is not None:
        notes.ref_K = _logp(learner, learner.moving.model, batch, config, needed)
    if _needs_old(config):
        _annotate_old(learner, batch, config, notes)
    return notes


def _needs_old(config: RunConfig) -> bool:
    """Whether something asks for the sampling policy before the update's own first forward."""
    algorithm = config.algorithm
    in_reward = algorithm.kl_place == "reward" and bool(algorithm.kl_coefficient)
    return in_reward or algorithm.advantage in PER_TOKEN or config.optim.minibatches > 1


def _logp(
    learner: Learner, model: PreTrainedModel, batch: Batch, config: RunConfig, groups: list[int]
) -> Tensor:
    """Log-probs of the completions of `groups`; NaN for the others."""
    logp_K = _empty(learner, batch)

    def score(rows: list[int]) -> None:
        scored = learner.forward(model, batch, rows, config.rollout.temperature)
        logp_K[batch.tokens_of(rows)] = scored.logp_K

    own = [group for group in batch.own_groups if group in groups]
    learner.budget.over(batch, own, score)
    logp_K = learner.team.sum(logp_K)
    others = [group for group in range(len(batch.group_rows)) if group not in set(groups)]
    logp_K[batch.tokens_of_groups(others)] = torch.nan
    return logp_K


def _annotate_old(learner: Learner, batch: Batch, config: RunConfig, notes: Annotations) -> None:
    """The sampling policy once more: log-probs, and hidden states or values on the way."""
    old_K, value_K = _empty(learner, batch), _empty(learner, batch)

    def score(rows: list[int]) -> None:
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

    learner.budget.over(batch, list(batch.own_groups), score)
    notes.old_K = learner.team.sum(old_K)
    if learner.critic is not None:
        notes.value_K = learner.team.sum(value_K)


def _empty(learner: Learner, batch: Batch) -> Tensor:
    return torch.zeros(len(batch.sequence_K), dtype=learner.dtype, device=batch.sequence_K.device)
