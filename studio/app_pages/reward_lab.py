"""Reward lab: write a reward, see what it would have given to stored completions, apply it."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from grpo_core import rewards
from grpo_core.assets import assets_dir
from grpo_core.runs import Command, Run
from studio import components, data, lab, widgets

EDITOR = "lab_editor"
TEXT, REVISION, WEIGHTS = "lab_text", "lab_revision", "lab_weights"
LOADED, LOADED_FOR, FORMAT = "lab_loaded", "lab_loaded_for", "lab_format"
TRIAL, TRYING = "lab_trial", "lab_trying"
PENDING, NEWS = "lab_pending", "lab_news"
THE_RUNS = "the run's reward"
FILENAME = "reward.py"
WORDS = [
    {"label": "completion", "type": "variable", "detail": "the text that was sampled"},
    {"label": "completions", "type": "variable", "detail": "of a whole group"},
    {"label": "answer", "type": "variable", "detail": "the reference answer"},
    {"label": "prompt", "type": "variable", "detail": "with its chat template"},
    {"label": "completion_ids", "type": "variable", "detail": "token ids"},
    {"label": "step", "type": "variable", "detail": "of the run"},
]


def load(text: str, weights: dict[str, float], completion_format: str = "text") -> None:
    """Put another text into the editor; Ctrl-Z there brings the old one back."""
    st.session_state[TEXT] = st.session_state[LOADED] = text
    st.session_state[WEIGHTS] = weights
    st.session_state[FORMAT] = completion_format
    st.session_state[REVISION] = st.session_state.get(REVISION, 0) + 1
    for key in [key for key in st.session_state if str(key).startswith("lab_weight_")]:
        del st.session_state[key]


def load_choice() -> None:
    """The choice under `Start from` was made."""
    choice = st.session_state["lab_source"]
    run = data.get_run(st.session_state.get("run"))
    if choice == THE_RUNS and run is not None:
        load(*lab.current_reward(run))
    elif choice in rewards.builtin_names():
        text = (assets_dir() / "rewards" / f"{choice}.py").read_text(encoding="utf-8")
        load(text, {})


def ask_to_try() -> None:
    """The trial itself runs in the script, under a spinner."""
    st.session_state[TRYING] = True


def problems_of(text: str) -> list[dict[str, Any]]:
    """What is marked in the editor: a syntax error now, or the faults of the last trial."""
    try:
        rewards.find_functions(text)
    except ValueError as error:
        match = re.match(r"line (\d+): (.*)", str(error), re.DOTALL)
        line, message = (int(match[1]), match[2]) if match else (1, str(error))
        return [{"line": line, "message": message, "severity": "error"}]
    trial: lab.Trial | None = st.session_state.get(TRIAL)
    if trial is None or trial.source != text:
        return []
    return [
        {"line": fault.line, "message": fault.sentence, "severity": "error"}
        for fault in trial.faults
        if fault.line
    ]


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
            [THE_RUNS, *rewards.builtin_names()],
            index=None,
            placeholder="Load a reward …",
            key="lab_source",
            on_change=load_choice,
            width=240,
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
    components.editor(
        key=EDITOR,
        code=text,
        revision=revision,
        problems=problems_of(text),
        words=WORDS,
        on_run=ask_to_try,
        height=380,
    )
    hint(text)
    try:
        weights = weight_fields(rewards.find_functions(text))
        functions = chosen_functions(text, weights)
        wrong = ""
    except ValueError as error:
        functions, wrong = [], str(error)
    buttons(run, step, functions, bool(wrong))
    if wrong:
        widgets.problem(wrong, "Not ready")
    if st.session_state.pop(TRYING, False) and functions and step is not None:
        with st.spinner("Scoring the completions of this step …"):
            st.session_state[TRIAL] = lab.try_out(run, step, text, functions)
        st.rerun()


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


def buttons(
    run: Run, step: int | None, functions: list[rewards.RewardFunction], is_wrong: bool
) -> None:
    """Try it, and apply it to the run."""
    done = run.status() == "completed"
    with st.container(horizontal=True):
        st.button(
            "Try it",
            type="primary",
            icon=":material/play_arrow:",
            on_click=ask_to_try,
            disabled=is_wrong or step is None,
            help="On the completions of the step above. Ctrl-Enter in the editor does the same.",
        )
        if st.button(
            "Apply to the run",
            icon=":material/publish:",
            disabled=is_wrong or done,
            help="This run is complete." if done else "From the run's next step on.",
        ):
            apply(run, functions)


def apply(run: Run, functions: list[rewards.RewardFunction]) -> None:
    """Leave the new rewards for the trainer; `confirm` waits for its answer."""
    command = Command("set_rewards", {"functions": rewards.to_dicts(functions)})
    if widgets.send(run, command):
        st.session_state[PENDING] = {"run": run.name, "id": command.id}
        st.session_state.pop(NEWS, None)
    st.rerun()


@st.fragment(run_every=1)
def confirm(run: Run, command_id: str) -> None:
    """Wait until the trainer says what became of the command."""
    news = data.read(run, lambda reader: lab.answer_to(reader, command_id), None)
    if news is not None:
        st.session_state[NEWS] = {"run": run.name, **news}
        st.session_state.pop(PENDING, None)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge("sent", icon=":material/schedule:", color="orange")
        if run.is_live():
            st.caption("The trainer takes it up before its next step.")
        else:
            st.caption("The run is not training; it takes effect when the run goes on.")


def announcement(run: Run) -> None:
    """What became of the last reward that was applied to this run."""
    pending, news = st.session_state.get(PENDING), st.session_state.get(NEWS)
    if pending and pending["run"] == run.name:
        confirm(run, pending["id"])
    elif news and news["run"] == run.name and news["refused"]:
        widgets.problem(news["refused"], "The trainer refused")
    elif news and news["run"] == run.name:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(f"in force from step {news['step']}", icon=":material/check:", color="green")
            st.page_link(
                widgets.LIVE_PAGE,
                label="See the mark on the curves",
                icon=":material/monitoring:",
                query_params={"run": run.name},
            )


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
        widgets.show_problem()
        announcement(run)
    with right:
        lab.show_trial(st.session_state.get(TRIAL), run, step)


with st.container(horizontal=True, vertical_alignment="center"):
    run = widgets.pick_run()
    step = widgets.pick_step(run) if run is not None else None
    st.space("stretch")
    widgets.show_protection()
if run is not None:
    show(run, step)
