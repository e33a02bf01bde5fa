"""What is said of rewards that cannot teach; the numbers in it are worked out by hand."""

from __future__ import annotations

import pytest

from grpo_core.records import Group, Problem, Rollout
from grpo_core.reward_advice import advise
from grpo_core.reward_gold import GOLD_FORMS, advise_gold, gold_groups
from grpo_core.rewards import RewardFunction
from grpo_core.scorer import Scorer


def group(rewards, lengths=None, parts=None, prompt="<p>", correct=None) -> Group:
    rollouts = []
    for index, reward in enumerate(rewards):
        one = Rollout([1] * (lengths or [5] * len(rewards))[index], [], "text", "stop")
        one.reward, one.outcome = reward, "ok"
        one.parts = parts[index] if parts else {"f": reward}
        one.correct = bool(correct and correct[index])
        rollouts.append(one)
    return Group(Problem("p", "q", "18"), prompt, [], rollouts)


def function(name="f", weight=1.0, source="def f(completion): return 1") -> RewardFunction:
    return RewardFunction(name, source, name, weight)


def kinds(groups, *functions):
    return [one.kind for one in advise(groups, functions or [function()])]


GOOD = [0.0, 1.0, 0.0, 1.0]
LENGTHS = [3, 9, 9, 3]


def test_a_reward_that_teaches_hears_nothing():
    assert kinds([group(GOOD, LENGTHS)] * 4) == []


def test_few_completions_say_nothing():
    assert kinds([group([0.5] * 7)]) == [] and kinds([group([0.5] * 8)]) == ["constant"]
    assert kinds([group([None] * 20)]) == []  # faults, which speak for themselves


def test_rewards_that_do_not_apply():
    nothing = [group([None] * 4) for _ in range(5)]
    for one in (rollout for some in nothing for rollout in some.rollouts):
        one.outcome = "abstain"
    (one,) = advise(nothing, [function()])
    assert one.message.startswith("20 of 20 completions get no reward: every function says")
    assert advise([*nothing[:2], *[group(GOOD, LENGTHS)] * 2], [function()]) == [], "8 of 16"
    silent, constant = advise([*nothing, *[group([0.5] * 4)] * 3], [function()])
    assert silent.message.startswith("20 of 32")
    assert constant.message.startswith("All 12 that get one get 0.5: there is nothing to compare")


def test_the_reference_answer_has_as_many_tokens_as_the_model_would_take():
    # 10 characters and 4 tokens in each completion, so 0.4 tokens a character
    groups = [group([0.0, 1.0], [4, 4])]
    for rollout in groups[0].rollouts:
        rollout.text = "0123456789"
    (gold,) = gold_groups(groups)
    texts = [rollout.text for rollout in gold.rollouts]
    assert texts[0] == "18" and texts[3] == "<answer>18</answer>"
    assert (len(gold.rollouts[0].ids), len(gold.rollouts[3].ids)) == (1, 8)  # 0.8 and 7.6


def test_constant():
    (one,) = advise([group([0.25] * 4)] * 4, [function()])
    assert one.message.startswith("Every completion gets 0.25: there is nothing to compare")


def test_most_groups_flat():
    # 3 of 4 groups flat at different values; 8 and 8 of 16 at either end
    flat = [group([1.0] * 4), group([0.0] * 4), group([1.0] * 4), group(GOOD[:4], LENGTHS)]
    (one,) = advise(flat, [function()])
    assert one.kind == "flat" and one.message.startswith("In 3 of 4 groups all rewards are equal")
    assert kinds([*flat, group(GOOD, LENGTHS)]) == []  # 3 of 5


@pytest.mark.parametrize(
    ("rewards", "kind", "said"),
    [
        ([2.0] * 9 + [1.0], "saturated", "90% of the completions have the highest reward, 2,"),
        ([0.0] * 9 + [1.0], "sparse", "90% of the completions have the lowest reward, 0."),
        ([0.0] * 8 + [1.0] * 2, None, ""),
    ],
)
def test_all_at_one_end(rewards, kind, said):
    lengths = [3, 9, 6, 6, 6, 6, 6, 6, 6, 6]
    found = advise([group(rewards, lengths)] * 2, [function()])
    assert [one.kind for one in found] == ([kind] if kind else [])
    assert not kind or found[0].message.startswith(said)


def test_one_part_decides():
    """Variances within the group: of `a` 0.25, of `b` 0.01 times the square of its weight."""
    parts = [{"a": a, "b": b} for a, b in [(0, 0.1), (1, 0.3), (0, 0.3), (1, 0.1)]]
    groups = [group([p["a"] + p["b"] for p in parts], LENGTHS, parts)] * 4
    (one,) = advise(groups, [function("a"), function("b")])
    assert one.message == "a makes 96% of what differs within groups; b hardly matters."
    assert kinds(groups, function("a"), function("b", weight=2.0)) == []  # 0.25 of 0.29: 86 %
    assert kinds(groups, function("a")) == []


