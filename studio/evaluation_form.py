"""The question of the Evaluate page: which models, which problems, how many samples."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from grpo_core.data_config import TaskName
from grpo_core.runs import Run
from studio import data, evaluation_jobs, widgets
from studio.evaluation_jobs import Question

MODELS, OTHER, TASK, PATH = "ask_models", "ask_other", "ask_task", "ask_path"
LIMIT, SAMPLES = "ask_limit", "ask_samples"
TEMPERATURE, TOP_P, LENGTH = "ask_temperature", "ask_top_p", "ask_length"
REFUSED = "ask_refused"
"""Session key: what those that gave up had to say, until somebody asks again."""
THE_RUNS = "the run's own"
TASKS: tuple[str, ...] = get_args(TaskName)
_DEFAULTS: dict[str, Any] = {
    OTHER: "", TASK: THE_RUNS, PATH: "", LIMIT: None, SAMPLES: 0,
    TEMPERATURE: 1.0, TOP_P: 1.0, LENGTH: None,
}  # fmt: skip


def models() -> dict[str, str]:
    """What can be asked, as the command line calls it, with its name for people."""
    found: dict[str, str] = {}
    for name in data.run_names():
        run = data.get_run(name)
        if run is None:
            continue
        found[f"{name}@0"] = f"{name} at the start"
        steps = checkpoint_steps(run)
        found |= {f"{name}@{step}": f"{name} step {step}" for step in steps}
    return found


def checkpoint_steps(run: Run) -> list[int]:
    """The steps of a run's checkpoints, the newest first."""
    names = [path.name.removeprefix("step_") for path in run.checkpoints.glob("step_[0-9]*")]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def draw() -> None:
    """The form, the start, and the same from a terminal."""
    known = models()
    widgets.recall({MODELS: _before_and_after(known), **_DEFAULTS})
    st.session_state[MODELS] = [one for one in st.session_state[MODELS] if one in known]
    left, right = st.columns([8, 5], gap="large")
    with left:
        _whom(known)
        _what()
        with st.expander("How it is sampled", icon=":material/tune:"):
            _how()
    widgets.remember([MODELS, *_DEFAULTS])
    question = asked()
    with right:
        st.button(
            "Ask",
            type="primary",
            icon=":material/play_arrow:",
            width="stretch",
            on_click=begin,
            args=(question,),
            disabled=not question.targets or needs_task(),
        )
        if question.targets and needs_task():
            st.caption("Choose a task: only a run has one of its own.")
        st.caption(
            "Every completion is kept. An evaluation that was stopped or killed goes on where it "
            "was; the same question is not asked twice."
        )
        if question.targets:
            st.caption("The same from a terminal")
            line = evaluation_jobs.command_line(question, data.runs_dir())
            st.code(line, language="bash", wrap_lines=True)


def _before_and_after(known: dict[str, str]) -> list[str]:
    """The newest run with a checkpoint, as it began and as it is."""
    for name in data.run_names():
        own = [one for one in known if one.rpartition("@")[0] == name]
        if len(own) > 1:
            return own[:2]
    return []


def _whom(known: dict[str, str]) -> None:
    st.multiselect(
        "Models",
        list(known),
        key=MODELS,
        format_func=lambda one: known.get(one, one),
        placeholder="Checkpoints of your runs",
        help="The first is the one that the others are compared with on the command line.",
    )
    st.text_input(
        "Another model",
        key=OTHER,
        placeholder="a folder in Hugging Face format, a hub id, or bundled:tiny",
    )


def _what() -> None:
    with st.container(horizontal=True, vertical_alignment="top"):
        st.selectbox("Task", [THE_RUNS, *TASKS], key=TASK, width=180)
        st.number_input(
            "Problems", min_value=1, step=1, key=LIMIT, placeholder="all", width=140,
            help="A sample of so many, the same for every model. Empty asks all.",
        )  # fmt: skip
        st.number_input(
            "Samples of each", min_value=0, max_value=1024, step=1, key=SAMPLES, width=160,
            help="Beside the greedy completion, for pass@k and maj@k. They take as much longer.",
        )  # fmt: skip
    if st.session_state[TASK] not in (THE_RUNS, "arithmetic"):
        st.text_input(
            "File or folder with the problems",
            key=PATH,
            placeholder="JSONL, CSV or Parquet; of a folder the test split",
            help="Empty: GSM8K comes from the hub.",
        )


def _how() -> None:
    with st.container(horizontal=True, vertical_alignment="top"):
        st.number_input(
            "Temperature", min_value=0.01, max_value=5.0, step=0.1, key=TEMPERATURE, width=150,
            help="Of the samples.",
        )  # fmt: skip
        st.number_input(
            "Top p", min_value=0.01, max_value=1.0, step=0.05, key=TOP_P, width=130,
            help="Of the samples.",
        )  # fmt: skip
        st.number_input(
            "Most new tokens", min_value=1, max_value=32768, step=1, key=LENGTH, width=170,
            placeholder="as the run, or 512",
        )  # fmt: skip


def needs_task() -> bool:
    """Whether somebody is asked who has no task of its own."""
    return bool(str(st.session_state[OTHER]).strip()) and st.session_state[TASK] == THE_RUNS


def asked() -> Question:
    """The question as it stands in the form."""
    state = st.session_state
    other = str(state[OTHER]).strip()
    targets = [*state[MODELS], *([other] if other else [])]
    options: list[str] = []
    if state[TASK] != THE_RUNS:
        options += ["--task", state[TASK]]
        path = str(state.get(PATH) or "").strip()
        options += ["--data", path] if path and state[TASK] != "arithmetic" else []
    for name, key in (("--limit", LIMIT), ("--samples", SAMPLES), ("--max-new-tokens", LENGTH)):
        options += [name, str(state[key])] if state[key] else []
    if state[SAMPLES]:
        for name, key in (("--temperature", TEMPERATURE), ("--top-p", TOP_P)):
            options += [name, f"{state[key]:g}"] if state[key] != 1 else []
    return Question(tuple(targets), tuple(options))


def begin(question: Question) -> None:
    """Ask (for callbacks)."""
    st.session_state.pop(REFUSED, None)
    try:
        evaluation_jobs.ask(data.runs_dir(), question)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
