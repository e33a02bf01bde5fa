"""pass@k and maj@k against all choices of k completions."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, permutations

import pytest

from grpo_core.estimates import RIGHT, ks, majority_at_k, pass_at_k, votes_of


@pytest.mark.parametrize("num", [1, 2, 5, 8])
def test_pass_at_k_is_the_share_of_choices_with_a_right_one(num: int) -> None:
    for num_correct in range(num + 1):
        completions = [True] * num_correct + [False] * (num - num_correct)
        for k in range(1, num + 1):
            choices = list(combinations(completions, k))
            share = Fraction(sum(any(choice) for choice in choices), len(choices))
            assert pass_at_k(num, num_correct, k) == pytest.approx(float(share), abs=1e-15)


def test_the_majority_by_hand() -> None:
    votes = [RIGHT, RIGHT, "a", "a", None, "b", RIGHT]
    assert majority_at_k(votes, 1) == 3 / 7
    # blocks of 3: right twice; "a" beats "b"? no, each stands once: neither is right
    assert majority_at_k(votes, 3) == (1 + 0) / 2
    # right 3 times, "a" twice
    assert majority_at_k(votes, 7) == 1
    assert majority_at_k([RIGHT, "a"], 2) == 0.5, "a tie is a coin"
    assert majority_at_k([None, None], 2) == 0, "nobody answers"
    assert majority_at_k([None, RIGHT], 2) == 1, "who says nothing has no vote"


def test_the_majority_of_blocks_is_unbiased() -> None:
    """Over all orders in which the completions could have come it is the mean over all choices."""
    votes = [RIGHT, RIGHT, "a", "b", None]
    for k in (2, 3):
        orders = [majority_at_k(order, k) for order in permutations(votes)]
        choices = [majority_at_k(list(choice), k) for choice in combinations(votes, k)]
        assert sum(orders) / len(orders) == pytest.approx(sum(choices) / len(choices))


def test_equal_answers_vote_for_the_same() -> None:
    answers = [("1,000", False), ("1000.0", False), ("18", True), ("18.0", True), (None, False)]
    thousand, again, right, also, none = votes_of([*answers])
    assert thousand == again and right == also == RIGHT and none is None
    assert len({*votes_of([("x", False), ("X.", False), ("y", False), ("right", False)])}) == 3


def test_which_ks_are_reported() -> None:
    assert [ks(1), ks(2), ks(6), ks(64)] == [
        [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16, 32, 64],
    ]  # fmt: skip
