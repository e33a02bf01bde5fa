"""What is wrong with a reward that cannot teach, seen from the completions it has scored.

Every method here compares completions of one prompt with each other: a reward teaches as far as it
differs within groups, and it teaches what the difference goes with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grpo_core.advantages import Floats, is_flat
from grpo_core.records import Group
from grpo_core.rewards import RewardFunction

ENOUGH = 8
"""Fewer completions than this say nothing."""
MOSTLY_FLAT = 0.75
"""Share of groups without a difference from which on a reward hardly teaches."""
MOSTLY_SILENT = 0.5
"""Share of completions without a reward from which on something is likely to be wrong."""
SATURATED = 0.9
"""Share of completions that have the highest reward, or the lowest, already."""
DOMINATES = 0.95
"""Share of what differs within groups that one of several parts makes."""
LIFTED = 0.25
"""Share of the groups with a difference in which small parts alone make it."""
SMALL = 0.5
"""Of the largest part's range: what is below it was meant to count less."""
FOLLOWS_LENGTH = 0.6
"""Correlation of reward and length within groups, either way."""
_TAG = re.compile(r"<\w{1,30}>")


@dataclass(frozen=True)
class Advice:
    """A reason why a reward cannot teach well, and what to do."""

    kind: str
    message: str
    remedy: str


