"""Giving a run another reward, and the trainer's answer."""

from __future__ import annotations

from typing import Any

import streamlit as st

from grpo_core import rewards, trust
from grpo_core.reader import RunReader
from grpo_core.runs import Run
from studio import data, lab_versions, widgets

PENDING, NEWS = "lab_pending", "lab_news"


def send(run: Run, functions: list[rewards.RewardFunction]) -> None:
    """Leave the new rewards for the trainer; `show` waits for its answer."""
    try:
        command = trust.rewards_command(run, functions)
    except ValueError as error:
        st.session_state[widgets.PROBLEM] = str(error)
        return
    if widgets.send(run, command):
        st.session_state[PENDING] = {"run": run.name, "id": command.id}
        st.session_state.pop(NEWS, None)


def show(run: Run) -> None:
    """What became of the last reward that was given to this run."""
    pending, news = st.session_state.get(PENDING), st.session_state.get(NEWS)
    if pending and pending["run"] == run.name:
        _confirm(run, pending["id"])
        return
    if news and news["run"] == run.name and news["refused"]:
        widgets.problem(news["refused"], "The trainer refused")
    found = lab_versions.history(run)
    if news and news["run"] == run.name and len(found) > 1:
        # of the newest, whoever gave it
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(f"in force from step {found[0].step}", icon=":material/check:", color="green")
            st.text(widgets.short(", ".join(found[0].names), 40))
            st.page_link(
                widgets.LIVE_PAGE,
                label="See the mark on the curves",
                icon=":material/monitoring:",
                query_params={"run": run.name},
            )
            _undo_button(run)


def _undo_button(run: Run) -> None:
    last = lab_versions.before(run)
    if last is None or run.status() == "completed":
        return
    try:
        functions = rewards.load_version(run.rewards, last.id)
    except ValueError:
        return  # the list of versions says what is wrong with it
    st.button(
        "Undo",
        icon=":material/undo:",
        on_click=send,
        args=(run, functions),
        key="lab_undo",
        help="The run goes back to the reward that it had before.",
    )


@st.fragment(run_every=1)
def _confirm(run: Run, command_id: str) -> None:
    """Wait until the trainer says what became of the command."""
    news = data.read(run, lambda reader: answer_to(reader, command_id), None)
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


def answer_to(reader: RunReader, command_id: str) -> dict[str, Any] | None:
    """`{step, refused}` once the trainer has dealt with the command, None before."""
    for event in reader.events(kinds=["reward_version", "notice"]):
        if event["detail"].get("command_id") == command_id:
            refused = event["detail"].get("message", "refused")
            return {
                "step": event["step"],
                "refused": refused if event["kind"] == "notice" else "",
            }
    return None
