"""Rewards to one advantage a token: what is taken off the reward, the estimator of the row, and who
takes part in the loss.

Shape letters: P prompts, G completions of a group, N completions of the step, K their tokens, D
width of the hidden states, T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from grpo_core import advantages
from grpo_core.advantages import Floats, Rewards
from grpo_core.annotate import Annotations
from grpo_core.batch import Batch, per_token
from grpo_core.config import RunConfig
from grpo_core.critic import gae, whiten
from grpo_core.records import Group
from grpo_core.shaping import lengths_in_loss, shaped_rewards
from grpo_core.team import Team


@dataclass
class Credit:
    """What each token is worth, and which count."""

    advantage_K: Tensor
    lengths_N: Tensor
    """Tokens in the loss of each completion; 0 for one that is left out."""
    return_K: Tensor | None = None
    """What the critic should have said, with `gae`."""
    metrics: dict[str, float] = field(default_factory=dict)


def assign_credit(
    groups: list[Group],
    batch: Batch,
    notes: Annotations,
    config: RunConfig,
    weights: dict[str, float],
    team: Team,
) -> Credit:
    """Advantages of all tokens of the step; fills `advantage` of every rollout (for an estimator
    of one number a token their mean). `weights`: of each reward function, by name."""
    estimator = config.algorithm.advantage
    if estimator == "gae":
        return _generalised(groups, batch, notes, config)
    if estimator == "prefix_attention":
        return _by_prefix(groups, batch, notes, config, team)
    return _by_completion(groups, batch, notes, config, weights)


# --- the reward that the estimator sees -----------------------------------------------------------


def _kl_K(notes: Annotations, config: RunConfig) -> Tensor | None:
    """k1 of each token where the KL is taken off the reward, else None."""
    algorithm = config.algorithm
    if algorithm.kl_place != "reward" or not algorithm.kl_coefficient:
        return None
    assert notes.old_K is not None and notes.ref_K is not None
    return notes.old_K - notes.ref_K


def _counted(groups: list[Group], config: RunConfig, dtype: torch.dtype) -> Tensor:
    """Tokens in the loss of each completion: none without an advantage, or cut off and masked."""
    return torch.tensor(lengths_in_loss(groups, config), dtype=dtype)


def _by_group(batch: Batch, values_N: list[float]) -> list[list[float]]:
    return [[values_N[row] for row in rows] for rows in batch.group_rows]


# --- one number a completion ----------------------------------------------------------------------


def _by_completion(
    groups: list[Group],
    batch: Batch,
    notes: Annotations,
    config: RunConfig,
    weights: dict[str, float],
) -> Credit:
    algorithm = config.algorithm
    rewards_PG, kl_K = shaped_rewards(groups, config), _kl_K(notes, config)
    if kl_K is not None:
        # in float64: a GPU adds in any order, which must not show
        sums_N = torch.zeros(len(batch.completions), dtype=torch.float64, device=kl_K.device)
        sums_N.index_add_(0, batch.sequence_K, kl_K.double())
        sums_PG = _by_group(batch, sums_N.tolist())
        rewards_PG = advantages.penalise_kl(rewards_PG, sums_PG, algorithm.kl_coefficient or 0.0)
    if algorithm.multi_objective_aggregation == "normalize_then_sum":
        assigned = _each_on_its_own(groups, weights)
    else:
        assert algorithm.advantage is not None
        lengths_PG = [[len(rollout.ids) for rollout in group.rollouts] for group in groups]
        assigned = advantages.assign(rewards_PG, algorithm.advantage, lengths_PG)
    for group, values in zip(groups, assigned, strict=True):
        for rollout, value in zip(group.rollouts, values, strict=True):
            rollout.advantage = value
    dtype, device = notes.initial_K.dtype, batch.sequence_K.device
    flat = [rollout.advantage or 0.0 for group in groups for rollout in group.rollouts]
    lengths_N = _counted(groups, config, dtype).to(device)
    return Credit(per_token(flat, batch, dtype), lengths_N)


def _each_on_its_own(groups: list[Group], weights: dict[str, float]) -> Rewards:
    """GDPO: the parts of each function; those of a completion with a fault do not count."""
    parts_FPG: list[Rewards] = [
        [
            [None if one.reward is None else one.parts.get(name) for one in group.rollouts]
            for group in groups
        ]
        for name in weights
    ]
    return advantages.normalize_then_sum(parts_FPG, list(weights.values()))


# --- one number a token ---------------------------------------------------------------------------


def _by_prefix(
    groups: list[Group],
    batch: Batch,
    notes: Annotations,
    config: RunConfig,
    team: Team,
) -> Credit:
    """Each process works out its own groups, whose hidden states it has."""
    advantage_K, samples_K = torch.zeros_like(notes.initial_K), torch.zeros_like(notes.initial_K)
    rewards_PG = shaped_rewards(groups, config)
    kl_K = _kl_K(notes, config)
    for g in range(len(groups)):
        known = [i for i, reward in enumerate(rewards_PG[g]) if reward is not None]
        for rollout in groups[g].rollouts:
            rollout.advantage = None
        if len(known) < 2:
            continue
        spans = [_span(batch, batch.group_rows[g][i]) for i in known]
        for i in known:  # their mean comes at the end; here only who takes part
            groups[g].rollouts[i].advantage = 0.0
        if g not in batch.own_groups:
            continue
        rewards = np.array([rewards_PG[g][i] for i in known], dtype=float)
        if kl_K is not None:
            sums = np.array([float(kl_K[span].sum()) for span in spans])
            rewards -= (config.algorithm.kl_coefficient or 0.0) * sums
        assert notes.hidden_KD is not None
        hidden_GTD = [notes.hidden_KD[span] for span in spans]
        similarity = prefix_similarity(hidden_GTD, [groups[g].rollouts[i].ids for i in known])
        found = _prefix_advantages(rewards, similarity, config)
        for column, span in enumerate(spans):
            length = span.stop - span.start
            advantage_K[span] = torch.as_tensor(found[0][:length, column]).to(advantage_K)
            samples_K[span] = torch.as_tensor(found[1][:length, column]).to(samples_K)
    advantage_K, samples_K = team.sum(advantage_K), team.sum(samples_K)
    lengths_N = _counted(groups, config, advantage_K.dtype).to(advantage_K.device)
    _fill_means(groups, batch, advantage_K)
    counted = samples_K[samples_K > 0]
    metrics = {"advantage/effective_samples": float(counted.mean())} if len(counted) else {}
    return Credit(advantage_K, lengths_N, metrics=metrics)


def _prefix_advantages(
    rewards: Floats, similarity_TGG: Floats, config: RunConfig
) -> tuple[Floats, Floats]:
    algorithm = config.algorithm
    assert algorithm.attention_temperature and algorithm.attention_min_samples
    baseline_TG, samples_TG = advantages.prefix_baseline(
        rewards,
        similarity_TGG,
        algorithm.attention_temperature,
        min(algorithm.attention_min_samples, len(rewards) - 1),
    )
    if advantages.is_flat(rewards.tolist()):
        return np.zeros_like(baseline_TG), samples_TG
    return rewards - baseline_TG, samples_TG


def prefix_similarity(hidden_GTD: list[Tensor], ids_GT: list[list[int]]) -> Floats:
    """Cosine of the centred states before token t of each pair of a group, `(T, G, G)`.

    Centred by the group's mean at t, because hidden states of a language model all point much the
    same way. A completion that has ended keeps its last state. Where all states are equal, as at
    the first token, the similarity is 0.
    """
    longest = max(len(hidden) for hidden in hidden_GTD)
    width = hidden_GTD[0].shape[1]
    padded = hidden_GTD[0].new_zeros((len(hidden_GTD), longest, width), dtype=torch.float32)
    for row, hidden in zip(padded, hidden_GTD, strict=True):
        if len(hidden):
            row[: len(hidden)] = hidden
            row[len(hidden) :] = hidden[-1]
    # Equal prefixes have equal states, but for a rounding that depends on what else was in the
    # forward; in bf16 that alone would look like a direction.
    for t, twin_G in enumerate(_twins(ids_GT, longest)):
        padded[:, t] = padded[twin_G, t]
    centred_TGD = (padded - padded.mean(0)).transpose(0, 1)
    norms_TG = centred_TGD.norm(dim=-1)
    # states that differ by rounding only have no direction
    scale_T = padded.norm(dim=-1).amax(0)
    apart_TG = norms_TG > 1e-5 * scale_T[:, None]
    unit_TGD = torch.where(apart_TG[..., None], centred_TGD / norms_TG[..., None], 0.0)
    return (unit_TGD @ unit_TGD.transpose(1, 2)).double().cpu().numpy()


def _twins(ids_GT: list[list[int]], longest: int) -> Iterator[list[int]]:
    """For each token as long as any prefixes are equal: the first completion with the same past.

    One that has ended is its own twin.
    """
    twin_G = [0] * len(ids_GT)
    for t in range(longest):
        twin_G = [own if t < len(ids_GT[i]) else i for i, own in enumerate(twin_G)]
        if len(set(twin_G)) == len(twin_G):
            return
        yield twin_G
        first: dict[tuple[int, int], int] = {}
        for i, own in enumerate(twin_G):
            if t + 1 < len(ids_GT[i]):
                twin_G[i] = first.setdefault((own, ids_GT[i][t]), i)


def _generalised(
    groups: list[Group], batch: Batch, notes: Annotations, config: RunConfig
) -> Credit:
    """PPO: the reward at the last token, a KL at each, and the critic's values between them."""
    assert config.critic is not None and notes.value_K is not None
    rewards_PG, kl_K = shaped_rewards(groups, config), _kl_K(notes, config)
    reward_K = torch.zeros_like(notes.value_K)
    if kl_K is not None:
        reward_K -= (config.algorithm.kl_coefficient or 0.0) * kl_K
    for rows, rewards, group in zip(batch.group_rows, rewards_PG, groups, strict=True):
        for row, reward, rollout in zip(rows, rewards, group.rollouts, strict=True):
            rollout.advantage = None if reward is None else 0.0
            if reward is not None and rollout.ids:
                reward_K[batch.offsets[row + 1] - 1] += reward
    advantage_K, return_K = gae(
        reward_K, notes.value_K, batch.lengths, config.critic.gamma, config.critic.gae_lambda
    )
    lengths_N = _counted(groups, config, advantage_K.dtype).to(advantage_K.device)
    if config.critic.whiten:
        advantage_K = whiten(advantage_K, lengths_N[batch.sequence_K] > 0)
    _fill_means(groups, batch, advantage_K)
    return Credit(advantage_K, lengths_N, return_K)


def _fill_means(groups: list[Group], batch: Batch, advantage_K: Tensor) -> None:
    for rows, group in zip(batch.group_rows, groups, strict=True):
        for row, rollout in zip(rows, group.rollouts, strict=True):
            if rollout.advantage is not None and rollout.ids:
                rollout.advantage = fmean(advantage_K[_span(batch, row)].tolist())


def _span(batch: Batch, row: int) -> slice:
    return slice(batch.offsets[row], batch.offsets[row + 1])
