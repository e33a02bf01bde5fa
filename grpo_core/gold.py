"""The reference answer that a row of a data set gives. What has none is said, never guessed."""

from __future__ import annotations

import math

from grpo_core.grading import last_box


def gold_of(task: str, written: object) -> str:
    """The reference answer in `written`, a row's answer column or its solution.

    `gsm8k`: what follows the last `####`, without thousands commas. `math`: what stands in the last
    `\\boxed{…}`. Any other task: the whole of it. Raises ValueError where there is none.
    """
    if is_missing(written):
        raise ValueError("there is no reference answer")
    text = str(written)
    if task == "gsm8k":
        return _after_hashes(text)
    if task == "math":
        return _in_last_box(text)
    if not text.strip():
        raise ValueError("the reference answer is empty")
    return text.strip()


def is_missing(cell: object) -> bool:
    """Whether there is nothing in a cell; Parquet says so by NaN too."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _after_hashes(solution: str) -> str:
    _, mark, gold = solution.rpartition("####")
    if not mark or not gold.strip():
        raise ValueError(
            "the solution has no '#### <answer>'; use task: file for data whose answers stand alone"
        )
    return gold.strip().replace(",", "")


def _in_last_box(solution: str) -> str:
    gold = last_box(solution)
    if gold is None:
        raise ValueError(
            "the solution has no \\boxed{answer}; use task: file for data whose answers stand alone"
        )
    if not gold.strip():
        raise ValueError("the solution's box is empty")
    return gold.strip()
