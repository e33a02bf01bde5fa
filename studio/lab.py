"""What the Reward lab computes: the run's reward as a text, and a trial of another on completions
that exist already.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from grpo_core import rewards
from grpo_core.advantages import is_flat
from grpo_core.algorithm_config import AlgorithmConfig
from grpo_core.records import Event, Group
from grpo_core.reward_advice import Advice, advise
from grpo_core.reward_gold import advise_gold, gold_groups
from grpo_core.runs import Run
from studio import data, groups, lab_numbers, scoring, widgets

EXAMPLE = '''def reward(completion, answer):
    """One number for one completion; parameters are asked for by name."""
    return 1.0 if answer in completion else 0.0
'''


class Loaded(NamedTuple):
    """Completions, and whether there are more than one trial takes."""

    groups: list[Group]
    is_cut: bool = False


@dataclass(frozen=True)
class Source:
    """Completions to try a reward on."""

    key: Hashable
    """Differs where the completions do, or the run whose algorithm they are judged by."""
    load: Callable[[], Loaded]
    """Raises ValueError that says what is wrong with them."""
    step: int = 0
    weights: dict[str, float] | None = None
    """Of the functions that gave the rewards that the completions have; None: they have none."""


@dataclass
class Fault:
    """One way in which the reward failed."""

    sentence: str
    line: int | None
    count: int
    completion: str
    """The first one that it failed on."""
    traceback: str


class Flat(NamedTuple):
    """Groups whose rewards are all equal, of those with at least two."""

    num: int
    of: int


@dataclass
class Trial:
    """What a reward gave to the completions of a source, and what they had before."""

    key: Hashable
    version: str
    """Of the reward functions, their weights and what they get."""
    compares: bool
    """Whether there are rewards from before."""
    table: pd.DataFrame
    """One row a completion: those that failed, then those whose advantage changes most, or in the
    source's order where there is nothing to compare with."""
    faults: list[Fault]
    seconds: float
    flat_before: Flat
    flat_after: Flat
    about: str
    """What the advantages are."""
    advice: list[Advice] = field(default_factory=list)
    error: str = ""
    is_cut: bool = False
    """Whether these are only the first of the source's completions."""


# --- the run's reward as a text ------------------------------------------------------------------


def current_functions(run: Run) -> list[rewards.RewardFunction]:
    """The reward in force, nothing where there is none that can be read."""
    version = data.read(run, lambda reader: reader.reward_version(), None)
    try:
        if version:
            return rewards.load_version(run.rewards, version)
        config = data.config_of(run)
        return rewards.resolve(config.rewards) if config else []
    except ValueError:
        return []


def as_text(functions: list[rewards.RewardFunction]) -> tuple[str, dict[str, float], str]:
    """Text, weights and completion format of reward functions.

    Functions from several files stand one below the other; what their files hold beside them has
    weight 0, so that trying the text unchanged gives the stored rewards.
    """
    text = "\n\n".join(dict.fromkeys(function.source.strip("\n") + "\n" for function in functions))
    try:
        weights = dict.fromkeys(rewards.find_functions(text), 0.0)
    except ValueError:
        weights = {}
    weights.update({function.function: function.weight for function in functions})
    return text, weights, functions[0].completion_format


