"""What each metric is, in one sentence, and honest answers to what people ask about it.

A text says only what holds for every recipe, or names the recipes it holds for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """Of one metric."""

    about: str
    questions: tuple[tuple[str, str], ...] = ()
    """Each with its answer."""
    form: str = "number"
    """How its numbers look (see `charts.number`)."""


PART = "reward/*/mean"
"""Stands for the mean of any reward function."""
