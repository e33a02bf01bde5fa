"""What an evaluation found, from its stored completions: shares with their intervals, by kind of
problem, and every completion as a row. No torch.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from grpo_core.estimates import ks, majority_at_k, pass_at_k, votes_of
from grpo_core.evaluation_store import GREEDY, EvaluationReader
from grpo_core.evaluations import Evaluation, EvaluationSettings
from grpo_core.intervals import of_mean, wilson

MAX_KINDS = 12
"""Different values of a column up to which problems are told apart by it."""
NUM_BANDS = 4
"""Bands of about as many problems each, by a length."""


@dataclass(frozen=True)
class Answered:
    """A problem with what was said to it; completions without their texts."""

    key: str
    group_id: int
    batch: int
    question: str
    gold: str
    row: dict[str, Any]
    greedy: dict[str, Any]
    sampled: list[dict[str, Any]]

    @property
    def is_right(self) -> bool:
        """Whether the greedy completion is."""
        return bool(self.greedy["correct"])

    @property
    def num_right(self) -> int:
        """Right ones among the sampled."""
        return sum(bool(one["correct"]) for one in self.sampled)


def answered(path: Path) -> list[Answered]:
    """All finished problems of an evaluation's `run.db`, in the order asked; none before the
    first. sqlite3.Error where the file is damaged."""
    if not path.exists():
        return []
    with EvaluationReader(path) as reader:
        problems, answers = reader.problems(), reader.answers()
    by_group: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for one in answers:
        by_group[one["group_id"]].append(one)
    return [_answered(problem, by_group[problem["group_id"]]) for problem in problems]


def _answered(problem: dict[str, Any], said: list[dict[str, Any]]) -> Answered:
    row = json.loads(problem["row"])
    (greedy,) = (one for one in said if one["kind"] == GREEDY)
    return Answered(
        problem["key"],
        problem["group_id"],
        problem["step"],
        problem["question"],
        problem["answer"],
        row if isinstance(row, dict) else {},
        greedy,
        [one for one in said if one["kind"] != GREEDY],
    )


# --- shares --------------------------------------------------------------------------------------


def report(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was found, so far; shares are between 0 and 1, intervals are of 95 %."""
    settings, problems = evaluation.settings(), answered(evaluation.db_path)
    seconds = 0.0
    notices: list[str] = []
    if evaluation.db_path.exists():
        with EvaluationReader(evaluation.db_path) as reader:
            seconds = reader.seconds()
            notices = [e["detail"].get("message", "") for e in reader.events(kinds=["notice"])]
    return {
        "name": evaluation.name,
        "status": evaluation.status(),
        "model": settings.model_label,
        "task": settings.data.task,
        "num_problems": settings.num_problems,
        "num_done": len(problems),
        "seconds": seconds,
        "notices": notices,
        "greedy": greedy_shares(problems),
        "sampled": sampled_shares(problems, settings),
        "by": [{"name": name, "rows": rows} for name, rows in by_kind(problems)],
        "settings": settings.model_dump(mode="json"),
    }


def greedy_shares(problems: Sequence[Answered]) -> dict[str, Any]:
    """pass@1 of the greedy completions with Wilson's interval, and how they ended."""
    said = [problem.greedy for problem in problems]
    num_correct = sum(problem.is_right for problem in problems)
    rules = Counter(one["rule"] for one in said)
    right = Counter(problem.greedy["rule"] for problem in problems if problem.is_right)
    return {
        "num": len(said),
        "num_correct": num_correct,
        "accuracy": num_correct / len(said) if said else None,
        "interval": list(wilson(num_correct, len(said))),
        **_endings(said),
        "rules": {rule: {"num": num, "correct": right[rule]} for rule, num in rules.most_common()},
    }


def sampled_shares(
    problems: Sequence[Answered], settings: EvaluationSettings
) -> dict[str, Any] | None:
    """pass@k and maj@k of the sampled completions; None where nothing was sampled."""
    if not settings.samples or not problems:
        return None
    num = settings.samples
    votes = [votes_of([(o["extracted"], bool(o["correct"])) for o in p.sampled]) for p in problems]
    passes = {k: [pass_at_k(num, p.num_right, k) for p in problems] for k in ks(num)}
    majorities = {k: [majority_at_k(one, k) for one in votes] for k in ks(num) if k > 1}
    return {
        "samples": num,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "num": num * len(problems),
        "num_correct": sum(problem.num_right for problem in problems),
        "pass": [{"k": k, **_mean(values)} for k, values in passes.items()],
        "majority": [{"k": k, **_mean(values)} for k, values in majorities.items()],
        **_endings([one for problem in problems for one in problem.sampled]),
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"value": fmean(values), "interval": list(of_mean(values))}


