"""Inspector: a step, its prompts, and what was sampled for a prompt, best to worst."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import streamlit as st

from grpo_core.advantages import TOLERANCE
from grpo_core.compatibility import NEEDS_NO_GROUP
from grpo_core.runs import Run
from studio import charts, components, data, widgets

ROW_HEIGHT = 34
SHOWN = (
    "id", "text", "finish", "num_tokens", "outcome", "reward", "parts", "error", "printed",
    "advantage", "correct",
)  # fmt: skip
_TEMPLATE_MARKS = re.compile(r"<\|[^|<>]{1,40}\|>")


def compares(run: Run) -> bool:
    """Whether the run's estimator compares within a group: then equal rewards move nothing."""
    config = data.config_of(run)
    return config is None or config.algorithm.advantage not in NEEDS_NO_GROUP


def is_flat(group: dict[str, Any]) -> bool:
    """All rewards of the group are equal."""
    low, high = group["reward_min"], group["reward_max"]
    return low is not None and high - low <= TOLERANCE


def prompt_table(groups: list[dict[str, Any]], step: int, flat: list[bool]) -> dict[str, Any]:
    """The prompts of the step as a table; returns the chosen one. `flat`: which move nothing."""
    table = pd.DataFrame(
        {
            "Prompt": [_TEMPLATE_MARKS.sub(" ", group["prompt"]).strip() for group in groups],
            "Right": [f"{group['num_correct']} of {group['num']}" for group in groups],
            "Reward": [group["reward_mean"] for group in groups],
            "Signal": ["none" if is_still else "yes" for is_still in flat],
        }
    )
    # The first group that moved anything is the more interesting one to begin with.
    first = flat.index(False) if False in flat else 0
    choice = st.dataframe(
        table,
        key=f"prompts_{step}",
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [first]}},
        hide_index=True,
        row_height=ROW_HEIGHT,
        height=min(ROW_HEIGHT * (len(groups) + 1) + 2, 720),
        column_config={
            "Prompt": st.column_config.TextColumn(width=252),
            "Right": st.column_config.TextColumn(width=58, help="Correct completions"),
            "Reward": st.column_config.NumberColumn(format="%.2f", width=62, help="Mean"),
            "Signal": st.column_config.TextColumn(
                width=58, help="None: all rewards of the group are equal, so it moves nothing"
            ),
        },
    )
    rows = choice.selection.rows
    return groups[rows[0] if rows and rows[0] < len(groups) else first]


def order(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best to worst by reward; completions without one come last."""

    def rank(rollout: dict[str, Any]) -> tuple[bool, float]:
        reward = rollout["reward"]
        return reward is None, -(reward if reward is not None else 0.0)

    return sorted(rollouts, key=rank)


def view_of(
    summary: dict[str, Any], group: dict[str, Any], traced: set[int], flat: bool
) -> dict[str, Any]:
    """What the component shows of a group. `flat`: it moves nothing."""
    low, high = summary["reward_min"], summary["reward_max"]
    stats = {
        "Answer": group["answer"] or "—",
        "Right": f"{summary['num_correct']} of {summary['num']}",
        "Mean reward": charts.number(summary["reward_mean"]),
        "Spread": charts.number(high - low if low is not None else None),
        "Mean length": f"{charts.number(summary['length_mean'], 'count')} tokens",
    }
    rollouts = [
        {
            **{name: rollout[name] for name in SHOWN},
            **{name: widgets.cut(rollout[name]) for name in ("text", "error", "printed")},
            "rank": rank,
            "traced": rollout["id"] in traced,
        }
        for rank, rollout in enumerate(order(group["rollouts"]), start=1)
    ]
    return {
        "id": group["id"],
        "prompt": widgets.cut(group["prompt"]),
        "stats": [{"label": label, "value": value} for label, value in stats.items()],
        "flat": flat,
        "rollouts": rollouts,
    }


def show(run: Run, step: int) -> None:
    """The page below its selectors."""
    groups = data.read(run, lambda reader: reader.group_summaries(step), [])
    if not groups:
        st.caption("The completions of this step are gone; choose another step.")
        return
    flat = [compares(run) and is_flat(group) for group in groups]
    left, right = st.columns([5, 8], gap="medium")
    with left:
        chosen = prompt_table(groups, step, flat)
    with right:
        group = data.read(run, lambda reader: reader.group(chosen["id"]), None)
        if group is not None:
            ids = [rollout["id"] for rollout in group["rollouts"]]
            traced = data.read(run, lambda reader: reader.traced(ids), set())
            view = view_of(chosen, group, traced, flat[groups.index(chosen)])
            components.group(key="group", run=run.name, group=view)


step = None
with st.container(horizontal=True, vertical_alignment="center"):
    run = widgets.pick_run()
    if run is not None:
        step = widgets.pick_step(run)
if run is not None and step is None:
    st.caption("This run has not finished its first step. Come back in a moment.")
elif run is not None and step is not None:
    show(run, step)
