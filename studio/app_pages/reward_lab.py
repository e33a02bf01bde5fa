"""Reward lab: write a reward, see what it gives to completions, apply it to the run."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from grpo_core import rewards
from grpo_core.assets import assets_dir
from grpo_core.runs import Run
from studio import (
    components,
    data,
    lab,
    lab_applied,
    lab_consent,
    lab_sources,
    lab_versions,
    lab_view,
    lint,
    own_rewards,
    widgets,
)

EDITOR = "lab_editor"
TEXT, REVISION, WEIGHTS = "lab_text", "lab_revision", "lab_weights"
LOADED, LOADED_FOR, FORMAT = "lab_loaded", "lab_loaded_for", "lab_format"
FILE_NAME, FILE_TEXT = "lab_file", "lab_file_text"
TRIAL, TRYING, SAVING, SAVED = "lab_trial", "lab_trying", "lab_saving", "lab_saved"
THE_RUNS = "the run's reward"
FILENAME = "reward.py"
# What the editor completes, beside Python and the columns of the data. (Not as a string below: on a
# page Streamlit would show it.)
WORDS = {
    "completion": "the text that was sampled",
    "completions": "of a whole group",
    "answer": "the reference answer",
    "prompt": "with its chat template",
    "completion_ids": "token ids",
    "step": "of the run",
}


# --- what stands in the editor -------------------------------------------------------------------


def load(text: str, weights: dict[str, float], completion_format: str = "text") -> None:
    """Put another text into the editor; Ctrl-Z there brings the old one back."""
    st.session_state[TEXT] = st.session_state[LOADED] = text
    st.session_state[WEIGHTS] = weights
    st.session_state[FORMAT] = completion_format
    st.session_state[REVISION] = st.session_state.get(REVISION, 0) + 1
    st.session_state[FILE_NAME], st.session_state[FILE_TEXT] = "", None
    for key in [key for key in st.session_state if str(key).startswith("lab_weight_")]:
        del st.session_state[key]


def load_choice() -> None:
    """The choice under `Start from` was made."""
    choice = str(st.session_state["lab_source"] or "")
    run = data.get_run(st.session_state.get("run"))
    if choice == THE_RUNS and run is not None:
        load(*lab.current_reward(run))
    elif choice in rewards.builtin_names():
        text = (assets_dir() / "rewards" / f"{choice}.py").read_text(encoding="utf-8")
        load(text, {})
    elif choice.endswith(".py"):
        try:
            text = own_rewards.read(choice)
        except ValueError as error:
            st.session_state[widgets.PROBLEM] = str(error)
            return
        load(text, {})
        st.session_state[FILE_NAME] = choice.removesuffix(".py")
        st.session_state[FILE_TEXT] = text


def load_version(functions: list[rewards.RewardFunction]) -> None:
    """Put a version of the run into the editor."""
    load(*lab.as_text(functions))


def ask_to_try() -> None:
    """The trial itself runs in the script, under a spinner."""
    st.session_state[TRYING] = True


def ask_to_save() -> None:
    """The text is known when the script has run."""
    st.session_state[SAVING] = True


def save(text: str) -> None:
    """Keep the text as a file of one's own."""
    try:
        name = own_rewards.save(
            st.session_state.get(FILE_NAME, ""), text, st.session_state.get(FILE_TEXT)
        )
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
        return
    st.session_state[FILE_TEXT] = text
    st.session_state[SAVED] = str(own_rewards.folder() / name)


# --- the left side -------------------------------------------------------------------------------


def problems_of(text: str, columns: list[str] | None) -> list[dict[str, Any]]:
    """What is marked in the editor: what the linter finds and the faults of the last trial."""
    found = lint.marks(text, columns)
    trial: lab.Trial | None = st.session_state.get(TRIAL)
    if trial is not None and trial.source == text:
        found += [
            {"line": fault.line, "message": fault.sentence, "severity": "error"}
            for fault in trial.faults
            if fault.line
        ]
    return found


def weight_fields(names: list[str]) -> dict[str, float]:
    """One number per function; 0 leaves it out."""
    remembered = st.session_state.get(WEIGHTS, {})
    given = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name in names:
            given[name] = st.number_input(
                f"Weight of {name}",
                value=float(remembered.get(name, 1.0)),
                step=0.1,
                format="%g",
                key=f"lab_weight_{name}",
                width=170,
                help="0 leaves the function out.",
            )
    st.session_state[WEIGHTS] = {**remembered, **given}
    return given


def chosen_functions(text: str, weights: dict[str, float]) -> list[rewards.RewardFunction]:
    """The functions that count. Raises ValueError that says what is missing."""
    form = st.session_state.get(FORMAT) or "text"
    functions = rewards.from_source(text, weights, FILENAME, form)
    counted = [function for function in functions if function.weight]
    if not counted:
        raise ValueError("all weights are 0; give at least one function a weight")
    return counted


