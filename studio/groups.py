"""What the Inspector shows of stored completions: steps, the groups of a step, and one group with
its completions, best to worst. Their tokens: `tokens.py`; what an evaluation has: `judged.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from grpo_core.advantages import TOLERANCE
from grpo_core.config import DataConfig, RunConfig
from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.history import config_at
from grpo_core.rewards import load_version
from grpo_core.runs import Run
from studio import data, formula, judged, widgets

T = TypeVar("T")

MAX_LOOK = 5000
"""Steps among which one with signal is looked for; it takes a quarter of a second at most."""
MAX_HITS = 60
MAX_PROMPT = 300
"""Characters of a prompt in the list of a step's groups."""
MAX_COLUMN, MAX_COLUMNS = 600, 16
"""Characters of one column of the data, and columns that are shown."""
MAX_OCCASIONS = 400
DROP = 2.0
"""Standard deviations of the steps before by which a reward has dropped."""
DROP_STEPS = 10
_TEMPLATE_MARKS = re.compile(r"<\|[^|<>]{1,40}\|>")


def read(run: Run, query: Callable[[GroupReader], T], default: Any) -> T:
    """`query(reader)`, or `default` where there is nothing to read."""
    return data.read_with(GroupReader, run, query, default)


def config_in_force(reader: GroupReader, run: Run, step: int) -> RunConfig:
    """The recipe at a step; the default one where the run's own cannot be read."""
    return config_at(reader, data.config_of(run) or RunConfig(), step)


# --- steps ---------------------------------------------------------------------------------------


def steps_of(reader: GroupReader, run: Run) -> dict[str, Any]:
    """First and last step that can be looked at, and the attempt that wrote the last; of an
    evaluation also what it asks of which model, and how far it is."""
    first, last = reader.step_range() or (None, None)
    found: dict[str, Any] = {"kind": judged.kind_of(run), "attempt": reader.attempt()}
    if isinstance(run, Evaluation):
        found["about"] = judged.about(run, reader.num_groups())
    return {**found, "first": first, "last": last}


def next_step(reader: GroupReader, kind: str, step: int, back: bool) -> dict[str, Any]:
    """The nearest step with a group that moves something (`signal`), or whose mean reward has
    fallen well below that of the ten before it (`drop`)."""
    if kind == "signal":
        return reader.next_with_signal(step, back, MAX_LOOK) or {}
    steps, values = reader.points("reward/mean")
    found = drops(np.array(steps), np.array(values, dtype=float))
    near = found[found < step][-1:] if back else found[found > step][:1]
    return {"step": int(near[0])} if len(near) else {}


def drops(steps: NDArray[Any], values: NDArray[np.float64]) -> NDArray[Any]:
    """Steps whose value is more than `DROP` standard deviations below the mean of the
    `DROP_STEPS` before; the first of neighbours that are."""
    if len(values) <= DROP_STEPS:
        return steps[:0]
    before = np.lib.stride_tricks.sliding_window_view(values, DROP_STEPS)[:-1]
    low = before.mean(1) - DROP * before.std(1) - TOLERANCE
    is_low = np.concatenate([np.zeros(DROP_STEPS, dtype=bool), values[DROP_STEPS:] < low])
    return steps[is_low & ~np.concatenate([[False], is_low[:-1]])]


# --- the groups of a step ------------------------------------------------------------------------


def step_view(reader: GroupReader, run: Run, step: int) -> dict[str, Any]:
    """All groups of a step, one short row each."""
    groups = reader.group_summaries(step, _question_column(run))
    for group in groups:
        group["prompt"] = _plain(group["prompt"])
        group["answer"] = widgets.cut(group["answer"])[:MAX_PROMPT]
        group["flat"] = (group["advantage_max"] or 0.0) <= TOLERANCE
    if isinstance(run, Evaluation):
        counted = judged.counted(reader, step, groups)
        return {"kind": "evaluation", "step": step, "groups": counted, "still_pulls": False}
    algorithm = config_in_force(reader, run, step).algorithm
    still = bool(algorithm.kl_place == "loss" and algorithm.kl_coefficient)
    still |= bool(algorithm.entropy_coefficient)
    return {"kind": "run", "step": step, "groups": groups, "still_pulls": still}


def _question_column(run: Run) -> str | None:
    """The column with the question where worked examples stand before it, and all prompts begin
    alike."""
    if isinstance(run, Evaluation):
        try:
            asked: DataConfig | None = run.settings().data
        except ValueError:
            return None
    else:
        config = data.config_of(run)
        asked = config.data if config else None
    return asked.question_column if asked and asked.shots else None


def _plain(prompt: str) -> str:
    """The beginning of a prompt without the marks of its chat template, for a list."""
    return widgets.cut(_TEMPLATE_MARKS.sub(" ", prompt).strip())[:MAX_PROMPT]


# --- one group -----------------------------------------------------------------------------------


