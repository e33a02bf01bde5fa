"""Runs: every run at a glance, and what can be done with it."""

from __future__ import annotations

import streamlit as st

from studio import components, data, jobs, widgets

TABLE = "runs_table"
REQUEST = "bundled_request"
STARTING = "runs_starting"
RESUMING = "runs_resuming"
DELETING = "runs_deleting"


def act() -> None:
    """A button or a name of the table was pressed."""
    action = st.session_state[TABLE].action or {}
    kind, name = action.get("kind"), str(action.get("run"))
    if kind == "open":
        widgets.open_run(widgets.LIVE_PAGE, name)
    elif kind == "delete":
        st.session_state[DELETING] = name
    elif kind == "resume":
        st.session_state[RESUMING] = name
    elif kind in ("pause", "continue", "stop"):
        widgets.command(name, kind)


def ask_for_bundled() -> None:
    """The start itself happens in the script, under a spinner; its request id makes it one."""
    st.session_state[STARTING] = True


def start_bundled() -> None:
    """Start the bundled recipe and go to its curves."""
    try:
        with st.spinner("Starting the trainer and loading the model …"):
            run = jobs.start(
                data.runs_dir(), widgets.request_id(REQUEST), jobs.Start("bundled", "")
            )
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
        st.session_state[STARTING] = False
        widgets.forget_request(REQUEST)
        st.rerun()
    st.session_state[STARTING] = False
    widgets.forget_request(REQUEST)
    widgets.open_run(widgets.LIVE_PAGE, run.name)


def resume(name: str) -> None:
    """Let a run that ended go on."""
    run = data.get_run(name)
    if run is None:
        return
    try:
        with st.spinner("Going on from the last checkpoint …"):
            jobs.resume(run)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)


def keep() -> None:
    """The question was answered with no, or closed."""
    st.session_state.pop(DELETING, None)


@st.dialog("Delete this run?", on_dismiss=keep)
def confirm_delete(name: str) -> None:
    """Ask before the folder goes."""
    st.text(name)
    st.caption("Its curves, completions, checkpoints and reward versions go for good.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it"):
            keep()
            st.rerun()
        if st.button("Delete it", type="primary"):
            delete(name)
            st.rerun()


def delete(name: str) -> None:
    """Remove the run's folder."""
    keep()
    run = data.get_run(name)
    try:
        if run is not None:
            run.delete()
    except (OSError, ValueError) as error:
        st.session_state[widgets.PROBLEM] = str(error)


def header() -> None:
    """Title and the two ways to start."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Runs", width="stretch")
        if st.button("New run", icon=":material/add:"):
            st.switch_page(widgets.NEW_RUN_PAGE)
        st.button(
            "Start the bundled run",
            type="primary",
            icon=":material/play_arrow:",
            on_click=ask_for_bundled,
            disabled=bool(st.session_state.get(STARTING)),
        )


def welcome() -> None:
    """What stands here before the first run."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("medium")
        st.subheader("Watch a small model learn to think", width="content")
        st.markdown(
            "The bundled model answers arithmetic questions, and is mostly wrong because it "
            "answers at once.  \nIn about three minutes on a laptop it finds out that thinking "
            "first pays.",
            text_alignment="center",
        )
        st.button(
            "Start the bundled run",
            type="primary",
            icon=":material/play_arrow:",
            on_click=ask_for_bundled,
            disabled=bool(st.session_state.get(STARTING)),
        )
        st.caption("Training goes on when you close this tab.", text_alignment="center")
        st.space("medium")


has_runs = bool(data.run_names())
if has_runs:
    header()
else:
    st.title("Runs")
    welcome()
if st.session_state.get(STARTING):
    start_bundled()
if st.session_state.get(RESUMING):
    resume(st.session_state.pop(RESUMING))
widgets.show_problem()
if has_runs:
    components.runs(key=TABLE, on_action=act)
    st.caption(
        "Training goes on when you close this tab or the studio. A name opens the run's curves."
    )
if st.session_state.get(DELETING):
    confirm_delete(st.session_state[DELETING])
