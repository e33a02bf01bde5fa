"""Where one is in the Inspector, as an address: a link opens exactly that view.

While the page is open the address follows the component. When one arrives, the component goes where
the address says, or to the step that another page sent one to, or back to where one was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from grpo_core.runs import Run

# `at` is a token's place; the guard takes `token` in an address for that of a link.
NUMBERS = ("step", "prompt", "completion", "at", "pass")
WORDS = ("color", "row", "only", "find")
MAX_WORD = 200
_WRITTEN, _LAST, _GOTO = "inspector_written", "inspector_last", "inspector_goto"


def follow(run: Run, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """`{id, view}` for the component; `told`: what it said last, None while it is not there."""
    here = view_of(told) if told and told.get("run") == run.name else None
    asked = view_of(st.query_params)
    if here is not None and asked in (st.session_state.get(_WRITTEN), here):
        _write(here)
        _remember(run, here)
    elif asked and asked != st.session_state.get(_WRITTEN):
        _go(run, asked)
        _remember(run, asked)
    elif here is None:
        _go(run, _where_one_was(run))
    return dict(st.session_state.setdefault(_GOTO, {"id": 0, "run": run.name, "view": {}}))


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
    """The view from before, unless another page or another run was chosen meanwhile."""
    step = st.session_state.get("step")
    last = st.session_state.get(_LAST)
    if last and last[0] == run.name and last[1].get("step") == step:
        return dict(last[1])
    return {"step": step} if isinstance(step, int) else {}


def _remember(run: Run, view: dict[str, Any]) -> None:
    """For when one comes back, and for other pages."""
    if "step" in view:
        st.session_state["step"] = view["step"]
        st.session_state[_LAST] = (run.name, view)


def _go(run: Run, view: dict[str, Any]) -> None:
    before = st.session_state.get(_GOTO)
    if before is None or (before["run"], before["view"]) != (run.name, view):
        number = before["id"] + 1 if before else 1
        st.session_state[_GOTO] = {"id": number, "run": run.name, "view": view}
    _write(view)


def _write(view: dict[str, Any]) -> None:
    for name in (*NUMBERS, *WORDS):
        if name in view:
            if st.query_params.get(name) != str(view[name]):
                st.query_params[name] = str(view[name])
        elif name in st.query_params:
            del st.query_params[name]
    st.session_state[_WRITTEN] = view
