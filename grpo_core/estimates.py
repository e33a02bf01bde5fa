"""What several sampled completions of a problem say: pass@k and maj@k."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from grpo_core.grading import spelled


def pass_at_k(num: int, num_correct: int, k: int) -> float:
    """The chance that at least one of `k` completions is right, from `num` of which `num_correct`
    are: the share of all choices of `k` that hold a right one. Unbiased for `k` up to `num`
    (arXiv 2107.03374, equation 1)."""
    assert 1 <= k <= num
    return 1 - math.comb(num - num_correct, k) / math.comb(num, k)


def majority_at_k(votes: Sequence[Hashable | None], k: int) -> float:
    """How often the most frequent answer of `k` completions is right (arXiv 2203.11171): the mean
    over blocks of `k` in sampling order, which do not overlap, so it is unbiased.

    `votes`: see `votes_of`. Of answers that are equally frequent each has the same chance; a block
    in which nobody answers is wrong.
    """
    assert 1 <= k <= len(votes)
    blocks = [votes[start : start + k] for start in range(0, len(votes) - k + 1, k)]
    return math.fsum(_majority(block) for block in blocks) / len(blocks)


def _majority(votes: Sequence[Hashable | None]) -> float:
    counts = Counter(vote for vote in votes if vote is not None)
    most = max(counts.values(), default=0)
    first = [vote for vote, count in counts.items() if count == most]
    return 1 / len(first) if RIGHT in first else 0.0


RIGHT = "right"
"""The vote of a completion that the judge calls correct."""


def votes_of(answers: Sequence[tuple[str | None, bool]]) -> list[Hashable | None]:
    """One vote for each `(extracted, correct)`: completions that give the same answer vote for the
    same, the right ones for `RIGHT`, those without an answer for None. Wrong answers are the same
    where they are the same number or text; no algebra is done on them.
    """
    return [
        RIGHT if correct else None if answer is None else ("wrong", spelled(answer))
        for answer, correct in answers
    ]


def ks(num: int) -> list[int]:
    """The numbers of completions that are reported for `num` of them: powers of two, and `num`."""
    powers = [1 << exponent for exponent in range(num.bit_length()) if 1 << exponent <= num]
    return powers if num in powers else [*powers, num]