def why_not_one_text(functions: list[rewards.RewardFunction]) -> str:
    """Why `as_text` would be another reward than these functions; empty where it is the same."""
    sources = list(dict.fromkeys(function.source for function in functions))
    if len({function.completion_format for function in functions}) > 1:
        return "some of its functions get text and some messages"
    if len(sources) > 1:
        names = [name for source in sources for name in _top_level_names(source)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            return f"its files each have their own {', '.join(twice[:3])}"
        if any("from __future__" in source for source in sources):
            return "one of its files asks for __future__ features"
    return ""


def _top_level_names(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defined = {node.name for node in tree.body if isinstance(node, named)}
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return defined | assigned


def weights_at(run: Run, step: int) -> dict[str, float]:
    """The weight of each reward function that was in force at a step."""
    return groups.read(run, lambda reader: groups.weights_at(reader, run, step), {})


# --- trying --------------------------------------------------------------------------------------


def try_out(run: Run, source: Source, functions: list[rewards.RewardFunction]) -> Trial:
    """Score the completions of a source and compare with what they had."""
    config = data.config_of(run)
    algorithm = config.algorithm if config else AlgorithmConfig()
    timeout_s = config.sandbox.timeout_s if config else 2.0
    compares = source.weights is not None
    about = lab_numbers.explain(algorithm, compares)
    version = rewards.version_of(functions)
    trial = Trial(
        source.key, version, compares, pd.DataFrame(), [], 0.0, Flat(0, 0), Flat(0, 0), about
    )
    try:
        groups, trial.is_cut = source.load()
        before = lab_numbers.scores_of(groups, source.weights or {})
        scored = scoring.bench().score(functions, groups, source.step, timeout_s)
        gold = scoring.bench().score(functions, gold_groups(groups), source.step, timeout_s)
    except Exception as error:
        # The sandbox or the data failed; the page shows why and stays.
        trial.error = str(error) or type(error).__name__
        return trial
    weights = {function.name: function.weight for function in functions}
    after = lab_numbers.scores_of(scored.groups, weights)
    trial.table = _compare(scored.groups, before if compares else None, after, algorithm, weights)
    trial.faults = [_fault(event) for event in scored.faults]
    trial.seconds = scored.seconds
    trial.flat_before, trial.flat_after = _flat(before.rewards_PG), _flat(after.rewards_PG)
    divides = algorithm.advantage == "zscore"
    advice = advise(scored.groups, functions, divides)
    trial.advice = [*advice, *advise_gold(scored.groups, gold.groups)]
    return trial


def _compare(
    groups: list[Group],
    old: lab_numbers.Scores | None,
    new: lab_numbers.Scores,
    algorithm: AlgorithmConfig,
    weights: dict[str, float],
) -> pd.DataFrame:
    before = lab_numbers.assign(old, algorithm) if old else None
    after = lab_numbers.assign(new, algorithm)
    rows = [
        {
            "Prompt": g + 1,
            # not the prompt: with worked examples all of them begin alike
            "Question": widgets.cut(group.problem.question or group.prompt),
            "Answer": widgets.cut(str(group.problem.answer)),
            "Completion": widgets.cut(rollout.text),
            "Old reward": old.rewards_PG[g][i] if old else None,
            "New reward": new.rewards_PG[g][i],
            "Old adv.": before[g][i] if before else None,
            "New adv.": after[g][i],
            "ms": 1000 * rollout.reward_s,
            "Outcome": rollout.outcome,
            "Parts": _parts(rollout.parts, weights),
            "Fault": widgets.cut(rollout.error),
            "Printed": widgets.cut(rollout.printed),
        }
        for g, group in enumerate(groups)
        for i, rollout in enumerate(group.rollouts)
    ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    for name in ("Old reward", "New reward", "Old adv.", "New adv."):
        table[name] = pd.to_numeric(table[name])
    change = (table["New adv."].fillna(0.0) - table["Old adv."].fillna(0.0)).abs()
    order = -change.to_numpy() if old else np.zeros(len(table))
    order[~table["Outcome"].isin(["ok", "abstain"]).to_numpy()] = -np.inf
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _parts(parts: dict[str, float | None], weights: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "Part": name,
            "Value": value,
            "Weight": weights.get(name),
            "Adds": None if value is None else value * weights.get(name, 0.0),
        }
        for name, value in parts.items()
    ]


def _flat(rewards_PG: list[list[float | None]]) -> Flat:
    known = [[reward for reward in group if reward is not None] for group in rewards_PG]
    compared = [group for group in known if len(group) > 1]
    return Flat(sum(is_flat([*group]) for group in compared), len(compared))


def _fault(event: Event) -> Fault:
    detail = event.detail
    place = f", line {detail['line']}" if detail.get("line") else ""
    sentence = f"{detail.get('function', 'reward')}{place}: {detail.get('message', 'failed')}"
    return Fault(
        widgets.cut(sentence),
        detail.get("line"),
        detail.get("count", 1),
        widgets.cut(str(detail.get("completion") or "")),
        widgets.cut(str(detail.get("traceback") or "")),
    )