def order(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best to worst by reward; completions without one come last."""

    def rank(rollout: dict[str, Any]) -> tuple[bool, float]:
        reward = rollout["reward"]
        return reward is None, -(reward if reward is not None else 0.0)

    return sorted(rollouts, key=rank)


def group_view(reader: GroupReader, run: Run, group_id: int) -> dict[str, Any] | None:
    """One group with its completions, best to worst, of an evaluation the greedy one first; None
    where there is none."""
    group = reader.group(group_id)
    if group is None:
        return None
    for name in ("reward", "advantage"):
        if not all(isinstance(one[name], int | float | None) for one in group["rollouts"]):
            raise ValueError(f"the {name} of a completion is no number")
    shown = _judged if isinstance(run, Evaluation) else _taught
    return {
        "kind": judged.kind_of(run),
        "id": group["id"],
        "step": group["step"],
        "prompt": widgets.cut(group["prompt"]),
        "answer": widgets.cut(group["answer"]),
        "columns": _columns(group["row"]),
        "num_times": reader.num_occasions(group["problem_id"]),
        "rollouts": [
            one | {"rank": rank} for rank, one in enumerate(shown(reader, run, group), start=1)
        ],
    }


def _taught(reader: GroupReader, run: Run, group: dict[str, Any]) -> list[dict[str, Any]]:
    """The completions of a run's group, each with where its advantage comes from."""
    members = group["rollouts"]
    weights = weights_at(reader, run, group["step"])
    is_known = data.config_of(run) is not None
    config = config_in_force(reader, run, group["step"]) if is_known else None
    traced = reader.traced([rollout["id"] for rollout in members])
    return [
        _rollout(rollout, weights)
        | {"traced": rollout["id"] in traced, "why": _advantage(config, rollout, members)}
        for rollout in order(members)
    ]


def _judged(reader: GroupReader, run: Run, group: dict[str, Any]) -> list[dict[str, Any]]:
    """The completions of an evaluation's problem, each with what the judge said of it."""
    said = judged.answers(reader, group)
    return [
        _rollout(rollout, {}) | {"traced": False, "why": None, "judged": said[rollout["id"]]}
        for rollout in judged.order(group["rollouts"], said)
    ]


def weights_at(reader: GroupReader, run: Run, step: int) -> dict[str, float]:
    """The weight of each reward function at a step; empty where its version cannot be read."""
    version = reader.reward_version(step)
    try:
        functions = load_version(run.rewards, version) if version else []
    except ValueError:
        functions = []
    return {function.name: function.weight for function in functions}


def _rollout(rollout: dict[str, Any], weights: dict[str, float]) -> dict[str, Any]:
    parts = [
        {
            "name": widgets.cut(str(name))[:80],
            "value": value,
            "weight": weights.get(name),
            "adds": None if value is None else value * weights.get(name, 1.0),
        }
        for name, value in rollout["parts"].items()
    ]
    if not isinstance(rollout["parts"], dict):
        raise ValueError("the parts of a reward are not names with numbers")
    kept = ("id", "idx", "finish", "num_tokens", "outcome", "reward", "advantage", "correct")
    shown = {name: rollout[name] for name in kept} | {"parts": parts}
    return shown | {name: widgets.cut(rollout[name]) for name in ("text", "error", "printed")}


def _advantage(
    config: RunConfig | None, rollout: dict[str, Any], members: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Where the advantage of a completion comes from; None where it has none, or none knows."""
    if config is None or rollout["advantage"] is None:
        return None
    others = [one["reward"] for one in members if one is not rollout]
    rewards = formula.comparable(config, rollout["reward"], others)
    return asdict(formula.advantage_line(config, rewards, rollout["advantage"]))


def _columns(row: Any) -> list[dict[str, str]]:
    """The data columns that came with the problem."""
    if not isinstance(row, dict):
        return []
    shown = []
    for name, value in list(row.items())[:MAX_COLUMNS]:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        shown.append({"name": widgets.cut(str(name))[:80], "text": _brief(text)})
    return shown


def _brief(text: str) -> str:
    return widgets.cut(text) if len(text) <= MAX_COLUMN else f"{widgets.cut(text[:MAX_COLUMN])} …"


def same_prompt(reader: GroupReader, group_id: int) -> dict[str, Any]:
    """The groups of the same problem at all steps, oldest first."""
    group = reader.group_of(group_id)
    return {"groups": reader.occasions(group["problem_id"], MAX_OCCASIONS) if group else []}


# --- searching -----------------------------------------------------------------------------------


def find(
    reader: GroupReader, run: Run, text: str, before: int, after: int, steps: int
) -> dict[str, Any]:
    """Completions with a text, newest first, and where to go on: `before` (0 at the end) and
    `after`, see `GroupReader.find_text`."""
    hits = reader.find_text(text, before, after, steps, MAX_HITS, _question_column(run))
    shown = []
    for hit in hits:
        at = max(0, hit["text"].lower().find(text.lower()))
        start = max(0, at - 40)
        around = " ".join(hit["text"][start : at + len(text) + 60].split())
        said = ("… " if start else "") + widgets.cut(around)
        shown.append({**hit, "text": said, "prompt": _plain(hit["prompt"])})
    if len(hits) == MAX_HITS:
        return {"hits": shown, "before": hits[-1]["step"], "after": hits[-1]["id"]}
    return {"hits": shown, "before": max(0, before - steps), "after": 0}