def advise(
    groups: list[Group], functions: Sequence[RewardFunction], divides: bool = True
) -> list[Advice]:
    """What is wrong, the gravest first; nothing where too few completions were scored.

    `divides`: advantages are divided by the deviation of their own group (`zscore`), so that each
    group with a difference counts as much as any other.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [r.reward for r in rollouts if r.reward is not None]
    if len(rollouts) < ENOUGH:
        return []
    silent = _silent([r.outcome == "abstain" for r in rollouts])
    if len(rewards) < ENOUGH:
        return silent
    if is_flat([*rewards]):
        of_how_many = len(rewards) if len(rewards) < len(rollouts) else None
        return [*silent, *_emitted_tags(groups, functions), _constant(rewards[0], of_how_many)]
    found = [
        *silent,
        *_emitted_tags(groups, functions),
        *_flat_groups(groups),
        *_saturated(rewards),
        *_dominated(groups, functions, divides),
        *(_lifted(groups, functions) if divides else []),
        *_length(groups),
    ]
    return found


def _silent(abstained: list[bool]) -> list[Advice]:
    """Where most completions get no reward, as every function abstains."""
    num = sum(abstained)
    if num <= MOSTLY_SILENT * len(abstained):
        return []
    return [
        Advice(
            "silent",
            f"{num} of {len(abstained)} completions get no reward: every function says that it "
            "does not apply (None).",
            "They teach nothing. Give a number where the reward is meant to apply.",
        )
    ]


def _constant(reward: float, of_how_many: int | None) -> Advice:
    who = "Every completion gets" if of_how_many is None else f"All {of_how_many} that get one get"
    return Advice(
        "constant",
        f"{who} {reward:.3g}: there is nothing to compare, so nothing is learned.",
        "Reward something that these completions differ in.",
    )


def _flat_groups(groups: list[Group]) -> list[Advice]:
    known = [[r.reward for r in group.rollouts if r.reward is not None] for group in groups]
    known = [rewards for rewards in known if len(rewards) > 1]
    flat = sum(is_flat([*rewards]) for rewards in known)
    if not known or flat < MOSTLY_FLAT * len(known):
        return []
    rest = "only the others teach" if flat < len(known) else "nothing is learned"
    return [
        Advice(
            "flat",
            f"In {flat} of {len(known)} groups all rewards are equal: {rest}.",
            "Give part of the reward for part of the way, or take prompts that are neither too "
            "easy nor too hard.",
        )
    ]


def _saturated(rewards: list[float]) -> list[Advice]:
    top, bottom = max(rewards), min(rewards)
    at_top = sum(one >= top - 1e-9 for one in rewards) / len(rewards)
    at_bottom = sum(one <= bottom + 1e-9 for one in rewards) / len(rewards)
    if at_top >= SATURATED:
        return [
            Advice(
                "saturated",
                f"{at_top:.0%} of the completions have the highest reward, {top:.3g}, already.",
                "There is little left to learn from it: ask for more, or take harder prompts.",
            )
        ]
    if at_bottom >= SATURATED:
        return [
            Advice(
                "sparse",
                f"{at_bottom:.0%} of the completions have the lowest reward, {bottom:.3g}.",
                "Success is too rare to be found by sampling: reward steps towards it, take easier "
                "prompts, or more completions for each.",
            )
        ]
    return []


def _dominated(
    groups: list[Group], functions: Sequence[RewardFunction], divides: bool
) -> list[Advice]:
    """Of the variances within groups of the weighted parts."""
    if len(functions) < 2:
        return []
    variances_GF = _variances(groups, functions)
    totals_G = variances_GF.sum(1)
    if not totals_G.any():
        return []
    if divides:
        shares_F = (variances_GF[totals_G > 0] / totals_G[totals_G > 0, None]).mean(0)
    else:
        shares_F = variances_GF.sum(0) / totals_G.sum()
    most = int(shares_F.argmax())
    if shares_F[most] < DOMINATES:
        return []
    others = ", ".join(function.name for i, function in enumerate(functions) if i != most)
    return [
        Advice(
            "dominated",
            f"{functions[most].name} makes {shares_F[most]:.0%} of what differs within groups; "
            f"{others} hardly {'matter' if len(functions) > 2 else 'matters'}.",
            f"Raise the weight of {others}, or leave it away.",
        )
    ]


def _lifted(groups: list[Group], functions: Sequence[RewardFunction]) -> list[Advice]:
    """Small parts that decide alone where the largest is equal: divided by the deviation that they
    make themselves, they count as much there as the largest part does elsewhere."""
    ranges = [_range(groups, function) for function in functions]
    most = ranges.index(max(ranges, default=0.0)) if ranges else 0
    small = [i for i, one in enumerate(ranges) if 0 < one < SMALL * ranges[most]]
    if not small:
        return []
    variances_GF = _variances(groups, functions)
    differs_G = variances_GF.sum(1) > 0
    alone_G = differs_G & (np.delete(variances_GF, small, axis=1).sum(1) <= 0)
    num, of = int(alone_G.sum()), int(differs_G.sum())
    if num < LIFTED * of:
        return []
    names = ", ".join(functions[i].name for i in small)
    sizes = " and ".join(f"{ranges[i]:.3g}" for i in small)
    return [
        Advice(
            "lifted",
            f"In {num} of the {of} groups that differ, {names} alone "
            f"{'makes' if len(small) == 1 else 'make'} the difference. Advantages are divided by "
            f"their group's deviation, so that {sizes} counts as much there as "
            f"{ranges[most]:.3g} of {functions[most].name} does elsewhere.",
            "If it is meant to count less, take an estimator that does not divide (`mean`, as in "
            f"dr_grpo), or give {names} only to completions that have earned "
            f"{functions[most].name}.",
        )
    ]


def _variances(groups: list[Group], functions: Sequence[RewardFunction]) -> Floats:
    """Of each weighted part within each group, `(groups, functions)`; 0 where it says nothing."""
    found = np.zeros((len(groups), len(functions)))
    for g, group in enumerate(groups):
        for f, function in enumerate(functions):
            known = [p for r in group.rollouts if (p := r.parts.get(function.name)) is not None]
            if known and not is_flat([*known]):
                found[g, f] = float(np.var(known)) * len(known) * function.weight**2
    return found


def _range(groups: list[Group], function: RewardFunction) -> float:
    """How far apart the weighted values of a part lie."""
    parts = [r.parts.get(function.name) for group in groups for r in group.rollouts]
    known = [part for part in parts if part is not None]
    return abs(function.weight) * (max(known) - min(known)) if known else 0.0


def _length(groups: list[Group]) -> list[Advice]:
    """Correlation of what is left of reward and length when each group's mean is taken away."""
    rewards, lengths = [], []
    for group in groups:
        known = [
            (r.reward, len(r.ids) or len(r.text)) for r in group.rollouts if r.reward is not None
        ]
        if len(known) > 1:
            table = np.array(known, dtype=float)
            table -= table.mean(0)
            rewards += list(table[:, 0])
            lengths += list(table[:, 1])
    scale = float(np.linalg.norm(rewards) * np.linalg.norm(lengths))
    correlation = float(np.dot(rewards, lengths)) / scale if scale else 0.0
    if len(rewards) < 2 * ENOUGH or abs(correlation) < FOLLOWS_LENGTH:
        return []
    way = "longer" if correlation > 0 else "shorter"
    return [
        Advice(
            "length",
            f"Within groups the reward follows the length (correlation {correlation:.2f}): what "
            f"will be learned first is to be {way}.",
            "If that is not what you want, take away what length itself earns.",
        )
    ]


def _emitted_tags(groups: list[Group], functions: Sequence[RewardFunction]) -> list[Advice]:
    """Functions that give all completions the same and look for a tag that the prompt ends with."""
    ends = {
        match
        for group in groups
        for match in _TAG.findall(group.prompt.rstrip()[-40:])[-1:]
        if group.prompt.rstrip().endswith(match)
    }
    found = []
    for function in functions:
        parts = [r.parts.get(function.name) for group in groups for r in group.rollouts]
        known = [part for part in parts if part is not None]
        tags = sorted(tag for tag in ends if tag in function.source)
        if tags and known and is_flat([*known]):
            found.append(
                Advice(
                    "template",
                    f"{function.name} gives every completion {known[0]:.3g}, and the prompt ends "
                    f"with {tags[0]}: the completions begin behind it.",
                    f"Let {function.name} accept a text that begins inside {tags[0]}.",
                )
            )
    return found
