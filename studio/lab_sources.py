"""Where the Reward lab's completions come from: a stored step of the run, a data file, a text
written by hand, or fresh samples of the run's model.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from grpo_core.judge import Judge, mark
from grpo_core.records import Group, Problem, Rollout
from grpo_core.reward_test import PATIENCE_S, read_groups
from grpo_core.runs import Run
from studio import data, jobs, scoring, widgets
from studio.lab import Loaded, Source, weights_at

STEP, FILE, HAND, FRESH = "A step of the run", "A data file", "By hand", "Fresh samples"
KIND, PATH = "lab_from", "lab_path"
PROMPT, ANSWER, TEXTS = "lab_prompt", "lab_answer", "lab_completions"
NUM, SIZE = "lab_num_problems", "lab_group_size"
DIVIDER = "---"
"""A line of its own between completions that are written by hand."""
_DEFAULTS = {
    KIND: STEP, PATH: "", PROMPT: "What is 7 + 11?", ANSWER: "18",
    TEXTS: "The answer is 18.\n---\n17\n---\nI do not know.", NUM: 4, SIZE: 4,
}  # fmt: skip

_OWN = {STEP: (), FILE: (PATH,), HAND: (PROMPT, ANSWER, TEXTS), FRESH: (NUM, SIZE)}
"""The fields of each kind."""


def current(run: Run, step: int | None) -> Source | None:
    """The completions that are chosen now; None while there are none."""
    kind = _field(KIND)
    if kind == FILE:
        return _of_file(run, str(_field(PATH)).strip())
    if kind == HAND:
        return _by_hand(run, str(_field(PROMPT)), str(_field(ANSWER)), str(_field(TEXTS)))
    if kind == FRESH:
        return _fresh(run)
    if step is None:
        return None
    load = lambda: Loaded(*scoring.stored_groups(run, step))  # noqa: E731  one line, used once
    return Source((STEP, run.name, step), load, step, weights_at(run, step))


def columns(run: Run, step: int | None) -> list[str] | None:
    """Columns of the data that functions can ask for, None where they are not known."""
    if _field(KIND) in (STEP, FRESH):
        return data.columns(run, step)
    return ["question"] if _field(KIND) == HAND else None


def fields(run: Run) -> None:
    """Choosing the completions."""
    kinds = [STEP, FILE, HAND, FRESH]
    widgets.recall({KIND: STEP})
    st.segmented_control(
        "Completions", kinds, key=KIND, required=True, label_visibility="collapsed"
    )
    kind = str(_field(KIND))
    own = {key: _DEFAULTS[key] for key in _OWN[kind]}
    widgets.recall(own)
    if kind == FILE:
        st.text_input(
            "A JSONL file on this machine",
            key=PATH,
            placeholder="/path/to/rows.jsonl",
            help="One object a line with `prompt`, `completion` and any columns, such as "
            "`answer`. Neighbours that differ in their completion alone are one group.",
        )
    elif kind == HAND:
        _hand_fields()
    elif kind == FRESH:
        _fresh_fields(run)
    widgets.remember([KIND, *own])


def _field(key: str) -> object:
    kept = st.session_state.get(f"{key}_kept", _DEFAULTS[key])
    return st.session_state.get(key, kept)


# --- a data file ---------------------------------------------------------------------------------


def _of_file(run: Run, text: str) -> Source | None:
    if not text:
        return None
    path = Path(text).expanduser()
    try:
        stamp = path.stat().st_mtime_ns
    except (OSError, ValueError):
        stamp = 0  # trying it says what is wrong
    return Source((FILE, run.name, text, stamp), lambda: _read(path))


def _read(path: Path) -> Loaded:
    groups = read_groups(path, scoring.MAX_COMPLETIONS + 1)
    num = sum(len(group.rollouts) for group in groups)
    if num <= scoring.MAX_COMPLETIONS:
        return Loaded(groups)
    if len(groups) == 1:
        del groups[0].rollouts[scoring.MAX_COMPLETIONS :]
        return Loaded(groups, True)
    return Loaded(groups[:-1], True)  # the last one may go on


# --- by hand -------------------------------------------------------------------------------------


def _hand_fields() -> None:
    with st.container(horizontal=True):
        st.text_input("Prompt", key=PROMPT)
        st.text_input("Answer", key=ANSWER, width=160)
    st.text_area(
        "Completions of one group",
        key=TEXTS,
        height=130,
        help="A line with --- and nothing else stands between two completions.",
    )


def _by_hand(run: Run, prompt: str, answer: str, texts: str) -> Source:
    def load() -> Loaded:
        parts: list[list[str]] = [[]]
        for line in texts.split("\n"):
            if line.strip() == DIVIDER:
                parts.append([])
            else:
                parts[-1].append(line)
        problem = Problem("by hand", prompt, answer, {"question": prompt})
        rollouts = []
        for part in parts:
            text = "\n".join(part)
            rollouts.append(Rollout([-1] * round(len(text) / 4), [], text, "stop"))
        groups = [Group(problem, prompt, [], rollouts)]
        with Judge(patience_s=PATIENCE_S) as judge:
            mark(groups, judge)
        return Loaded(groups)

    return Source((HAND, run.name, prompt, answer, texts), load)


# --- fresh samples -------------------------------------------------------------------------------


def _fresh(run: Run) -> Source | None:
    path = jobs.samples_path(run)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return Source((FRESH, run.name, stamp), lambda: _read(path))


def _fresh_fields(run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input("Prompts", 1, 64, key=NUM, width=140)
        st.number_input("Completions each", 1, 64, key=SIZE, width=150)
        if st.button(
            "Sample",
            icon=":material/casino:",
            disabled=jobs.is_sampling(run),
            help="From the run's newest checkpoint, in a process of its own.",
        ):
            try:
                jobs.sample(run, int(str(_field(NUM))), int(str(_field(SIZE))))
            except OSError as error:
                st.session_state[widgets.PROBLEM] = f"{error.filename}: {error.strerror}"
            st.rerun()
    if jobs.is_sampling(run):
        _wait(run)
    elif wrong := jobs.sampling_failed(run):
        st.badge("That did not work", icon=":material/error:", color="red")
        st.text(wrong)
    elif _fresh(run) is None:
        st.caption("Nothing is sampled yet.")
    else:
        st.caption("The samples are there: try the reward on them.")


@st.fragment(run_every=1)
def _wait(run: Run) -> None:
    if not jobs.is_sampling(run):
        st.rerun()
    st.caption("The model is loaded and samples, which takes seconds to minutes …")
