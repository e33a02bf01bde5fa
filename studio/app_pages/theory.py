"""Theory: every question about GRPO answered by an experiment that can be turned."""

from __future__ import annotations

import streamlit as st

from studio import theory_address, theory_card, theory_pair, theory_run_view, theory_view, widgets
from studio.theory.deck import CARDS
from studio.theory.words import words

TOPIC, CARD = "theory_topic", "theory_open"
TOPICS = {
    "experiments": "Experiments",
    "questions": "Nine questions",
    "run": "From toy to your run",
    "ppo": "GRPO against PPO",
    "loose": "Said loosely",
}


def open_card(key: str) -> None:
    """Show a card (for callbacks)."""
    st.session_state[TOPIC], st.session_state[CARD] = "experiments", key


def close_card() -> None:
    """Back to all cards (for callbacks)."""
    st.session_state[CARD] = None


def arrive() -> None:
    """Take over what the address says."""
    wanted = theory_address.arrived()
    if not wanted:
        return
    key = wanted.get("card", "")
    st.session_state[CARD] = key if key in CARDS else None
    topic = wanted.get("topic", "experiments")
    st.session_state[TOPIC] = topic if topic in TOPICS and key not in CARDS else "experiments"
    if key in CARDS:
        knobs = theory_address.knobs_of(CARDS[key].knobs, wanted.get("knobs", ""))
        theory_card.set_knobs(key, knobs, theory_address.seed_of(wanted.get("seed", "")))
        if knobs is None:
            st.session_state[widgets.PROBLEM] = (
                "The link has settings that this experiment does not have; it shows its own."
            )


def experiments() -> None:
    """All cards, or the one that is open."""
    key = st.session_state.get(CARD)
    if key is None:
        theory_view.overview(open_card)
        theory_address.write(topic="experiments")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All experiments", icon=":material/arrow_back:", on_click=close_card)
        st.space("stretch")
        st.selectbox(
            "Experiment", list(CARDS), key=CARD, format_func=lambda key: words(key).title,
            label_visibility="collapsed", width=460, persist_state="session",
        )  # fmt: skip
    theory_card.show(str(key))


arrive()
st.title("Theory")
st.session_state.setdefault(TOPIC, "experiments")
topic = str(
    st.segmented_control(
        "Topic", list(TOPICS), key=TOPIC, format_func=lambda name: TOPICS[name], required=True,
        label_visibility="collapsed", persist_state="session",
    )
)  # fmt: skip
widgets.show_problem()
if topic == "experiments":
    experiments()
else:
    theory_address.write(topic=topic)
if topic == "questions":
    theory_view.nine_questions(open_card)
elif topic == "run":
    theory_run_view.show()
elif topic == "ppo":
    theory_pair.show()
elif topic == "loose":
    theory_view.said_loosely(open_card)
