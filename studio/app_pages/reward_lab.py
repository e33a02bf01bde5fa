"""Reward lab: write a reward, see what it gives to completions, apply it to the run."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from grpo_core import rewards
from grpo_core.runs import Run
from studio import (
    components,
    lab,
    lab_applied,
    lab_consent,
    lab_sources,
    lab_text,
    lab_versions,
    lab_view,
    lab_weights,
    lint,
    widgets,
)

TRIAL, TRYING = "lab_trial", "lab_trying"
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


def ask_to_try() -> None:
    """The trial itself runs in the script, under a spinner."""
    st.session_state[TRYING] = True


def problems_of(text: str, columns: list[str] | None) -> list[dict[str, Any]]:
    """What is marked in the editor: what the linter finds and the faults of the last trial."""
    found = lint.marks(text, columns)
    trial: lab.Trial | None = st.session_state.get(TRIAL)
    if trial is not None and trial.version == lab_weights.version_now(text):
        found += [
            {"line": fault.line, "message": fault.sentence, "severity": "error"}
            for fault in trial.faults
            if fault.line
        ]
    return found


def source_fields() -> None:
    """What the text begins as, and in which form completions are handed over."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Start from",
            lab_text.choices(),
            index=None,
            placeholder="Load a reward …",
            key=lab_text.CHOICE,
            on_change=lab_text.load_choice,
            width=230,
            help="The run's, a file of your own, or one of the library.",
        )
        st.checkbox(
            "add", key=lab_text.ADD, help="Load it below what stands there, not in its place."
        )
        st.segmented_control(
            "Completions come as",
            ["text", "messages"],
            key=lab_text.FORMAT,
            required=True,
            help="Functions written for TRL's conversational form take messages.",
        )


@st.fragment
def write(run: Run, step: int | None) -> None:
    """The left side: editor, weights, buttons. Typing runs only this part of the page."""
    revision = st.session_state[lab_text.REVISION]
    if kept := components.restored(lab_text.EDITOR, revision):
        lab_text.take_back(kept)
    source_fields()
    text = components.draft(lab_text.EDITOR, st.session_state[lab_text.TEXT], revision)
    st.session_state[lab_text.TEXT] = text
    editor(text, revision, lab_sources.columns(run, step))
    try:
        functions, wrong = lab_weights.chosen(text, lab_weights.fields(text)), ""
    except ValueError as error:
        functions, wrong = [], str(error)
    if wrong_text := lab_text.warning():
        said = "This is not quite the run's reward, as one text cannot be it: "
        widgets.problem(
            f"{said}{wrong_text}. Change it before you try or apply it.", "Not the same"
        )
    missing = lab_consent.is_missing(run, st.session_state[lab_text.ORIGINS])
    may_run = not missing and not wrong_text
    source = lab_sources.current(run, step) if may_run else None
    buttons(run, source, functions if may_run else [])
    widgets.remember(lab_text.FIELDS)
    hint(text)  # below the buttons, which must not move while one types
    saved(functions, not missing)
    if wrong:
        widgets.problem(wrong, "Not ready")
    widgets.show_problem()
    say_if_stale(functions, source)
    lab_applied.show(run)
    if st.session_state.pop(TRYING, False) and functions and source is not None:
        with st.spinner("Scoring the completions …"):
            st.session_state[TRIAL] = lab.try_out(run, source, functions)
        st.rerun()
    lab_versions.show(
        run,
        functions,
        lambda wanted: lab_text.put_version(run, wanted),
        lambda wanted: lab_applied.send(run, wanted),
    )


def editor(text: str, revision: int, columns: list[str] | None) -> None:
    """The editor with its marks and the words that it completes."""
    words = WORDS | {name: "a data column" for name in columns or [] if name not in WORDS}
    components.editor(
        key=lab_text.EDITOR,
        code=text,
        revision=revision,
        problems=problems_of(text, columns),
        words=[{"label": w, "type": "variable", "detail": said} for w, said in words.items()],
        kept=lab_text.context(),
        on_run=ask_to_try,
        on_save=lab_text.ask_to_save,
        height=380,
    )


def hint(text: str) -> None:
    """What a person who pastes a function of another library should know."""
    if re.search(r"\[0\]\s*\[\s*[\"']content[\"']\s*\]", text) and (
        st.session_state.get(lab_text.FORMAT) == "text"
    ):
        st.caption("This looks written for conversations: choose `messages` above.")
    if "completion_ids" in text:
        st.caption(
            "Token ids are stored for some groups of a step only; elsewhere `completion_ids` has "
            "the right length and holds −1, and by hand a token is taken for four characters."
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
        with st.container(horizontal=True, width="content"):
            st.text_input(
                "File name",
                key=lab_text.FILE_NAME,
                placeholder="name it",
                width=140,
                label_visibility="collapsed",
            )
            st.button(
                "Save",
                icon=":material/save:",
                on_click=lab_text.ask_to_save,
                help="As a file of your own. Ctrl-S in the editor does the same.",
            )


def saved(functions: list[rewards.RewardFunction], may_be: bool) -> None:
    """Save where it was asked for; say where it went, and what a file does not hold."""
    if st.session_state.pop(lab_text.SAVING, False):
        if may_be:
            lab_text.save()
        else:  # else it would be a file of one's own from then on
            said = "this text was not written here; say first that you trust it"
            st.session_state[widgets.PROBLEM] = said
        st.rerun()
    if path := st.session_state.pop(lab_text.SAVED, ""):
        st.badge("saved", icon=":material/check:", color="green")
        lines = [
            f"- {{path: {path}, function: {one.function}, weight: {one.weight:g}, "
            f"completion_format: {one.completion_format}}}"
            for one in functions
        ]
        st.caption("Weights and the form of completions are a recipe's, not the file's:")
        st.code("\n".join(["rewards:", *lines]), language="yaml", wrap_lines=True)


def say_if_stale(functions: list[rewards.RewardFunction], source: lab.Source | None) -> None:
    """The right side shows the last trial, which may be of another text by now."""
    trial: lab.Trial | None = st.session_state.get(TRIAL)
    if trial is None or source is None or trial.key != source.key:
        return
    if not functions or trial.version != rewards.version_of(functions):
        st.badge(
            "The numbers on the right are of an earlier text or weight",
            icon=":material/history_toggle_off:",
            color="orange",
        )


# --- the page ------------------------------------------------------------------------------------


def show(run: Run, step: int | None) -> None:
    """The page below its selectors."""
    lab_text.begin(run)
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
