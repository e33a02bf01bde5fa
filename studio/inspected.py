"""The Inspector shows runs and evaluations, other pages runs alone: an evaluation that one looks at
is not lost on a page that shows the run from before.
"""

from __future__ import annotations

import streamlit as st

from grpo_core.evaluations import Evaluation
from studio import data

_KEPT = "inspected"
"""Session key: the evaluation that the Inspector showed last, and the run that other pages show
meanwhile."""


def chosen(with_evaluations: bool) -> str | None:
    """What was chosen before, on this page or another; where no evaluation can be shown, the run
    from before it."""
    name = st.session_state.get("run")
    evaluation, run = st.session_state.get(_KEPT, (None, None))
    if with_evaluations:
        is_back = evaluation and name == run and "run" not in st.query_params
        return str(evaluation) if is_back else name
    if not isinstance(data.get_stored(name), Evaluation):
        return name
    return run if data.get_run(run) else None


def keep(name: str, with_evaluations: bool) -> None:
    """After the choice: what the pages show now."""
    evaluation, run = st.session_state.get(_KEPT, (None, None))
    if data.get_run(name) is None:
        st.session_state[_KEPT] = (name, run)
    elif with_evaluations:
        st.session_state[_KEPT] = (None, name)  # somebody went from the evaluation to a run
    elif run not in (None, name):
        st.session_state[_KEPT] = (None, name)  # somebody chose another run meanwhile
    else:
        st.session_state[_KEPT] = (evaluation, name)


def leave() -> None:
    """Somebody opens something on purpose: the evaluation from before does not come back."""
    st.session_state[_KEPT] = (None, st.session_state.get(_KEPT, (None, None))[1])


def absent(name: str, label: str) -> str:
    """Why what an address names is not shown. `label`: the name as it may stand in a caption."""
    if isinstance(data.get_stored(name), Evaluation):
        return f"{label} is an evaluation: open it in the Inspector. This is a run."
    return f"There is no run {label} any more; this is another one."