def test_each_group_counts_the_same_where_its_deviation_divides():
    """Of three groups one differs in `a`, two in `b` alone: shares 100 %, 0 and 0 of `a`."""
    mixed = [{"a": a, "b": 0.0} for a in (0, 1, 0, 1)]
    equal = [{"a": 1.0, "b": b} for b in (0.1, 0, 0, 0.1)]
    groups = [
        group([p["a"] + p["b"] for p in parts], LENGTHS, parts) for parts in (mixed, equal, equal)
    ]
    both = [function("a"), function("b")]
    (lifted,) = advise(groups, both)
    assert lifted.kind == "lifted"
    assert lifted.message == (
        "In 2 of the 3 groups that differ, b alone makes the difference. Advantages are divided by "
        "their group's deviation, so that 0.1 counts as much there as 1 of a does elsewhere."
    )
    # undivided: variances 1 of `a`, 2 * 0.01 of `b`, which is 98 % and not in the way of `a`
    (dominated,) = advise(groups, both, divides=False)
    assert dominated.message == "a makes 98% of what differs within groups; b hardly matters."
    assert kinds([groups[0]] * 4 + [groups[1]], *both) == [], "1 of 5 groups: now and then is fine"
    assert kinds(groups, function("a"), function("b", weight=6.0)) == [], "0.6 was meant to count"


def test_following_the_length():
    # both prompts: lengths 1, 2, 3, 4 and rewards 1, 2, 3, 5 around their means: 6.5 / √(5 * 8.75)
    groups = [group([1.0, 2.0, 3.0, 5.0], [1, 2, 3, 4])] * 4
    (one,) = advise(groups, [function()])
    assert "correlation 0.98): what will be learned first is to be longer." in one.message
    groups = [group([5.0, 3.0, 2.0, 1.0], [1, 2, 3, 4])] * 4
    assert (
        "correlation -0.98): what will be learned first is to be shorter"
        in advise(groups, [function()])[0].message
    )
    # longer prompts have longer texts and better rewards, but within a group nothing goes together
    between = [group([10.0 * g + r for r in GOOD], [50 * g + n for n in LENGTHS]) for g in (0, 1)]
    assert kinds(between * 2) == []


def test_the_template_has_emitted_the_tag():
    source = "def think(completion):\n    return completion.startswith('<think>')\n"
    groups = [group([0.0] * 4, prompt="<user>q<assistant><think>\n")] * 2
    found = advise(groups, [RewardFunction("f", source, "think")])
    assert [one.kind for one in found] == ["template", "constant"]
    assert found[0].message.startswith(
        "f gives every completion 0, and the prompt ends with <think>"
    )
    assert kinds([group([0.0] * 4, prompt="<think> q")] * 2) == ["constant"]


def test_the_reference_answer_is_worth_most():
    accuracy = (
        "from grpo_core.grading import grade\n"
        "def f(completion, answer):\n    return 1.0 if grade(completion, answer) else 0.0\n"
    )
    hackable = "def f(completion):\n    return completion.count('18')\n"
    wrong, right = Rollout([1], [], "18 18 18 or 19", "stop"), Rollout([1], [], "18", "stop")
    right.correct = True
    for source, said in ((accuracy, []), (hackable, ["gold"])):
        groups = [Group(Problem("p", "q", "18"), "<p>", [], [wrong, right])]
        groups.append(Group(Problem("p", "q", ""), "<p>", [], [wrong]))  # no answer is known
        gold = gold_groups(groups)
        assert [len(one.rollouts) for one in gold] == [len(GOLD_FORMS), 0]
        functions = [RewardFunction("f", source, "f")]
        with Scorer(functions, 5.0) as scorer:
            scorer.score(groups, 1)
            assert scorer.score(gold, 1) == []
        found = advise_gold(groups, gold)
        assert [one.kind for one in found] == said
    # three times 18 against two, of `<think>It is 18.</think>18`
    assert "In 1 of 2 groups a wrong completion gets more" in found[0].message
    assert "such as 3 against 2." in found[0].message


def test_right_completions_may_be_worth_more_than_the_forms_of_the_answer():
    one = group([3.0, 0.0], correct=[True, False])
    gold = gold_groups([one])
    for rollout in gold[0].rollouts:
        rollout.reward = 1.0
    assert advise_gold([one], gold) == []
