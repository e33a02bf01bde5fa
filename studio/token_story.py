"""One token under the run's own algorithm, and beside it under another row: the numbers that the
update used, and what the other row would have made of the same log-probs and rewards.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from grpo_core.advantages import Rewards
from grpo_core.algorithm_config import AlgorithmConfig, objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.config import RunConfig
from grpo_core.group_reader import GroupReader
from grpo_core.records import Group, Problem, Rollout
from grpo_core.runs import Run
from grpo_core.shaping import lengths_in_loss
from grpo_core.terms import Numbers, terms_of, weights_of
from grpo_core.traces import unpack_trace
from grpo_core.what_if import replay
from studio import data, formula, groups, tokens

_REFERENCES = {
    "synced": "a copy of the policy that is renewed now and then",
    "average": "an average of the policy",
    "old": "the policy that sampled",
}

_NO_RECIPE = (
    "The recipe of this run (config.yaml) cannot be read: the numbers are stored ones, but the "
    "formulas, the clip and the shares are those of the default recipe."
)


def story(
    reader: GroupReader, run: Run, rollout_id: int, token: int, number: int, row: str
) -> dict[str, Any] | None:
    """The terms of a token in pass `number` of the update, and under `row` (empty: none) beside
    it; None where its numbers were not kept."""
    found, place = reader.trace(rollout_id), reader.place_of(rollout_id)
    if found is None or place is None:
        return None
    passes = tokens.passes_of(found[1])
    numbers = passes[min(number, len(passes) - 1)]
    if not 0 <= token < len(numbers.logp):
        return None
    config = groups.config_in_force(reader, run, place["step"])
    step = Step(reader, place["step"], rollout_id)
    answer: dict[str, Any] = {"token": token, "piece": found[1].pieces[token], "other": None}
    unsure = [_NO_RECIPE] if data.config_of(run) is None else []
    if formula.is_shaped(config):
        step.shaped = replay(step.groups, config, {}, kl_for(reader, step.ids, config)).rewards_PG
    answer["own"] = _told(config, numbers, token, step, unsure)
    if row in ALGORITHMS:
        other, changed, notes = _under(reader, config, row, numbers, step)
        answer["other"] = _told(other, changed, token, step, notes)
    return answer


class Step:
    """The completions of a step as far as advantages and weights need them; `rollout_id` is the
    one that is told about."""

    def __init__(self, reader: GroupReader, step: int, rollout_id: int) -> None:
        self.number = step
        self.groups: list[Group] = []
        self.ids: dict[int, list[int]] = {}
        rows = groupby(reader.step_rollouts(step), key=lambda row: row["group_id"])
        for group_id, members in rows:
            kept = list(members)
            self.ids[group_id] = [row["id"] for row in kept]
            rollouts = [_light(row) for row in kept]
            self.groups.append(Group(Problem("", "", ""), "", [], rollouts))
        flat = [(g, i) for g, ids in enumerate(self.ids.values()) for i in ids]
        self.at = next(at for at, (_, i) in enumerate(flat) if i == rollout_id)
        self.group = self.groups[flat[self.at][0]]
        self.shaped: Rewards | None = None
        """What penalties and a KL leave of the rewards, where that was worked out."""
        self._shares = [g for g, _ in flat]

    @classmethod
    def of_group(cls, reader: GroupReader, group_id: int) -> Step | None:
        """The step of a group, about its first completion; None where it is gone."""
        group, members = reader.group_of(group_id), reader.members(group_id)
        return cls(reader, group["step"], members[0]) if group and members else None

    @property
    def rollout(self) -> Rollout:
        """The one that is told about."""
        return [one for group in self.groups for one in group.rollouts][self.at]

    def minibatch(self, config: RunConfig) -> tuple[list[int], int]:
        """Lengths of the completions of its optimizer step, 0 for those left out, and which of
        them it is."""
        lengths, num = lengths_in_loss(self.groups, config), config.optim.minibatches
        own = self._shares[self.at] % num
        members = [at for at, group in enumerate(self._shares) if group % num == own]
        return [lengths[at] for at in members], members.index(self.at)

    def around(self, config: RunConfig) -> formula.Around:
        """What the formula says beside the token's own numbers."""
        lengths, _ = self.minibatch(config)
        algorithm = config.algorithm
        counted = [length for length in lengths if length]
        num = len(lengths) if algorithm.aggregation == "dr_grpo" else len(counted)
        return formula.Around(self._compared(config), num, sum(counted))

    def _compared(self, config: RunConfig) -> list[float]:
        """The rewards that make its advantage, its own first."""
        at = self.group.rollouts.index(self.rollout)
        rewards = [one.reward for one in self.group.rollouts]
        if self.shaped is None:
            return formula.comparable(config, rewards[at], rewards[:at] + rewards[at + 1 :])
        left = self.shaped[self.groups.index(self.group)]
        ordered = [left[at], *left[:at], *left[at + 1 :]]
        return [one for one in ordered if one is not None] if left[at] is not None else []


