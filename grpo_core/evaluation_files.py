"""Every completion of an evaluation as a file for other programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grpo_core.evaluation_report import answered
from grpo_core.evaluation_store import EvaluationReader

COLUMNS = (
    "problem", "question", "gold", "kind", "completion", "extracted", "rule", "correct", "verdict",
    "finish", "num_tokens",
)  # fmt: skip
"""Of `completions`."""


def completions(path: Path) -> Iterator[dict[str, Any]]:
    """Every stored completion as a row of `COLUMNS`, in the order asked."""
    with EvaluationReader(path) as reader:
        texts = {row["rollout_id"]: row["text"] for row in reader.texts()}
    for problem in answered(path):
        for one in [problem.greedy, *problem.sampled]:
            yield {
                "problem": problem.key,
                "question": problem.question,
                "gold": problem.gold,
                "kind": one["kind"],
                "completion": texts[one["rollout_id"]],
                "extracted": one["extracted"],
                "rule": one["rule"],
                "correct": bool(one["correct"]),
                "verdict": one["verdict"],
                "finish": one["finish"],
                "num_tokens": one["num_tokens"],
            }


def as_jsonl(path: Path) -> bytes:
    """One JSON object a line, ASCII: a text may hold half of a character."""
    return "".join(json.dumps(row) + "\n" for row in completions(path)).encode()


def as_csv(path: Path) -> bytes:
    """A table that begins with the mark that makes spreadsheets read UTF-8. A text that they would
    carry out as a formula gets an apostrophe in front; the JSONL file has it as it was."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in completions(path):
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


def _harmless(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    return value if value[1:].replace(".", "", 1).isdecimal() else f"'{value}"
