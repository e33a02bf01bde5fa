"""Which functions of the text in the Reward lab count, and how much."""

from __future__ import annotations

import streamlit as st

from grpo_core import rewards
from studio import lab_text, widgets

NAMES = "lab_names"
FILENAME = "reward.py"


def version_now(text: str) -> str:
    """Of what stands in the editor, with its weights and form; empty while that cannot run."""
    try:
        return rewards.version_of(chosen(text, st.session_state[lab_text.WEIGHTS]))
    except ValueError:
        return ""


def chosen(text: str, weights: dict[str, float]) -> list[rewards.RewardFunction]:
    """The functions that count. Raises ValueError that says what is missing."""
    form = st.session_state.get(lab_text.FORMAT) or "text"
    there = {name: weights.get(name, 1.0) for name in rewards.find_functions(text)}
    there |= {name: weights[name] for name in rewards.brought_in(text) if weights.get(name)}
    functions = rewards.from_source(text, there, FILENAME, form)
    rewards.check_weights(functions)
    return [function for function in functions if function.weight]


def fields(text: str) -> dict[str, float]:
    """One number per function; 0 leaves it out. While the text is no Python the fields stay."""
    try:
        names = st.session_state[NAMES] = offered(text)
    except ValueError:
        names = st.session_state.get(NAMES, [])
    remembered = st.session_state.get(lab_text.WEIGHTS, {})
    given = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name in names:
            given[name] = st.number_input(
                f"Weight of {widgets.short(name)}",
                value=float(remembered.get(name, 1.0)),
                step=0.1,
                format="%g",
                key=lab_text.WEIGHT + name,
                width=170,
                help="0 leaves the function out.",
            )
    st.session_state[lab_text.WEIGHTS] = {**remembered, **given}
    return given


def offered(text: str) -> list[str]:
    """Functions that can have a weight: those of the text, and of what it imports or makes those
    that somebody chose. Raises ValueError where it does not parse."""
    names, there = rewards.find_functions(text), rewards.brought_in(text)
    named = [name for name in there if name in st.session_state.get(lab_text.WEIGHTS, {})]
    if not names and there:
        named = st.multiselect(
            "Rewards that the text brings in",
            there,
            default=named,
            help="No function here has a parameter completion or completions; one that is "
            "imported or made is called as TRL's are.",
        )
    return [*names, *(name for name in named if name not in names)]