def _endings(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Shares of completions that were cut off, and that hold no answer; what got no verdict."""
    num = len(said)
    return {
        "truncated": sum(one["finish"] == "length" for one in said) / num if num else None,
        "unanswered": sum(one["extracted"] is None for one in said) / num if num else None,
        "undecided": sum(one["verdict"] != "ok" for one in said),
        "length_mean": fmean(one["num_tokens"] for one in said) if num else None,
    }


# --- by kind of problem --------------------------------------------------------------------------


def by_kind(problems: Sequence[Answered]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Greedy accuracy by each data column that tells problems apart, by the number of steps of the
    reference solution, and by the length of question and completion."""
    found = [(name, _by_value(problems, name)) for name in _telling_columns(problems)]
    lengths: list[tuple[str, Callable[[Answered], int | None]]] = [
        ("steps of the solution", _num_steps),
        ("characters of the question", lambda one: len(one.question)),
        ("tokens of the greedy completion", lambda one: one.greedy["num_tokens"]),
    ]
    found += [(name, _by_band(problems, length)) for name, length in lengths]
    return [(name, rows) for name, rows in found if len(rows) > 1]


def _telling_columns(problems: Sequence[Answered]) -> list[str]:
    """Columns with few short values, such as MATH's `level` and `type` or CMATH's `grade`."""
    values: dict[str, set[Any]] = defaultdict(set)
    whole: Counter[str] = Counter()
    for problem in problems:
        for name, value in problem.row.items():
            if isinstance(value, str | int | bool) and len(str(value)) <= 60:
                whole[name] += 1
                if len(values[name]) <= MAX_KINDS:
                    values[name].add(value)
    return [
        name
        for name, kinds in values.items()
        if 1 < len(kinds) <= MAX_KINDS
        and whole[name] == len(problems)
        and 2 * len(kinds) <= len(problems)
        and any(str(problem.row[name]) != problem.gold for problem in problems)
    ]


def _by_value(problems: Sequence[Answered], name: str) -> list[dict[str, Any]]:
    kinds: dict[Any, list[Answered]] = defaultdict(list)
    for problem in problems:
        kinds[problem.row[name]].append(problem)
    order = sorted(kinds, key=lambda value: (isinstance(value, str), value))
    return [_share(str(value), kinds[value]) for value in order]


def _by_band(
    problems: Sequence[Answered], length: Callable[[Answered], int | None]
) -> list[dict[str, Any]]:
    """Bands of about as many problems each; equal lengths are never split."""
    known = sorted(
        ((value, p) for p in problems if (value := length(p)) is not None), key=lambda one: one[0]
    )
    bands: list[list[tuple[int, Answered]]] = []
    for index, one in enumerate(known):
        is_due = index * NUM_BANDS >= len(bands) * len(known)
        if not bands or (is_due and bands[-1][-1][0] != one[0]):
            bands.append([])
        bands[-1].append(one)
    shown = []
    for band in bands:
        low, high = band[0][0], band[-1][0]
        label = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        shown.append(_share(label, [problem for _, problem in band]))
    return shown


def _share(label: str, problems: Sequence[Answered]) -> dict[str, Any]:
    num = sum(problem.is_right for problem in problems)
    return {
        "value": label,
        "num": len(problems),
        "num_correct": num,
        "accuracy": num / len(problems),
        "interval": list(wilson(num, len(problems))),
    }


def _num_steps(problem: Answered) -> int | None:
    """Lines of a solution that ends in `####`, as GSM8K writes them."""
    solution = problem.row.get("solution")
    if not isinstance(solution, str) or "####" not in solution:
        return None
    return len([line for line in solution.rpartition("####")[0].splitlines() if line.strip()])


def remaining_s(num_done: int, num_problems: int, seconds: float) -> float | None:
    """Seconds until the rest is done, at the pace so far; None before the first batch."""
    return seconds / num_done * (num_problems - num_done) if num_done else None
