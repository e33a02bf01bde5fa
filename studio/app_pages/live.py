"""Live: the curves of one run. The component polls; this script runs again only on a click or when
the run's status changes.
"""

from __future__ import annotations

import streamlit as st

from studio import charts, components, data, explanations, jobs, widgets

VIEW = "live_view"
RESUMING = "live_resuming"


def act() -> None:
    """A button or a point of a curve was pressed."""
    action = st.session_state[VIEW].action or {}
    kind, name = action.get("kind"), st.session_state["run"]
    if kind == "open_step":
        widgets.open_run(widgets.INSPECTOR_PAGE, name, step=int(action["step"]))
    elif kind == "resume":
        st.session_state[RESUMING] = name
    elif kind in ("pause", "continue", "stop"):
        widgets.command(name, kind)


def resume(name: str) -> None:
    """Let a run that ended go on."""
    run = data.get_run(name)
    try:
        if run is not None:
            with st.spinner("Going on from the last checkpoint …"):
                jobs.resume(run)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)


with st.container(horizontal=True, vertical_alignment="center"):
    run = widgets.pick_run()
    others = widgets.pick_others(run) if run is not None else []
    if run is not None:
        st.space("stretch")
        query = {"run": run.name}
        st.page_link(
            widgets.INSPECTOR_PAGE, label="Inspector", icon=":material/search:", query_params=query
        )
        st.page_link(
            widgets.LAB_PAGE, label="Reward lab", icon=":material/science:", query_params=query
        )

if run is not None:
    if st.session_state.get(RESUMING):
        resume(st.session_state.pop(RESUMING))
    widgets.show_problem()
    components.live(
        key=VIEW,
        run=run.name,
        others=others,
        charts=charts.CHARTS,
        tiles=charts.TILES,
        explanations=explanations.payload(),
        on_action=act,
    )
    log = jobs.console(run)
    if log and run.status() in ("failed", "crashed"):
        with st.expander("What the trainer wrote last", icon=":material/terminal:"):
            st.code(log, language=None, height=260)
