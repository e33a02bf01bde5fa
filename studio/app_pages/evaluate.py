"""Evaluate: how many problems a model solves, how sure that is, and what another does better."""

from __future__ import annotations

import json

import streamlit as st

from grpo_core.evaluation_files import as_csv, as_jsonl
from grpo_core.evaluation_pairs import paired
from grpo_core.evaluations import find_evaluation, list_evaluations
from grpo_core.runs import Command
from studio import (
    components,
    data,
    evaluation_curve,
    evaluation_form,
    evaluation_jobs,
    evaluation_tables,
    evaluation_versus,
    evaluation_view,
    theme,
    widgets,
)
from studio.evaluation_view import Known

BOARD, ACTION, DELETING = "evaluations", "evaluation_action", "evaluation_deleting"
CHOSEN, AGAINST = "evaluation", "against"
REFRESH_S = 2


def known_evaluations() -> tuple[list[Known], dict[str, str]]:
    """Those that can be read, the newest first, and by name a sentence for each that cannot."""
    known: list[Known] = []
    damaged: dict[str, str] = {}
    for one in list_evaluations(data.runs_dir()):
        found = evaluation_view.read(one)
        if isinstance(found, Known):
            known.append(found)
        else:
            damaged[one.name] = found
    return known, damaged


def note() -> None:
    """A name or a button of the table was pressed; `act` does it once the whole script runs, as
    neither a dialog nor another page opens from within a part that is drawn on its own."""
    press(st.session_state[BOARD].action)


def press(action: dict[str, str]) -> None:
    """See `note`."""
    st.session_state[ACTION] = action


def act(kind: str, name: str) -> None:
    """Do what was pressed."""
    try:
        evaluation = find_evaluation(data.runs_dir(), name)
        if kind == "choose":
            st.session_state[CHOSEN] = name
        elif kind == "stop":
            widgets.send(evaluation, Command("stop"))
        elif kind == "go_on":
            evaluation_jobs.go_on(evaluation)
        elif kind == "delete":
            st.session_state[DELETING] = name
    except (OSError, ValueError) as error:
        st.session_state[widgets.PROBLEM] = str(error)
    if kind == "inspect":
        widgets.open_run(widgets.INSPECTOR_PAGE, name)


def keep() -> None:
    """The question was answered with no, or closed."""
    st.session_state.pop(DELETING, None)


