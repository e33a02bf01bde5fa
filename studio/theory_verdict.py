"""What came out of an experiment: a verdict with its rule, and worked out beside sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from studio import theory_digits
from studio.theory.card import Row
from studio.theory.sampled import Estimate, Verdict
from studio.theory_markdown import ours

LOOKS: dict[str, tuple[str, str, Literal["green", "red", "gray", "orange"]]] = {
    "holds": ("Holds", ":material/check_circle:", "green"),
    "fails": ("Does not hold", ":material/error:", "red"),
    "open": ("No verdict", ":material/help:", "gray"),
    "differs": ("Not as it is often said", ":material/priority_high:", "orange"),
}
FIRST = 6
"""Rows that are not folded away."""
SIGNS = {"law": "", "bound": "≤ ", "approximation": "≈ "}


def show(verdict: Verdict) -> None:
    """What came out, and the rule."""
    title, icon, color = LOOKS[verdict.kind]
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(title, icon=icon, color=color, width="content")
            if verdict.claim:
                ours(f"*{verdict.claim}*")
        ours(verdict.sentence)
        st.caption(f"Rule: {verdict.rule}")


def show_rows(rows: Sequence[Row], place: str) -> None:
    """The most telling rows, and the others behind a fold. `place` tells folds apart."""
    ours(table(rows[:FIRST]))
    if len(rows) > FIRST:
        with st.expander("More numbers", icon=":material/table_rows:", key=f"rows {place}"):
            ours(table(rows[FIRST:]))


def table(rows: Sequence[Row]) -> str:
    """Worked out beside sampled, as a Markdown table."""
    lines = ["| | Worked out | Sampled, ± 95 % | Apart |", "|:--|--:|--:|--:|"]
    for row in rows:
        exact = SIGNS[row.kind] + theory_digits.number(row.exact, row.form)
        found = theory_digits.estimate(row.found, row.form)
        lines.append(f"| {row.label} | {exact} | {found} | {_apart(row)} |")
    return "\n".join(lines)


def _apart(row: Row) -> str:
    """How many standard errors lie between a law and its sample."""
    if row.kind != "law" or row.exact is None or not isinstance(row.found, Estimate):
        return ""
    return f"{row.found.z(row.exact):+.1f} SE".replace("-", "−") if row.found.se else ""
