"""What the Inspector shows of an evaluation where it shows something else of a run: a step is a
batch of problems, and what counts is what the judge took for the answer.
"""

from __future__ import annotations

from typing import Any, Literal

from grpo_core.evaluations import Evaluation, EvaluationSettings
from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run
from studio import widgets
from studio.charts import thin

Kind = Literal["run", "evaluation"]
GREEDY = "greedy"
MAX_BATCHES = 600
"""Points of the ribbon."""


def kind_of(run: Run) -> Kind:
    """Which of the two a folder is, as the Inspector's routes say it."""
    return "evaluation" if isinstance(run, Evaluation) else "run"


def about(evaluation: Evaluation, num_done: int) -> dict[str, Any]:
    """Which model was asked what, how far that is, and what is to be said of it."""
    state = evaluation.state()
    try:
        settings = evaluation.settings()
    except ValueError:
        facts = ["Its settings cannot be read"]
    else:
        facts = [*_facts(settings), f"{num_done:,} of {settings.num_problems:,} problems"]
    return {
        "facts": [widgets.cut(fact) for fact in facts],
        "status": evaluation.status(),
        "note": widgets.cut(_note(evaluation.status(), num_done, state.message if state else "")),
    }


def _facts(settings: EvaluationSettings) -> list[str]:
    asked = "greedy"
    if settings.samples:
        samples = "sample" if settings.samples == 1 else "samples"
        asked += f" and {settings.samples} {samples} at temperature {settings.temperature:g}"
    return [settings.model_label, settings.data.task, asked]


def _note(status: str, num_done: int, message: str) -> str:
    """A sentence about one that goes on without answers yet, or that has ended early."""
    if status == "completed":
        return "" if num_done else "It has no problems."
    if status in ("starting", "running", "paused", "stopping"):
        return "" if num_done else "No batch is answered yet; the first appears here by itself."
    after = f"after {num_done:,} problems" if num_done else "before its first batch was answered"
    ended = {
        "stopped": f"It was stopped {after}.",
        "failed": f"It failed {after}: {message or 'its log says why'}.",
    }
    gone = f"It ended without a word {after}: killed, out of memory, or the machine went down."
    return f"{ended.get(status, gone)} It can go on from there."


def ribbon(reader: GroupReader) -> dict[str, Any]:
    """The share of right greedy answers of each batch."""
    batches, shares = thin(*reader.greedy_shares(), MAX_BATCHES)
    return {"steps": batches, "values": shares}


def counted(reader: GroupReader, step: int, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The problems of a batch with how many of their completions are what; nothing is learnt from
    them, so none is `flat`. ValueError where the judge said nothing of one."""
    asked = reader.asked(step)
    if any(group["id"] not in asked for group in groups):
        raise ValueError("what the judge said of a problem is missing")
    return [{**group, **asked[group["id"]], "flat": False} for group in groups]


def order(rollouts: list[dict[str, Any]], said: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """The greedy completion, then right samples, then wrong ones."""

    def rank(rollout: dict[str, Any]) -> tuple[bool, bool]:
        return said[rollout["id"]]["kind"] != GREEDY, not rollout["correct"]

    return sorted(rollouts, key=rank)


def answers(reader: GroupReader, group: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What the judge said of each completion, by id: `kind, extracted, rule, verdict`. ValueError
    where something else stands there."""
    said = reader.judged(group["id"])
    for rollout in group["rollouts"]:
        one = said.get(rollout["id"])
        if one is None:
            raise ValueError("what the judge said of a completion is missing")
        if not all(isinstance(one[name], str) for name in ("kind", "rule", "verdict")):
            raise ValueError("what the judge said of a completion is no text")
        if not isinstance(one["extracted"], str | None):
            raise ValueError("the answer of a completion is no text")
    return {
        id: {name: None if text is None else widgets.cut(text) for name, text in one.items()}
        for id, one in said.items()
    }
