"""Rewards of a run that were not written here: shown, and run only once a person has said so."""

from __future__ import annotations

import streamlit as st

from grpo_core import trust
from grpo_core.runs import Run
from studio import widgets

TYPED = "lab_consent"


def is_missing(run: Run) -> bool:
    """Whether nothing of this run's rewards may be run now; then asks for consent.

    The editor may hold the run's own text, or one made from it: so nothing is tried at all.
    """
    if widgets.protection().tier == "isolated":
        return False
    try:
        found = trust.unmarked(run)
    except ValueError as error:
        widgets.problem(str(error))
        return True
    if not found:
        return False
    with st.container(border=True, gap="xsmall"):
        st.badge("Not written here", icon=":material/gpp_maybe:", color="orange")
        st.text(
            "Nothing shows that the rewards of this run were written by you on this machine, and "
            "here they could do harm. Read them, in the editor and in the versions below."
        )
        st.code("\n".join(trust.files_of_all(found)), language=None)
        typed = st.text_input("If you trust them, type the run's name", key=TYPED)
    if typed.strip() != run.name:
        return True
    try:
        trust.consent(run, found)
    except ValueError as error:
        widgets.problem(str(error))
        return True
    del st.session_state[TYPED]
    st.rerun()
    return True
