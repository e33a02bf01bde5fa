"""From toy to run: what the theory says of a stored run, and what its own groups show."""

from __future__ import annotations

from dataclasses import replace

from studio.theory import (
    in_run_difficulty,
    in_run_entropy,
    in_run_flat,
    in_run_gradient,
    in_run_variance,
)
from studio.theory.in_run_data import Comparison, Stored

PARTS = (in_run_variance, in_run_gradient, in_run_difficulty, in_run_flat, in_run_entropy)


CLAIMS = {
    "variance": "The rewards of a group vary in its second half as in its first, so that "
    "$\\sigma^2(1-\\frac1G)$ speaks of all its completions.",
    "gradient": "In the direction of the length, the variance of a group's gradient falls with "
    "$G$ as the law says.",
    "difficulty": "The advantages of a group are as large as independent draws from its prompt's "
    "solve rate make them.",
    "flat": "$p^G+(1-p)^G$, with one solve rate for all prompts of a step, gives the share of "
    "groups that are all right or all wrong.",
    "entropy": "Steps whose covariance says that the entropy falls more are those after which it "
    "falls more, at equal entropy before.",
}
"""What each verdict is about."""


def comparisons(stored: Stored) -> list[Comparison]:
    """All five, in the order in which they are read. What a run cannot tell is said by its
    verdict; nothing is raised for a run without groups."""
    return [_with_claim(part.compare(stored)) for part in PARTS]


def _with_claim(found: Comparison) -> Comparison:
    return replace(found, verdict=replace(found.verdict, claim=CLAIMS[found.key]))
