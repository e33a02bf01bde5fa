"""Answers compared as mathematics, and what a model may write to keep SymPy busy for ever."""

from __future__ import annotations

import time

import pytest

from grpo_core.config import RewardConfig
from grpo_core.grading import grade as plainly
from grpo_core.records import Group, Problem, Rollout
from grpo_core.rewards import resolve
from grpo_core.scorer import Scorer
from grpo_core.symbolic import equal, grade


@pytest.mark.parametrize(
    ("given", "gold", "same"),
    [
        (r"\frac{1}{\sqrt2}", r"\frac{\sqrt{2}}{2}", True),
        ("(x+1)^2", "x^2 + 2x + 1", True),
        ("x^2 + 2x + 2", "(x+1)^2", False),
        (r"\sqrt{242}", r"11\sqrt{2}", True),
        (r"2\pi", "6.28", False),
        ("[0,1)", "(0,1)", False),
        (r"(3,\infty)", "x > 3", True),
        ("x > 3", r"(3,\infty)", False),  # math-verify's rule: a set was asked for
        (r"\{2, 1\}", r"\{1,2\}", True),
        ("2, 1", "1, 2", True),
        ("(2,1)", "(1,2)", False),
        ("6 - 5i", "-5i + 6", True),
        ("y = 3 + 2x", "y = 2x + 3", True),
        ("y = 3 + 2x", "y = 2x - 3", False),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", False),
        (r"\sqrt{2} \text{ cm}", r"\sqrt 2", True),
        (r"\frac{1}{0}", "5", False),
        ("", "5", False),
        # what numbers and texts are is decided before, see test_grading.py
        ("0.5", r"50\%", False),
        ("18.0 apples", "18", True),
        ("evelyn", r"\text{Evelyn}", True),
        ("Anna", r"\text{Evelyn}", False),
    ],
)  # fmt: skip
def test_equal(given: str, gold: str, same: bool) -> None:
    assert equal(given, gold) is same


def test_the_answer_is_looked_for_where_it_always_is() -> None:
    assert grade(r"x = 3, so \boxed{\frac{2}{\sqrt{2}}}.", r"\sqrt{2}")
    assert not grade(r"<think>\sqrt{2}", r"\sqrt{2}")
    assert not grade("no answer here", r"\sqrt{2}")


HARMLESS = [
    r"\boxed{" * 3000 + "1" + "}" * 3000,
    "(" * 3000 + "1" + ")" * 3000,
    "so it is " + "word " * 1_000_000 + r"\boxed{\sqrt{3}}",
    "\\boxed{\ud800\udfff \ud800}",
    "<answer>__import__('os').system('touch /tmp/evaluated')</answer>",
    r"\boxed{__import__('os').getpid()}",
    r"\boxed{exec(open('/etc/passwd').read())}",
    "\x00" * 10_000,
]  # fmt: skip
HEAVY = [
    r"\boxed{" + "{" * 3000 + "1" + "}" * 3000 + "}",
    r"\boxed{9**9**9 + \sqrt{2}}",
    r"\boxed{9^{9^{9^9}} + \sqrt{2}}",
    r"\boxed{10000000! + \sqrt{2}}",
    r"\boxed{10000000!}",
    r"\boxed{\sum_{k=1}^{1000000000} k^k}",
    r"\boxed{\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}}",
]


@pytest.mark.slow
def test_hostile_answers_cost_at_most_their_deadline_and_nobody_else() -> None:
    """A verdict or a timeout for each; the right ones are right, and so is the next batch."""
    right = [r"it is \boxed{\sqrt{8}}", r"<answer>2\sqrt{2}</answer>"]
    texts = [right[0], *HARMLESS, *HEAVY, right[1]]
    group, after = (
        Group(Problem("0", "", r"2\sqrt{2}"), "", [], [Rollout([0], [], t, "stop") for t in some])
        for some in (texts, right)
    )
    with Scorer(resolve([RewardConfig(builtin="symbolic")]), 0.7) as scorer:
        began = time.monotonic()
        scorer.score([group], 1)
        assert time.monotonic() - began < 3 * len(HEAVY) + 12
        scorer.score([after], 2)
    assert [rollout.reward for rollout in after.rollouts] == [1.0, 1.0]
    first, *others, last = group.rollouts
    assert [first.reward, last.reward] == [1.0, 1.0]
    harmless, heavy = others[: len(HARMLESS)], others[len(HARMLESS) :]
    assert {(one.outcome, one.reward) for one in harmless} == {("ok", 0.0)}
    assert {one.outcome for one in heavy} <= {"ok", "timeout", "error"}
    assert "timeout" in {one.outcome for one in heavy}
    assert all(one.reward == 0.0 for one in heavy if one.outcome == "ok")


@pytest.mark.parametrize("text", [*HARMLESS, *HEAVY])
def test_the_grader_of_the_trainer_itself_evaluates_nothing(text: str) -> None:
    began = time.monotonic()
    assert not plainly(text, r"2\sqrt{2}")
    assert time.monotonic() - began < 2
