"""How the Reward lab shows a trial: numbers, distribution, faults, advice, every completion."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from studio import charts, components, lab_numbers
from studio.lab import Fault, Flat, Source, Trial

TITLES = {
    "silent": "Mostly no reward",
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
MAX_FAULTS = 5


def show_trial(trial: Trial | None, source: Source | None) -> None:
    """What became of the last trial, if it was on these completions."""
    if trial is None or source is None or trial.key != source.key:
        with st.container(border=True):
            st.text("Try the reward: what would it give to these completions?")
            st.caption("Nothing is trained: they are scored in the sandbox, here and now.")
        return
    if trial.error:
        st.badge("That did not work", icon=":material/error:", color="red")
        st.text(trial.error)
        return
    _show_numbers(trial)
    _show_distribution(trial)
    for fault in trial.faults[:MAX_FAULTS]:
        _show_fault(fault)
    if len(trial.faults) > MAX_FAULTS:
        st.caption(f"… and {len(trial.faults) - MAX_FAULTS} more kinds of fault, in the table")
    for advice in trial.advice:
        with st.container(border=True, gap="xsmall"):
            title = TITLES.get(advice.kind, advice.kind)
            st.badge(title, icon=":material/lightbulb:", color="orange")
            st.text(advice.message)
            st.text(advice.remedy)
    _show_table(trial)


def _show_numbers(trial: Trial) -> None:
    table = trial.table
    failed = sum(fault.count for fault in trial.faults)
    scored = int(table["New reward"].notna().sum()) if len(table) else 0
    after = _of(trial.flat_after)
    flat = f"{_of(trial.flat_before)} → {after}" if trial.compares else after
    with st.grid(4 if trial.compares else 3, min_column_width=110):
        if trial.compares:
            st.metric("Mean reward, old", charts.number(_mean(table, "Old reward")), border=True)
        st.metric("Mean reward, new", charts.number(_mean(table, "New reward")), border=True)
        st.metric(
            "Flat groups",
            flat,
            border=True,
            help="Groups whose rewards are all equal, of those with at least two rewards; they "
            "move nothing where an advantage compares within its group.",
        )
        st.metric("Faults", str(failed), border=True)
    num = f"{scored} of {len(table)}" if scored < len(table) else str(scored)
    other = " The means are of different completions." if scored < len(table) else ""
    st.caption(
        f"{num} completion{'s' * (len(table) != 1)} scored in {trial.seconds:.2f} s, in the "
        f"sandbox that training uses{', the first of more' * trial.is_cut}."
        f"{other * trial.compares} {trial.about}"
        f"{' Sorted by change.' * trial.compares}"
    )


def _of(flat: Flat) -> str:
    return f"{flat.num}/{flat.of}" if flat.of else charts.NONE


def _mean(table: pd.DataFrame, column: str) -> float | None:
    mean = table[column].mean() if len(table) else math.nan
    return None if math.isnan(mean) else float(mean)


def _show_distribution(trial: Trial) -> None:
    if trial.table.empty or trial.table["New reward"].isna().all():
        return
    old, new = (_values(trial.table, name) for name in ("Old reward", "New reward"))
    view = lab_numbers.histogram(old if trial.compares else None, new)
    components.bars(key="lab_bars", view={"title": "Rewards", **view})


def _values(table: pd.DataFrame, column: str) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in table[column]]


def _show_fault(fault: Fault) -> None:
    with st.container(border=True, gap="xsmall"):
        num = f"{fault.count} completion{'s' * (fault.count != 1)} left out"
        st.badge(num, icon=":material/error:", color="red")
        st.text(fault.sentence)
        with st.expander("Where, and on what"):
            if fault.traceback:
                st.code(fault.traceback, language=None)
            st.caption("The completion")
            _text(fault.completion)


def _show_table(trial: Trial) -> None:
    reward = st.column_config.NumberColumn(format="%.3f", width=80)
    advantage = st.column_config.NumberColumn(format="%.2f", width=72)
    old = ["Old reward", "Old adv."] if trial.compares else []
    odd = ["Outcome"] if (trial.table["Outcome"] != "ok").any() else []
    names = ["Prompt", "Completion", "Old reward", "New reward", "Old adv.", "New adv.", *odd, "ms"]
    shown = [name for name in names if name in old or not name.startswith("Old")]
    choice = st.dataframe(
        trial.table,
        key="lab_table",
        height=330,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row-required",
        column_order=shown,
        column_config={
            "Prompt": st.column_config.NumberColumn(width=54),
            "Completion": st.column_config.TextColumn(width=115 if odd else 190),
            "Outcome": st.column_config.TextColumn(width=75),
            "ms": st.column_config.NumberColumn(
                format="%.2f", width=60, help="The time that the calls for it took."
            ),
            **dict.fromkeys(("Old reward", "New reward"), reward),
            **dict.fromkeys(("Old adv.", "New adv."), advantage),
        },
    )
    rows = choice.selection.rows
    if rows and rows[0] < len(trial.table):
        _show_completion(trial.table.iloc[rows[0]].to_dict())


def _show_completion(row: dict[str, Any]) -> None:
    _text(row["Completion"])
    number = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(
        pd.DataFrame(row["Parts"]),
        key="lab_parts",
        hide_index=True,
        column_config={
            "Part": st.column_config.TextColumn(width="large"),
            **dict.fromkeys(("Value", "Weight", "Adds"), number),
        },
    )
    if row["Fault"]:
        st.text(row["Fault"])
    for name in ("Printed", "Question", "Answer"):
        if row[name]:
            st.caption("Prompt" if name == "Question" else name)
            _text(row[name])


def _text(text: str) -> None:
    """What somebody or something wrote; in a box of its own that scrolls where it is long."""
    is_long = len(text) > 1200 or text.count("\n") > 12
    st.code(text or " ", language=None, wrap_lines=True, height=260 if is_long else "content")
