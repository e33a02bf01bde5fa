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
    "variance": "All completions of a group are drawn alike: its second half varies as its first.",
    "gradient": "The variance of the gradient falls with the group as the law says.",
    "difficulty": "Advantages follow from the prompt's solve rate alone, as independent draws do.",
    "flat": "One solve rate for all prompts of a step explains the groups without a signal.",
    "entropy": "Entropy changes by the covariance of log-probability and advantage.",
}
"""What each verdict is about."""


def comparisons(stored: Stored) -> list[Comparison]:
    """All five, in the order in which they are read. What a run cannot tell is said by its
    verdict; nothing is raised for a run without groups."""
    return [_with_claim(part.compare(stored)) for part in PARTS]


def _with_claim(found: Comparison) -> Comparison:
    return replace(found, verdict=replace(found.verdict, claim=CLAIMS[found.key]))
