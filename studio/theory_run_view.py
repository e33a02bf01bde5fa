"""From toy to your run: what the theory says of a stored run, and what its groups show."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from grpo_core.runs import Run
from studio import theory_run, theory_verdict, widgets
from studio.columns import stamp_of
from studio.theory import plots
from studio.theory.in_run_data import Comparison
from studio.theory.plots import Palette
from studio.theory_markdown import ours
from studio.theory_run import Looked

INTRO = """\
The experiments are toys. Here the same laws are held against the groups that a run of yours has
stored: what can be predicted from its own moments, what is seen, and where the two part.
"""


def show() -> None:
    """The topic."""
    ours(INTRO)
    with st.container(horizontal=True, vertical_alignment="center"):
        run = widgets.pick_run()
        if run is not None:
            st.button("Read again", icon=":material/refresh:", key="theory_again")
    if run is None:
        return
    looked = _look(run.path, stamp_of(run.db_path))
    if looked.problem:
        with st.container(border=True):
            st.text(looked.problem)
        return
    st.caption(looked.about)
    for comparison in looked.comparisons:
        _show(comparison)


@lru_cache(maxsize=8)
def _look(path: Path, _stamp: Any) -> Looked:
    return theory_run.look(Run(path))


def _show(comparison: Comparison) -> None:
    with st.container(border=True):
        ours(f"#### {comparison.title}")
        theory_verdict.show(comparison.verdict)
        left, right = st.columns([5, 6], gap="large")
        with left:
            ours(f"**The theory.** {comparison.says}")
            ours(f"**This run.** {comparison.shows}")
            with st.expander("Where they part, and why", key=f"apart {comparison.key}"):
                ours(comparison.apart)
        with right:
            if comparison.draw is not None:
                figure = plots.finished(comparison.draw(Palette.of(st.context.theme.type)))
                st.plotly_chart(figure, key=f"run {comparison.key}", config=plots.BARE)
        if comparison.rows:
            theory_verdict.show_rows(comparison.rows, comparison.key)
