"""Trying rewards without training: on what a run has stored, or on a file of completions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from grpo_core.judge import Judge, mark
from grpo_core.reader import RunReader
from grpo_core.records import Group, Problem, Rollout
from grpo_core.reward_advice import advise
from grpo_core.reward_gold import advise_gold, gold_groups
from grpo_core.rewards import RewardFunction
from grpo_core.sandbox_probe import Protection
from grpo_core.scorer import Scorer

PATIENCE_S = 20.0
"""For the answers of a file that take algebra: a page waits for them."""
MAX_LINE = 16 << 20
"""Characters of one line of a data file."""


# --- where completions come from ----------------------------------------------------------------


def stored_groups(
    reader: RunReader, step: int, question_column: str, most: int | None = None
) -> list[Group]:
    """The completions of a step as the scorer takes them; whole groups, at most `most`."""
    groups: list[Group] = []
    num = 0
    for summary in reader.group_summaries(step):
        num += summary["num"]
        if groups and most is not None and num > most:
            break
        stored = reader.group(summary["id"])
        if stored is not None:
            groups.append(_stored_group(reader, stored, question_column))
    return groups


def _stored_group(reader: RunReader, stored: dict[str, Any], column: str) -> Group:
    row = stored["row"]
    problem = Problem(stored["problem_id"], str(row.get(column, "")), stored["answer"], row)
    rollouts = []
    for one in stored["rollouts"]:
        trace = reader.trace(one["id"])
        # The length is always right; the ids themselves are kept for some groups only.
        ids = trace[0] if trace else [-1] * one["num_tokens"]
        rollout = Rollout(ids, [], one["text"], one["finish"])
        rollout.reward, rollout.correct = one["reward"], one["correct"]
        rollout.parts = one["parts"]
        rollouts.append(rollout)
    return Group(problem, stored["prompt"], [], rollouts)


def read_groups(path: Path, most: int | None = None) -> list[Group]:
    """Rows `prompt, completion` and any other columns of a JSONL file, in its order; neighbours
    that differ in their completion alone are one group.

    Prompt and completion are texts, or lists of chat messages, of which the last one counts. What
    the user turn says is in a column `question`, else it is the prompt. `completion_ids` are those
    of a column of that name, else there are none. With `most`, only the first so many rows.
    Raises ValueError that names the line.
    """
    try:
        if not path.is_file() and path.exists():
            raise ValueError(f"{path}: is not a file")
        with path.open(encoding="utf-8-sig") as file:
            rows = list(islice(_rows(path.name, file), most))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8: {error.reason}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not rows:
        raise ValueError(f"{path}: has no rows")
    groups: list[Group] = []
    for (prompt, columns), members in groupby(rows, key=lambda row: row[:2]):
        answer = columns.get("answer")
        asked = columns.get("question")
        question = asked if isinstance(asked, str) else prompt
        gold = "" if answer is None else str(answer)
        problem = Problem(str(len(groups)), question, gold, columns)
        rollouts = [Rollout(ids, [], text, "stop") for _, _, text, ids in members]
        groups.append(Group(problem, prompt, [], rollouts))
    with Judge(patience_s=PATIENCE_S) as judge:
        mark(groups, judge)
    return groups


def to_rows(groups: list[Group]) -> Iterator[dict[str, Any]]:
    """Groups as the rows that `read_groups` takes: what a reward function may ask for by name."""
    for group in groups:
        problem = group.problem
        columns = {"question": problem.question, **problem.row}
        for one in group.rollouts:
            said = {"prompt": group.prompt, "completion": one.text, "completion_ids": one.ids}
            said["answer"] = problem.answer
            yield {**said, **columns, **said}  # these first, and no column in their place


def _rows(name: str, lines: Any) -> Iterator[tuple[str, dict[str, Any], str, list[int]]]:
    """Prompt, other columns, completion and its token ids of each row."""
    number = 0
    while line := lines.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise ValueError(f"{name}, line {number}: is longer than {MAX_LINE} characters")
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}, line {number}: is not JSON: {error}") from None
        if not isinstance(row, dict) or not {"prompt", "completion"} <= row.keys():
            raise ValueError(
                f"{name}, line {number}: needs an object with `prompt` and `completion`"
            )
        where = f"{name}, line {number}"
        ids = row.pop("completion_ids", [])
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            raise ValueError(f"{where}: `completion_ids` is not a list of whole numbers")
        prompt, completion = (_text(row.pop(key), where, key) for key in ("prompt", "completion"))
        yield prompt, row, completion, ids


def _text(value: Any, where: str, key: str) -> str:
    match value:
        case str(text) | [*_, {"content": str(text)}]:
            return text
    raise ValueError(f"{where}: `{key}` is neither a text nor a list of chat messages")


# --- what a reward says of them ------------------------------------------------------------------


def report(
    functions: list[RewardFunction],
    groups: list[Group],
    step: int,
    timeout_s: float,
    protection: Protection,
) -> dict[str, Any]:
    """One JSON object: `functions`, the sandbox's `tier`, `completions` in input order, and
    `warnings`, why the reward cannot teach well."""
    gold = gold_groups(groups)
    with Scorer(functions, timeout_s) as scorer:
        scorer.score(groups, step)
        scorer.score(gold, step)
    warnings = [*advise(groups, functions), *advise_gold(groups, gold)]
    return {
        "functions": [function.name for function in functions],
        "tier": protection.tier,
        "gaps": list(protection.gaps),
        "completions": [_completion(one) for group in groups for one in group.rollouts],
        "warnings": [asdict(one) for one in warnings],
    }


def _completion(rollout: Rollout) -> dict[str, Any]:
    error = {"message": rollout.error, "line": rollout.error_line} if rollout.error else None
    return {
        "text": rollout.text,
        "outcome": rollout.outcome,
        "reward": rollout.reward,
        "parts": rollout.parts,
        "error": error,
        "printed": rollout.printed,
        "seconds": rollout.reward_s,
    }
