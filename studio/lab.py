"""What the Reward lab computes and shows: the run's reward as a text, a trial on stored
completions, and the trainer's answer to a change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from grpo_core import rewards
from grpo_core.advantages import is_flat
from grpo_core.algorithm_config import AlgorithmConfig
from grpo_core.reader import RunReader
from grpo_core.records import Event, Group
from grpo_core.reward_advice import Advice, advise, advise_gold, gold_groups
from grpo_core.runs import Run
from studio import charts, data, lab_numbers, scoring, widgets

EXAMPLE = '''def reward(completion, answer):
    """One number for one completion; parameters are asked for by name."""
    return 1.0 if answer in completion else 0.0
'''

TITLES = {
    "constant": "Nothing to compare",
    "flat": "Few groups teach",
    "saturated": "Little left to learn",
    "sparse": "Success is too rare",
    "dominated": "One part decides",
    "length": "Follows the length",
    "template": "The prompt has begun it",
    "gold": "Being wrong pays",
}
"""Of the advice on rewards that cannot teach."""


@dataclass
class Fault:
    """One way in which the reward failed."""

    sentence: str
    line: int | None
    count: int
    traceback: str


@dataclass
class Trial:
    """Old and new rewards of a step's completions."""

    run: str
    step: int
    source: str
    table: pd.DataFrame
    """One row a completion, those whose advantage changes most first."""
    faults: list[Fault]
    seconds: float
    flat_before: int
    flat_after: int
    about: str
    """What the advantages are."""
    advice: list[Advice] = field(default_factory=list)
    error: str = ""


# --- the run's reward as a text ------------------------------------------------------------------


def current_reward(run: Run) -> tuple[str, dict[str, float], str]:
    """Text, weights and completion format of the reward in force; an example where there is none.

    Functions from several files stand one below the other; what their files hold beside them has
    weight 0, so that trying the text unchanged gives the stored rewards.
    """
    version = data.read(run, lambda reader: reader.reward_version(), None)
    functions: list[rewards.RewardFunction] = []
    try:
        if version:
            functions = rewards.load_version(run.rewards, version)
        else:
            config = data.config_of(run)
            functions = rewards.resolve(config.rewards) if config else []
    except ValueError:
        functions = []
    if not functions:
        return EXAMPLE, {}, "text"
    text = "\n\n".join(dict.fromkeys(function.source.strip("\n") + "\n" for function in functions))
    try:
        weights = dict.fromkeys(rewards.find_functions(text), 0.0)
    except ValueError:
        weights = {}
    weights.update({function.function: function.weight for function in functions})
    return text, weights, functions[0].completion_format


# --- trying --------------------------------------------------------------------------------------


def try_out(run: Run, step: int, source: str, functions: list[rewards.RewardFunction]) -> Trial:
    """Score the stored completions of a step anew and compare."""
    groups = scoring.stored_groups(run, step)
    config = data.config_of(run)
    algorithm = config.algorithm if config else AlgorithmConfig()
    about = lab_numbers.explain(algorithm)
    before = lab_numbers.scores_of(groups, _weights_at(run, step))
    try:
        timeout_s = config.sandbox.timeout_s if config else 2.0
        scored = scoring.bench().score(functions, groups, step, timeout_s)
        gold = scoring.bench().score(functions, gold_groups(groups), step, timeout_s)
    except Exception as error:
        # The sandbox itself failed; the page shows why and stays.
        return Trial(run.name, step, source, pd.DataFrame(), [], 0.0, 0, 0, about, [], str(error))
    weights = {function.name: function.weight for function in functions}
    after = lab_numbers.scores_of(scored.groups, weights)
    return Trial(
        run.name,
        step,
        source,
        _compare(scored.groups, before, after, algorithm),
        [_fault(event) for event in scored.faults],
        scored.seconds,
        _num_flat(before.rewards_PG),
        _num_flat(after.rewards_PG),
        about,
        [*advise(scored.groups, functions), *advise_gold(scored.groups, gold.groups)],
    )


def _weights_at(run: Run, step: int) -> dict[str, float]:
    """The weight of each reward function that was in force at a step."""
    version = data.read(run, lambda reader: reader.reward_version(step), None)
    try:
        functions = rewards.load_version(run.rewards, version) if version else []
    except ValueError:
        functions = []
    return {function.name: function.weight for function in functions}


