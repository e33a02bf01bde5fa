"""What is wrong with a reward that cannot teach, seen from the completions it has scored.

Every method here compares completions of one prompt with each other: a reward teaches as far as it
differs within groups, and it teaches what the difference goes with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grpo_core.advantages import is_flat
from grpo_core.records import Group, Problem, Rollout
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
FOLLOWS_LENGTH = 0.6
"""Correlation of reward and length within groups, either way."""
GOLD_FORMS = (
    "{answer}",
    "\\boxed{{{answer}}}",
    "#### {answer}",
    "<answer>{answer}</answer>",
    "<think>It is {answer}.</think>{answer}",
    "<think>It is {answer}.</think><answer>{answer}</answer>",
)
"""Ways to write the reference answer, of which the best one counts."""
_TAG = re.compile(r"<\w{1,30}>")


@dataclass(frozen=True)
class Advice:
    """A reason why a reward cannot teach well, and what to do."""

    kind: str
    message: str
    remedy: str


def advise(groups: list[Group], functions: Sequence[RewardFunction]) -> list[Advice]:
    """What is wrong, the gravest first; nothing where too few completions were scored."""
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
        *_dominated(groups, functions),
        *_length(groups),
    ]
    return found


def gold_groups(groups: list[Group]) -> list[Group]:
    """For each group with a reference answer one whose completions say it, to be scored too.

    How many tokens they have is a guess from how many characters the others have for a token.
    """
    known = [r for group in groups for r in group.rollouts if r.ids and r.text]
    characters = sum(len(r.text) for r in known)
    per_character = sum(len(r.ids) for r in known) / characters if characters else 0.25
    found = []
    for group in groups:
        answer = group.problem.answer
        texts = [form.format(answer=answer) for form in GOLD_FORMS] if answer else []
        numbers = [max(1, round(per_character * len(text))) for text in texts]
        rollouts = [
            Rollout([-1] * num, [], text, "stop") for num, text in zip(numbers, texts, strict=True)
        ]
        problem = Problem(group.problem.id, group.problem.question, answer, group.problem.row)
        found.append(Group(problem, group.prompt, [], rollouts))
    return found


def advise_gold(groups: list[Group], gold: list[Group]) -> list[Advice]:
    """Whether some sampled completion that is wrong is worth more than the reference answer."""
    worse = []
    for group, reference in zip(groups, gold, strict=True):
        best = max((r.reward for r in reference.rollouts if r.reward is not None), default=None)
        wrong = [r.reward for r in group.rollouts if not r.correct and r.reward is not None]
        if best is not None and wrong and max(wrong) > best + 1e-9:
            worse.append((max(wrong), best))
    if not worse:
        return []
    sampled, best = max(worse, key=lambda pair: pair[0] - pair[1])
    return [
        Advice(
            "gold",
            f"In {len(worse)} of {len(groups)} groups a wrong completion gets more than the "
            f"reference answer in any usual form, such as {sampled:.3g} against {best:.3g}.",
            "The policy will find that way: let nothing count as much as being right.",
        )
    ]


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


def _dominated(groups: list[Group], functions: Sequence[RewardFunction]) -> list[Advice]:
    """Of the variances within groups of the weighted parts."""
    if len(functions) < 2:
        return []
    variances = {
        function.name: sum(
            float(np.var(parts)) * len(parts) * function.weight**2
            for group in groups
            if (
                parts := [
                    p for r in group.rollouts if (p := r.parts.get(function.name)) is not None
                ]
            )
        )
        for function in functions
    }
    total = sum(variances.values())
    name = max(variances, key=lambda one: variances[one])
    if not total or variances[name] < DOMINATES * total:
        return []
    others = ", ".join(one for one in variances if one != name)
    return [
        Advice(
            "dominated",
            f"{name} makes {variances[name] / total:.0%} of what differs within groups; {others} "
            f"hardly {'matter' if len(variances) > 2 else 'matters'}.",
            f"Raise the weight of {others}, or leave it away.",
        )
    ]


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
