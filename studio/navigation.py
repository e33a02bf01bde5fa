"""The script that Streamlit runs for every visit: the frame around the pages."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

FOLDER = Path(__file__).parent

st.set_page_config(
    # A file: Streamlit fetches the picture of a material icon from a font server.
    page_title="GRPO Studio",
    page_icon=str(FOLDER / "favicon.png"),
    layout="wide",
)
st.logo(FOLDER / "logo.svg", size="large")
page = st.navigation(
    [
        st.Page(
            FOLDER / "app_pages/runs.py",
            title="Runs",
            icon=":material/list:",
            default=True,
            help="Every run with its status and its reward; start, pause, stop, delete.",
        ),
        st.Page(
            FOLDER / "app_pages/new_run.py",
            title="New run",
            icon=":material/add_circle:",
            url_path="new",
            help="Choose a recipe, change what you like, start.",
        ),
        st.Page(
            FOLDER / "app_pages/live.py",
            title="Live",
            icon=":material/monitoring:",
            url_path="live",
            help="The curves of a run while it trains.",
        ),
        st.Page(
            FOLDER / "app_pages/inspector.py",
            title="Inspector",
            icon=":material/search:",
            url_path="inspector",
            help="Any step, any prompt: what was sampled and what it was worth.",
        ),
        st.Page(
            FOLDER / "app_pages/reward_lab.py",
            title="Reward lab",
            icon=":material/science:",
            url_path="lab",
            help="Write a reward, try it on stored completions, apply it to the run.",
        ),
        st.Page(
            FOLDER / "app_pages/evaluate.py",
            title="Evaluate",
            icon=":material/quiz:",
            url_path="evaluate",
            help="How many problems a model solves, how sure that is, what another does better.",
        ),
        st.Page(
            FOLDER / "app_pages/compare.py",
            title="Compare",
            icon=":material/compare_arrows:",
            url_path="compare",
            help="Algorithms side by side: by step, by time and by memory, with bands over seeds.",
        ),
        st.Page(
            FOLDER / "app_pages/theory.py",
            title="Theory",
            icon=":material/function:",
            url_path="theory",
            help="Every question about GRPO, answered by an experiment that you can turn.",
        ),
    ],
    position="top",
)
# For a page to know whether one arrives at it or is there.
st.session_state["page_before"] = st.session_state.get("page_now")
st.session_state["page_now"] = page.url_path
page.run()