def _light(row: dict[str, Any]) -> Rollout:
    rollout = Rollout([-1] * row["num_tokens"], [], "", row["finish"])  # only their number counts
    rollout.reward, rollout.parts = row["reward"], row["parts"]
    rollout.advantage = row["advantage"]
    return rollout


def _told(
    config: RunConfig, numbers: Numbers, token: int, step: Step, notes: list[str]
) -> dict[str, Any]:
    objective = objective_of(config.algorithm)
    told = formula.Token.at(token, numbers, terms_of(objective, numbers))
    lines = formula.lines_of(config, objective, told, step.around(config))
    return {"row": config.algorithm.name, "lines": lines, "notes": notes}


def _under(
    reader: GroupReader, config: RunConfig, row: str, numbers: Numbers, step: Step
) -> tuple[RunConfig, Numbers, list[str]]:
    """The recipe with another row, and the completion's numbers under it."""
    algorithm = AlgorithmConfig.model_validate({"name": row})
    other = config.model_copy(update={"algorithm": algorithm})
    replayed = replay(step.groups, other, {}, kl_for(reader, step.ids, other))
    step.shaped = replayed.rewards_PG
    notes = list(replayed.notes)
    for group, given in zip(step.groups, replayed.advantages_PG, strict=True):
        for rollout, advantage in zip(group.rollouts, given, strict=True):
            rollout.advantage = advantage
    advantage = step.rollout.advantage
    if advantage is None:
        notes.append("This completion has no advantage here: it is left out.")
    reference = config.algorithm.kl_reference
    if algorithm.kl_coefficient and reference in _REFERENCES:
        notes.append(f"The KL is measured against {_REFERENCES[reference]}, as the run did.")
    lengths, at = step.minibatch(other)
    aggregation = algorithm.aggregation or "seq_mean"
    weight = weights_of(lengths, aggregation, other.rollout.max_new_tokens)[at]
    changed = replace(
        numbers,
        advantage=np.full_like(numbers.advantage, advantage or 0.0),
        weight=np.full_like(numbers.weight, weight),
    )
    return other, changed, notes


def kl_for(
    reader: GroupReader, ids: dict[int, list[int]], config: RunConfig
) -> list[list[float] | None] | None:
    """`kl_of` where the recipe takes a KL off the reward: it unpacks all tokens of the step."""
    algorithm = config.algorithm
    takes = algorithm.kl_place == "reward" and algorithm.kl_coefficient
    return kl_of(reader, ids) if takes else None


def kl_of(reader: GroupReader, ids: dict[int, list[int]]) -> list[list[float] | None]:
    """Σ (log π_old − log π_ref) of each completion (nats), None for groups without tokens."""
    sums: list[list[float] | None] = []
    for group_id, members in ids.items():
        traces = {one: unpack_trace(blob)[1] for one, blob in reader.blobs(group_id).items()}
        known = [sum(traces[one].old) - sum(traces[one].ref) for one in members if one in traces]
        sums.append(known if len(known) == len(members) else None)
    return sums
