"""Where one is in the Inspector. The component keeps the address itself, so that a link opens
exactly that view; here is decided where it goes when one arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from grpo_core.evaluations import Evaluation
from grpo_core.runs import Run
from studio import what_if_address

NAME = "inspector"
# `at` is a token's place; the guard takes `token` in an address for that of a link.
NUMBERS = ("step", "prompt", "completion", "at", "pass", "fold", "diff")
WORDS = ("color", "row", "only", "find")
MAX_WORD = 200
SHOWN_BEFORE = "page_before"
"""Session key: the page whose script ran last, which `navigation.py` writes down."""
_LAST, _GOTO = "inspector_last", "inspector_goto"
_LAST_ASKED = "inspector_last_asked"


def follow(run: Run, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """`{id, run, view}` for the component, which goes there when the id changes: on arrival where
    the address says, or where another page sends one to, or back to where one was; with another
    run to the same step. `told`: what the component said last.
    """
    before = st.session_state.get(_GOTO)
    if before is None or st.session_state.get(SHOWN_BEFORE) != NAME:
        what_if_address.arrive(st.query_params.to_dict())
        _go(run, view_of(st.query_params) or _where_one_was(run))
    elif before["run"] != run.name:
        what_if_address.forget()
        _go(run, _where_one_was(run))
    elif told and told.get("run") == run.name:
        _remember(run, view_of(told))
    return dict(st.session_state[_GOTO])


def view_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an address or the component says, as far as it can be meant."""
    view: dict[str, Any] = {}
    for name in NUMBERS:
        text = str(values.get(name, ""))
        if text.isdecimal() and len(text) < 10:
            view[name] = int(text)
    for name in WORDS:
        word = values.get(name)
        if isinstance(word, str) and word:
            view[name] = word[:MAX_WORD]
    return view


def _where_one_was(run: Run) -> dict[str, Any]:
    """The view from before, unless another page or another run was chosen meanwhile; the batches
    of an evaluation are no steps of a run, and it is opened where it begins."""
    if isinstance(run, Evaluation):
        last = st.session_state.get(_LAST_ASKED)
        return dict(last[1]) if last and last[0] == run.name else {"step": 1}
    step = st.session_state.get("step")
    last = st.session_state.get(_LAST)
    if last and last[0] == run.name and last[1].get("step") == step:
        return dict(last[1])
    return {"step": step} if isinstance(step, int) else {}


def _go(run: Run, view: dict[str, Any]) -> None:
    before = st.session_state.get(_GOTO)
    number = before["id"] + 1 if before else 1
    st.session_state[_GOTO] = {"id": number, "run": run.name, "view": view}
    _remember(run, view)


def _remember(run: Run, view: dict[str, Any]) -> None:
    """For when one comes back, and for other pages."""
    if isinstance(run, Evaluation):
        st.session_state[_LAST_ASKED] = (run.name, view)
    elif "step" in view:
        st.session_state["step"] = view["step"]
        st.session_state[_LAST] = (run.name, view)