@st.dialog("Delete this evaluation?", on_dismiss=keep)
def confirm_delete(name: str) -> None:
    """Ask before the folder goes."""
    st.text(name)
    st.caption("Its completions and figures go for good.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            keep()
            st.rerun()
        if st.button("Delete it", type="primary"):
            keep()
            try:
                find_evaluation(data.runs_dir(), name).delete()
            except (OSError, ValueError) as error:
                st.session_state[widgets.PROBLEM] = str(error)
            st.rerun()


def is_busy(known: list[Known]) -> bool:
    """Whether there will be more to see."""
    loading = evaluation_jobs.loading([one.evaluation for one in known])
    return bool(loading) or any(one.found["status"] in ("starting", "running") for one in known)


def board(was_busy: bool) -> None:
    """All evaluations; drawn again and again while one goes on."""
    if st.session_state.get(ACTION):
        st.rerun()
    known, damaged = known_evaluations()
    for targets in evaluation_jobs.loading([one.evaluation for one in known]):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.badge("loading", icon=":material/hourglass_top:", color="blue")
            st.text(widgets.cut(targets))
    if refused := evaluation_jobs.refusals():
        st.session_state[evaluation_form.REFUSED] = refused
    for message in st.session_state.get(evaluation_form.REFUSED, []):
        widgets.problem(widgets.cut(message), "Not evaluated")
    if known:
        chosen = [str(st.session_state.get(CHOSEN)), str(st.session_state.get(AGAINST))]
        components.shares(
            key=BOARD, sections=evaluation_view.sections(known, chosen), on_action=note
        )
    for name, message in damaged.items():
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.text(widgets.cut(message), width="stretch")
            pressed = {"kind": "delete", "id": name}
            st.button("Delete", key=f"delete {name}", on_click=press, args=(pressed,))
    if was_busy and not is_busy(known):
        st.rerun()


# --- one of them ---------------------------------------------------------------------------------


def choices(known: list[Known]) -> tuple[Known, Known | None]:
    """The evaluation that is looked at, and the one it is compared with; both in the address."""
    names = {one.evaluation.name: one for one in known}
    titles = {
        name: f"{evaluation_view.label(one.settings)}  ·  {name}" for name, one in names.items()
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        one = names[choose("Evaluation", titles, CHOSEN, next(iter(names)))]
        others = evaluation_versus.comparable(one, known)
        if not others:
            return one, None
        fitting = {other.evaluation.name: titles[other.evaluation.name] for other in others}
        return one, names[choose("Against", fitting, AGAINST, next(iter(fitting)))]


def choose(title: str, titles: dict[str, str], key: str, default: str) -> str:
    """A selector whose choice stands in the address."""
    widgets.choice_from_address(key)
    if st.session_state.get(key) not in titles:
        st.session_state[key] = default
    name = st.selectbox(
        title, list(titles), key=key, format_func=lambda name: titles.get(name, name),
        persist_state="session", width=460,
    )  # fmt: skip
    widgets.choice_to_address(key)
    return str(name)


def details(known: list[Known]) -> None:
    """The chosen evaluation: against another, over the steps, by kind, as files."""
    one, other = choices(known)
    parts = st.tabs(["Compared", "Over the steps", "By kind of problem", "Answers", "As files"])
    with parts[0]:
        compare(one, other)
    with parts[1]:
        over_steps(one, known)
    with parts[2]:
        by_kind(one)
    with parts[3]:
        how_answered(one)
    with parts[4]:
        files(one)


def compare(one: Known, other: Known | None) -> None:
    """Against another evaluation, on the problems of both."""
    if other is None:
        st.caption("There is no other evaluation of this task to compare it with.")
        return
    both = paired(
        evaluation_view.problems_of(other.evaluation), evaluation_view.problems_of(one.evaluation)
    )
    first, *more = evaluation_versus.verdict(other, one, both)
    with st.container(border=True):
        st.text(first)
    for sentence in more:
        st.caption(sentence)
    if both.pairs:
        components.pairs(key="pairs", view=evaluation_versus.pairs(other, one, both))


def over_steps(one: Known, known: list[Known]) -> None:
    """The run that the model is from, step by step."""
    run = data.get_run(one.settings.run)
    if run is None:
        st.caption("This model is not a checkpoint of a run that is here.")
        return
    began = data.read(run, lambda reader: reader.began(), None)
    if began != one.settings.began:
        st.caption("The run of this name that is here now is another one.")
        return
    same = [
        other
        for other in known
        if (other.settings.run, other.settings.began, other.settings.data)
        == (one.settings.run, began, one.settings.data)
    ]
    config = data.config_of(run)
    is_own = config is not None and config.data == one.settings.data
    evals = data.read(run, lambda reader: reader.evals(), []) if is_own else []
    colors = theme.chart_colors(st.context.theme.type)
    figure = evaluation_curve.figure(evals, same, colors)
    st.plotly_chart(figure, key="steps", config={"displaylogo": False, "displayModeBar": False})


def by_kind(one: Known) -> None:
    """Accuracy by what tells the problems apart."""
    shown = evaluation_view.kinds(one.found)
    if shown:
        components.shares(key="kinds", sections=shown, on_action=lambda: None)
    else:
        st.caption("Nothing in the data tells these problems apart.")


def how_answered(one: Known) -> None:
    """pass@k and maj@k, which rule found the answers, and what was noted."""
    for message in one.found["notices"]:
        st.text(widgets.cut(f"{message}."))
    left, right = st.columns(2, gap="large")
    with left:
        st.caption("Where the answers stood (greedy completions)")
        st.dataframe(evaluation_tables.rules(one.found), hide_index=True)
    with right:
        if one.found["sampled"]:
            st.caption("Of several samples")
            st.dataframe(evaluation_tables.several(one.found["sampled"]), hide_index=True)
        st.caption("How they ended")
        st.dataframe(evaluation_tables.endings(one.found), hide_index=True)


def files(one: Known) -> None:
    """Downloads, made when they are asked for."""
    name, path = one.evaluation.name, one.evaluation.db_path
    with st.container(horizontal=True):
        st.download_button(
            "Figures (JSON)", lambda: json.dumps(one.found, indent=2), f"{name}.json",
            "application/json", on_click="ignore", icon=":material/download:",
        )  # fmt: skip
        st.download_button(
            "Completions (CSV)", lambda: as_csv(path), f"{name}.csv",
            "text/csv", on_click="ignore", icon=":material/download:",
        )  # fmt: skip
        st.download_button(
            "Completions (JSONL)", lambda: as_jsonl(path), f"{name}.jsonl",
            "application/jsonl", on_click="ignore", icon=":material/download:",
        )  # fmt: skip
    st.caption("Where it lies")
    st.code(str(one.evaluation.path), language=None)


st.title("Evaluate")
if pressed := st.session_state.pop(ACTION, None):
    act(str(pressed.get("kind")), str(pressed.get("id")))
widgets.show_problem()
evaluations, _ = known_evaluations()
with st.expander("Ask a model", icon=":material/quiz:", expanded=not evaluations, key="ask_open"):
    evaluation_form.draw()
busy = is_busy(evaluations)
place = st.container()
if evaluations:
    details(evaluations)
elif not busy:
    st.caption("No model has been evaluated yet.")
with place:  # after what stands below it: the choice there is marked here
    st.fragment(board, run_every=REFRESH_S if busy else None)(busy)
if st.session_state.get(DELETING):
    confirm_delete(st.session_state[DELETING])
