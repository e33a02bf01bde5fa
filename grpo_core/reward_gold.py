"""Whether a reward pays more for being wrong than for the reference answer."""

from __future__ import annotations

from grpo_core.records import Group, Problem, Rollout
from grpo_core.reward_advice import Advice

GOLD_FORMS = (
    "{answer}",
    "\\boxed{{{answer}}}",
    "#### {answer}",
    "<answer>{answer}</answer>",
    "<think>It is {answer}.</think>{answer}",
    "<think>It is {answer}.</think><answer>{answer}</answer>",
)
"""Ways to write the reference answer, of which the best one counts."""


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
