"""Small tables of an evaluation: where the answers stood, what several samples give, how they
ended.
"""

from __future__ import annotations

from typing import Any

from studio import charts
from studio.evaluation_view import within


def rules(found: dict[str, Any]) -> list[dict[str, Any]]:
    """How often each rule found the answer of a greedy completion, and how often it was right."""
    return [
        {
            "Found by": rule.replace("_", " "),
            "Completions": f"{counts['num']:,}",
            "Right": charts.number(counts["correct"] / counts["num"], "percent"),
        }
        for rule, counts in found["greedy"]["rules"].items()
    ]


def several(sampled: dict[str, Any]) -> list[dict[str, Any]]:
    """pass@k and maj@k with their 95 % intervals."""
    majority = {row["k"]: row for row in sampled["majority"]}
    return [
        {"k": row["k"], "pass@k": _share(row), "maj@k": _share(majority.get(row["k"]))}
        for row in sampled["pass"]
    ]


def _share(row: dict[str, Any] | None) -> str:
    if row is None:
        return charts.NONE
    return f"{charts.number(row['value'], 'percent')} ({within(row['interval'])})"


def endings(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut off, without an answer, not judged in time; greedy and sampled."""
    columns = {"Greedy": found["greedy"]}
    if found["sampled"]:
        columns["Sampled"] = found["sampled"]
    lines = [
        ("cut off", "truncated", "percent"),
        ("no answer found", "unanswered", "percent"),
        ("not judged in time", "undecided", "rate"),
        ("tokens, mean", "length_mean", "count"),
    ]
    return [
        {
            "Completions": title,
            **{name: charts.number(column[key], form) for name, column in columns.items()},
        }
        for title, key, form in lines
    ]
