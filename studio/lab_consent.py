"""Rewards of a run that were not written here: shown, and run only once a person has said so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import streamlit as st

from grpo_core import rewards, trust
from grpo_core.runs import Run
from studio import data, lab_versions, widgets

TYPED, SHOWN = "lab_consent", "lab_consent_shown"
"""Session keys, one for each run."""


def is_missing(run: Run, origins: Iterable[str]) -> bool:
    """Whether nothing may be run now; then asks for consent.

    That is so while the run holds rewards that were not written here, or a run of `origins` does,
    from which the text in the editor came, if only in part.
    """
    if widgets.protection().tier == "isolated":
        return False
    missing = [_is_missing(name) for name in dict.fromkeys([run.name, *origins])]
    return any(missing)  # each of them asks


def _is_missing(name: str) -> bool:
    run = data.get_run(name)
    if run is None:
        widgets.problem(f"The text came from {name}, which is gone; load another one.")
        return True
    try:
        found = trust.unmarked(run)
    except ValueError as error:
        widgets.problem(str(error))
        return True
    return bool(found) and _ask(run, found)


def _ask(run: Run, found: list[trust.Unmarked]) -> bool:
    """Whether consent is still missing. It covers what was on the page when it was typed, and
    nothing that came on disk since."""
    typed_key, shown_key = f"{TYPED}_{run.name}", f"{SHOWN}_{run.name}"
    shown_before = st.session_state.get(shown_key, frozenset())
    with st.container(border=True, gap="xsmall"):
        st.badge("Not written here", icon=":material/gpp_maybe:", color="orange")
        st.text(
            f"Nothing shows that these rewards of {run.name} were written by you on this machine, "
            "and here they could do harm. Read them before they run."
        )
        with st.expander("Read them"):
            for one in found:
                st.code("\n".join(trust.files_of_all([one])), language=None)
                st.code(widgets.cut(lab_versions.listing(one.functions)), language="python")
        typed = st.text_input("If you trust them, type the run's name", key=typed_key)
    st.session_state[shown_key] = frozenset(map(_digest, found))
    if typed.strip() != run.name:
        return True
    try:
        trust.consent(run, [one for one in found if _digest(one) in shown_before])
    except ValueError as error:
        widgets.problem(str(error))
        return True
    del st.session_state[typed_key]
    st.rerun()
    return True


def _digest(one: trust.Unmarked) -> str:
    return hashlib.sha256(rewards.canonical(one.functions)).hexdigest()
