"""Markdown of the Theory page: shipped texts and numbers, never a text of a user, model or run."""

from __future__ import annotations

import streamlit as st


def ours(text: str, width: str = "stretch") -> None:
    """Show it, with its formulas. The one place of this page where Markdown is not a constant: the
    caller vouches that nothing in `text` comes from a run but numbers."""
    st.markdown(text, width=width)  # type: ignore[arg-type]