def _compare(
    groups: list[Group],
    old: lab_numbers.Scores,
    new: lab_numbers.Scores,
    algorithm: AlgorithmConfig,
) -> pd.DataFrame:
    before, after = lab_numbers.assign(old, algorithm), lab_numbers.assign(new, algorithm)
    rows = [
        {
            "Prompt": g + 1,
            "Completion": widgets.cut(rollout.text),
            "Old reward": old.rewards_PG[g][i],
            "New reward": new.rewards_PG[g][i],
            "Old adv.": before[g][i],
            "New adv.": after[g][i],
            "Parts": _parts(rollout.parts),
            "Fault": rollout.error,
            "Printed": rollout.printed,
        }
        for g, group in enumerate(groups)
        for i, rollout in enumerate(group.rollouts)
    ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    change = (table["New adv."].fillna(0.0) - table["Old adv."].fillna(0.0)).abs()
    return table.iloc[change.argsort(kind="stable")[::-1]].reset_index(drop=True)


def _parts(parts: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {charts.number(value)}" for name, value in parts.items())


def _num_flat(rewards_PG: list[list[float | None]]) -> int:
    known = [[reward for reward in group if reward is not None] for group in rewards_PG]
    return sum(len(group) > 1 and is_flat([*group]) for group in known)


def _fault(event: Event) -> Fault:
    detail = event.detail
    place = f", line {detail['line']}" if detail.get("line") else ""
    sentence = f"{detail.get('function', 'reward')}{place}: {detail.get('message', 'failed')}"
    return Fault(
        sentence, detail.get("line"), detail.get("count", 1), str(detail.get("traceback") or "")
    )


# --- showing -------------------------------------------------------------------------------------


def show_trial(trial: Trial | None, run: Run, step: int | None) -> None:
    """The right side of the page."""
    if trial is None or trial.run != run.name or trial.step != step:
        with st.container(border=True):
            st.text("Try the reward: what would it have given to the completions of this step?")
            st.caption("Nothing is trained: stored completions are scored again in the sandbox.")
        return
    if trial.error:
        st.badge("The sandbox failed", icon=":material/error:", color="red")
        st.text(trial.error)
        return
    _show_numbers(trial)
    for fault in trial.faults[:5]:
        with st.container(border=True, gap="xsmall"):
            st.badge(f"{fault.count} completions left out", icon=":material/error:", color="red")
            st.text(fault.sentence)
            if fault.traceback:
                with st.expander("Where"):
                    st.code(fault.traceback, language=None)
    for advice in trial.advice:
        with st.container(border=True, gap="xsmall"):
            title = TITLES.get(advice.kind, advice.kind)
            st.badge(title, icon=":material/lightbulb:", color="orange")
            st.text(advice.message)
            st.caption(advice.remedy)
    _show_table(trial)


def _show_numbers(trial: Trial) -> None:
    table = trial.table
    failed = sum(fault.count for fault in trial.faults)
    with st.grid(4, min_column_width=110):
        st.metric("Mean reward, old", charts.number(_mean(table, "Old reward")), border=True)
        st.metric("Mean reward, new", charts.number(_mean(table, "New reward")), border=True)
        st.metric(
            "Flat groups",
            f"{trial.flat_before} → {trial.flat_after}",
            border=True,
            help="Groups whose rewards are all equal; they move nothing where an advantage "
            "compares within its group.",
        )
        st.metric("Faults", str(failed), border=True)
    st.caption(
        f"{len(table)} completions scored in {trial.seconds:.2f} s, in the sandbox that training "
        f"uses. {trial.about} Sorted by change."
    )


def _mean(table: pd.DataFrame, column: str) -> float | None:
    mean = pd.to_numeric(table[column]).mean() if len(table) else math.nan
    return None if math.isnan(mean) else float(mean)


def _show_table(trial: Trial) -> None:
    reward = st.column_config.NumberColumn(format="%.3f", width=86)
    advantage = st.column_config.NumberColumn(format="%.2f", width=86)
    shown = ["Prompt", "Completion", "Old reward", "New reward", "Old adv.", "New adv."]
    choice = st.dataframe(
        trial.table,
        key="lab_table",
        height=330,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row-required",
        column_order=shown,
        column_config={
            "Prompt": st.column_config.NumberColumn(width=60),
            "Completion": st.column_config.TextColumn(width=220),
            **dict.fromkeys(shown[2:4], reward),
            **dict.fromkeys(shown[4:], advantage),
        },
    )
    rows = choice.selection.rows
    if not rows or rows[0] >= len(trial.table):
        return
    row: dict[str, Any] = trial.table.iloc[rows[0]].to_dict()
    st.code(row["Completion"] or " ", language=None, wrap_lines=True)
    st.text(row["Parts"])
    if row["Fault"]:
        st.text(row["Fault"])
    if row["Printed"]:
        st.caption("Printed")
        st.code(row["Printed"], language=None, wrap_lines=True, height=140)


# --- the trainer's answer ------------------------------------------------------------------------


def answer_to(reader: RunReader, command_id: str) -> dict[str, Any] | None:
    """`{step, refused}` once the trainer has dealt with the command, None before."""
    for event in reader.events(kinds=["reward_version", "notice"]):
        if event["detail"].get("command_id") == command_id:
            refused = event["detail"].get("message", "refused")
            return {
                "step": event["step"],
                "refused": refused if event["kind"] == "notice" else "",
            }
    return None