def source_fields() -> None:
    """What the text begins as, and in which form completions are handed over."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Start from",
            [THE_RUNS, *own_rewards.names(), *rewards.builtin_names()],
            index=None,
            placeholder="Load a reward …",
            key="lab_source",
            on_change=load_choice,
            width=240,
            help="The run's, a file of your own, or one of the library.",
        )
        st.segmented_control(
            "Completions come as",
            ["text", "messages"],
            key=FORMAT,
            required=True,
            help="Functions written for TRL's conversational form take messages.",
        )


@st.fragment
def write(run: Run, step: int | None) -> None:
    """The left side: editor, weights, buttons. Typing runs only this part of the page."""
    source_fields()
    revision = st.session_state[REVISION]
    text = components.draft(EDITOR, st.session_state[TEXT], revision)
    st.session_state[TEXT] = text
    columns = lab_sources.columns(run, step)
    words = WORDS | {name: "a data column" for name in columns or [] if name not in WORDS}
    components.editor(
        key=EDITOR,
        code=text,
        revision=revision,
        problems=problems_of(text, columns),
        words=[{"label": w, "type": "variable", "detail": said} for w, said in words.items()],
        on_run=ask_to_try,
        on_save=ask_to_save,
        height=380,
    )
    hint(text)
    try:
        weights = weight_fields(rewards.find_functions(text))
        functions = chosen_functions(text, weights)
        wrong = ""
    except ValueError as error:
        functions, wrong = [], str(error)
    may_run = not lab_consent.is_missing(run)
    source = lab_sources.current(run, step) if may_run else None
    buttons(run, source, functions if may_run else [])
    keep(text)
    if wrong:
        widgets.problem(wrong, "Not ready")
    widgets.show_problem()
    lab_applied.show(run)
    if st.session_state.pop(TRYING, False) and functions and source is not None:
        with st.spinner("Scoring the completions …"):
            st.session_state[TRIAL] = lab.try_out(run, source, text, functions)
        st.rerun()
    lab_versions.show(run, functions, load_version, lambda wanted: lab_applied.send(run, wanted))


def hint(text: str) -> None:
    """What a person who pastes a function of another library should know."""
    if re.search(r"\[0\]\s*\[\s*[\"']content[\"']\s*\]", text) and (
        st.session_state.get(FORMAT) == "text"
    ):
        st.caption("This looks written for conversations: choose `messages` above.")
    if "completion_ids" in text:
        st.caption(
            "Token ids are stored for some groups of a step only; elsewhere `completion_ids` has "
            "the right length and holds −1."
        )


def buttons(run: Run, source: lab.Source | None, functions: list[rewards.RewardFunction]) -> None:
    """Try it, apply it to the run, name and keep it."""
    done, is_wrong = run.status() == "completed", not functions
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Try it",
            type="primary",
            icon=":material/play_arrow:",
            on_click=ask_to_try,
            disabled=is_wrong or source is None,
            help="On the completions of the right side. Ctrl-Enter in the editor does the same.",
        )
        if st.button(
            "Apply to the run",
            icon=":material/publish:",
            disabled=is_wrong or done,
            help="This run is complete." if done else "From the run's next step on.",
        ):
            lab_applied.send(run, functions)
            st.rerun()
        st.space("stretch")
        st.session_state.setdefault(FILE_NAME, "")
        st.text_input(
            "File name", key=FILE_NAME, placeholder="name it", width=150,
            label_visibility="collapsed",
        )  # fmt: skip
        st.button(
            "Save",
            icon=":material/save:",
            on_click=ask_to_save,
            help="As a file of your own. Ctrl-S in the editor does the same.",
        )


def keep(text: str) -> None:
    """Save where it was asked for, and say where it went."""
    if st.session_state.pop(SAVING, False):
        save(text)
        st.rerun()
    if saved := st.session_state.pop(SAVED, ""):
        st.badge("saved", icon=":material/check:", color="green")
        st.text(saved)


# --- the page ------------------------------------------------------------------------------------


def show(run: Run, step: int | None) -> None:
    """The page below its selectors."""
    if st.session_state.get(LOADED_FOR) != run.name:
        # Another run: show its reward, unless the text was worked on.
        if st.session_state.get(TEXT) == st.session_state.get(LOADED):
            load(*lab.current_reward(run))
        st.session_state[LOADED_FOR] = run.name
    # A widget that is not drawn loses its value: say it again on each visit.
    st.session_state.setdefault(FORMAT, "text")
    left, right = st.columns([6, 7], gap="large")
    with left:
        write(run, step)
    with right:
        lab_sources.fields(run)
        lab_view.show_trial(st.session_state.get(TRIAL), lab_sources.current(run, step))


with st.container(horizontal=True, vertical_alignment="center"):
    run = widgets.pick_run()
    step = widgets.pick_step(run) if run is not None else None
    st.space("stretch")
    widgets.show_protection()
if run is not None:
    show(run, step)
