"""The Data tab: where the problems come from, which columns and prompt, and what that comes to."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from grpo_core.config import DataConfig, RunConfig
from grpo_core.data_config import own_settings
from grpo_core.prompts import Turn
from grpo_core.recipe import load_recipe
from studio import data_look, forms, widgets

GROUPS: dict[str, tuple[str, ...]] = {
    "Problems": ("task", "path", "eval_path", "train_split", "eval_split", "max_rows"),
    "Columns": ("question_column", "answer_column"),
    "Prompt": ("prompt_template", "system_prompt", "shots"),
}
"""The knobs of `data` in the order of what happens to a row."""
MAX_TURN = 6000
"""Characters of a turn that are shown."""
_ICONS = {
    "system": ":material/tune:",
    "user": ":material/person:",
    "assistant": ":material/neurology:",
}


def draw(config: RunConfig, recipe: dict[str, Any], prefix: str, path: Path) -> list[str]:
    """Draw the knobs; returns what differs from the recipe."""
    knobs = {knob.key.partition(".")[2]: knob for knob in forms.knobs(config, recipe, "Data")}
    values: list[tuple[forms.Knob, Any]] = []
    own = {"max_rows": "all"}
    options: dict[str, tuple[str, ...]] = {}
    for title, keys in GROUPS.items():
        if title == "Columns":
            own = own_settings(str(values[0][1]))
            there = _columns(path, forms.changes(values))
            options = dict.fromkeys(keys, there)
        with st.container(border=True, gap="small"):
            st.caption(f"**{title}**")
            with st.grid(2, min_column_width=220, gap=("medium", "medium")):
                for key in keys:
                    whose = "(the task's own)" if title == "Columns" else ""
                    value = forms.draw(knobs[key], prefix, own.get(key), whose, options.get(key))
                    values.append((knobs[key], value))
    return forms.changes(values)


def _columns(path: Path, overrides: list[str]) -> tuple[str, ...]:
    data = _resolved(path, overrides)
    return data_look.columns(data.data) if data else ()


def _resolved(path: Path, overrides: list[str]) -> RunConfig | None:
    try:
        return load_recipe(path, overrides)
    except ValueError:
        return None  # said beside the form


def preview(path: Path, word: str, overrides: list[str]) -> None:
    """What the data come to: the first rows, what they become, and the turns of the first prompt.

    `overrides`: of the whole form; what other tabs have wrong changes nothing here.
    """
    mine = [o for o in overrides if o.startswith(("data.", "evaluation.num_problems="))]
    config = _resolved(path, mine)
    if config is None:
        return
    looked = data_look.look(config.data, config.evaluation.num_problems)
    if looked.wrong:
        widgets.problem(looked.wrong, "These data cannot be used")
    if looked.rows or looked.said:
        with st.container(border=True, gap="small"):
            st.caption("**What the data come to**")
            _tables(looked)
    if looked.chat:
        with st.container(border=True, gap="small"):
            st.caption("**The first prompt**")
            _chat(looked.chat, config.data)
            _command(word, overrides)


def _tables(looked: data_look.Looked) -> None:
    if looked.said:
        st.text(looked.said)
    for note in looked.notes:
        st.text(f"· {widgets.cut(note)}")
    if looked.become:
        st.caption("The first rows as problems")
        lost = any(row[data_look.WHY] for row in looked.become)
        shown = [name for name in looked.become[0] if lost or name != data_look.WHY]
        _table(pd.DataFrame(looked.become, columns=shown), {"Row": 50, "Question": 240})
    if looked.rows:
        st.caption("The first rows as they stand there")
        _table(pd.DataFrame(looked.rows).fillna(""), {})


def _table(rows: pd.DataFrame, widths: dict[str, int]) -> None:
    config = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
    st.dataframe(rows, hide_index=True, column_config=config, placeholder="")


def _chat(chat: tuple[Turn, ...], config: DataConfig) -> None:
    system = [turn for turn in chat if turn["role"] == "system"]
    *shots, question = [turn for turn in chat if turn["role"] != "system"]
    for turn in system:
        _turn(turn)
    if shots:
        with st.expander(f"{len(shots) // 2} worked examples"):
            for turn in shots:
                _turn(turn)
    _turn(question)
    st.caption(
        "The model's own chat template goes around these turns; a model without one reads them "
        "as plain text, one after another."
    )


def _turn(turn: Turn) -> None:
    st.caption(f"{_ICONS[turn['role']]} {turn['role']}")
    text = turn["content"]
    cut = text if len(text) <= MAX_TURN else f"{text[:MAX_TURN]}\n…"
    st.code(widgets.cut(cut), language=None, wrap_lines=True)


def _command(word: str, overrides: list[str]) -> None:
    words = [part for override in overrides for part in ("--set", override)]
    st.caption("The exact text with its number of tokens, from a terminal")
    command = shlex.join(["grpo-studio", "prompts", word, *words])
    st.code(command, language="bash", wrap_lines=True)
