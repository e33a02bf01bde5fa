"""What the Evaluate page shows, as texts and lists: evaluations with their intervals, and the kinds
of problems of one. Two of them: `evaluation_versus.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from grpo_core import evaluation_report
from grpo_core.evaluation_report import Answered, remaining_s
from grpo_core.evaluations import Evaluation, EvaluationSettings
from studio import charts, widgets
from studio.columns import stamp_of


@dataclass(frozen=True)
class Published:
    """What others report of their model on a task."""

    value: float
    before: float


PUBLISHED = {
    "gsm8k": Published(0.882, 0.829),
    "math": Published(0.517, 0.468),
    "cmath": Published(0.888, 0.846),
}
"""DeepSeekMath-RL 7B, and DeepSeekMath-Instruct 7B before reinforcement learning: chain of thought,
arXiv 2402.03300, table 5."""


@dataclass(frozen=True)
class Known:
    """An evaluation that can be read, and what it has found so far."""

    evaluation: Evaluation
    settings: EvaluationSettings
    found: dict[str, Any]


def read(evaluation: Evaluation) -> Known | str:
    """The evaluation, or a sentence where its settings or its database cannot be read."""
    try:
        settings = evaluation.settings()
        return Known(evaluation, settings, _report(evaluation))
    except (ValueError, KeyError, TypeError, OSError, sqlite3.Error) as error:  # not what we wrote
        return f"{evaluation.name} cannot be read: {error}"


def _report(evaluation: Evaluation) -> dict[str, Any]:
    status = evaluation.status()
    return _report_at(evaluation.path, stamp_of(evaluation.db_path), status)


@lru_cache(maxsize=64)
def _report_at(path: Path, _stamp: Any, _status: str) -> dict[str, Any]:
    return evaluation_report.report(Evaluation(path))


def problems_of(evaluation: Evaluation) -> list[Answered]:
    """All finished problems; nothing where the database cannot be read."""
    try:
        return _problems_at(evaluation.db_path, stamp_of(evaluation.db_path))
    except (ValueError, KeyError, TypeError, sqlite3.Error):  # not what we wrote
        return []


@lru_cache(maxsize=8)
def _problems_at(path: Path, _stamp: Any) -> list[Answered]:
    return evaluation_report.answered(path)


def label(settings: EvaluationSettings) -> str:
    """The model, for people."""
    return widgets.cut(settings.model_label)[:120]


# --- all evaluations -----------------------------------------------------------------------------


def sections(known: Sequence[Known], chosen: Sequence[str]) -> list[dict[str, Any]]:
    """A section for each set of problems, the newest first in each."""
    sets: dict[tuple[str, str], list[Known]] = {}
    for one in known:
        sets.setdefault((one.settings.data.task, one.settings.problems), []).append(one)
    return [_section(task, same, chosen) for (task, _), same in sets.items()]


def _section(task: str, known: Sequence[Known], chosen: Sequence[str]) -> dict[str, Any]:
    note = f"{known[0].settings.num_problems:,} problems"
    published = PUBLISHED.get(task)
    return {
        "title": task,
        "note": note,
        "axis": {
            "label": "Solved greedily, %",
            "help": "Share of the problems whose greedy completion is right, and Wilson's 95 % "
            "interval",
        },
        "columns": [
            {"label": "Model", "help": ""},
            {"label": "pass@1", "help": "Solved greedily, with its 95 % interval"},
            {"label": "pass@k", "help": "At least one of k samples is right (unbiased)"},
            {"label": "maj@k", "help": "The most frequent answer of k samples is right"},
            {"label": "Cut off", "help": "Greedy completions that ran into the limit of tokens"},
            {"label": "Problems", "help": "Answered so far, if it is not done"},
        ],
        "rows": [_row(one, one.evaluation.name in chosen) for one in known],
        "line": None if published is None else _line(task, published),
    }


def _line(task: str, published: Published) -> dict[str, Any]:
    return {
        "value": published.value,
        "label": f"Reported by others, not measured here: DeepSeekMath-RL 7B on {task} "
        f"{100 * published.value:.1f} %, up from {100 * published.before:.1f} % before "
        "reinforcement learning (arXiv 2402.03300, table 5; their prompts, their grader).",
    }


def _row(known: Known, is_chosen: bool) -> dict[str, Any]:
    evaluation, found, greedy = known.evaluation, known.found, known.found["greedy"]
    is_done = found["status"] == "completed"
    total, done = found["num_problems"], found["num_done"]
    low, high = greedy["interval"]
    return {
        "id": evaluation.name,
        "label": label(known.settings),
        "more": evaluation.name,
        "opens": "choose",
        "chosen": is_chosen,
        "value": greedy["accuracy"],
        "low": low,
        "high": high,
        "cells": [
            _share(greedy["accuracy"], greedy["interval"]),
            _best(found["sampled"], "pass"),
            _best(found["sampled"], "majority"),
            _cell(charts.number(greedy["truncated"], "percent")),
            _cell(f"{total:,}" if is_done else f"{done:,} of {total:,}"),
        ],
        "status": None if is_done else _progress(found, evaluation),
        "actions": _actions(found["status"], done),
    }


def _progress(found: dict[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    state = evaluation.state()
    left = remaining_s(found["num_done"], found["num_problems"], found["seconds"])
    if found["status"] == "running" and any(evaluation.inbox.glob("*.json")):
        text = "stops after this batch …"
    elif found["status"] == "running":
        text = "the first batch …" if left is None else f"about {duration(left)} left"
    else:
        text = state.message if state and state.message else "Go on answers the rest"
    share = found["num_done"] / found["num_problems"]
    return {"name": found["status"], "share": share, "text": widgets.cut(text)[:200]}


def _actions(status: str, done: int) -> list[dict[str, Any]]:
    actions = [{"kind": "inspect", "label": "Completions", "danger": False}] if done else []
    if status in ("starting", "running"):
        return [*actions, {"kind": "stop", "label": "Stop", "danger": True}]
    if status != "completed":
        actions.append({"kind": "go_on", "label": "Go on", "danger": False})
    return [*actions, {"kind": "delete", "label": "Delete", "danger": True}]


def _share(value: float | None, interval: Sequence[float]) -> dict[str, str]:
    if value is None:
        return _cell(charts.NONE)
    return _cell(charts.number(value, "percent"), within(interval))


def _best(sampled: dict[str, Any] | None, kind: str) -> dict[str, str]:
    """The share for the largest k."""
    if sampled is None or not sampled[kind]:
        return _cell(charts.NONE)
    row = sampled[kind][-1]
    share = charts.number(row["value"], "percent")
    return _cell(share, f"k = {row['k']} · {within(row['interval'])}")


def within(interval: Sequence[float]) -> str:
    """An interval of shares, in percent."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _cell(text: str, more: str = "") -> dict[str, str]:
    return {"text": text, "more": more}


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# --- the kinds of problems of one ----------------------------------------------------------------


def kinds(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A section for each way in which its problems can be told apart."""
    shown = []
    for kind in found["by"]:
        rows = [
            {
                "id": row["value"],
                "label": widgets.cut(str(row["value"]))[:120],
                "more": "",
                "opens": None,
                "chosen": False,
                "value": row["accuracy"],
                "low": row["interval"][0],
                "high": row["interval"][1],
                "cells": [_share(row["accuracy"], row["interval"]), _cell(f"{row['num']:,}")],
                "status": None,
                "actions": [],
            }
            for row in kind["rows"]
        ]
        shown.append(
            {
                "title": f"By {widgets.cut(kind['name'])[:80]}",
                "note": "",
                "axis": {"label": "Solved greedily, %", "help": "Wilson's 95 % interval"},
                "columns": [
                    {"label": "", "help": ""},
                    {"label": "pass@1", "help": ""},
                    {"label": "Problems", "help": ""},
                ],
                "rows": rows,
                "line": None,
            }
        )
    return shown
