"""A card of the Theory page: claim, formula, the experiment, and what follows from it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import streamlit as st

from studio import theory_address, theory_kept, theory_race, theory_verdict, widgets
from studio.theory import plots
from studio.theory.card import Card
from studio.theory.deck import CARDS
from studio.theory.knobs import Knob, Knobs, knob_of
from studio.theory.words import TEXTS, Words, words
from studio.theory_markdown import ours

MAX_BUTTONS = 36
"""Characters of all choices together that fit side by side, three for the edges of each; more
become a list."""


def show(key: str) -> None:
    """All of one card. Only the experiment is drawn again when a slider moves."""
    said = words(key)
    ours(f"## {said.title}")
    ours(said["Claim"])
    ours(said["Formula"])
    st.fragment(experiment)(key)
    if key == "race":
        theory_race.show()
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("#### In a real run")
        ours(said["In a real run"])
        knob_links(said)
    with right:
        st.markdown("#### Assumptions")
        ours(said["Assumptions"])
        st.markdown("#### Limits")
        ours(said["Limits"])
    derivation(key, said)
    with st.expander("Sources", icon=":material/menu_book:"):
        ours(said["Sources"])


def derivation(key: str, said: Words) -> None:
    """The full derivation behind a fold, in Portuguese too where there is one."""
    with st.expander("The full derivation", icon=":material/function:", key=f"derive {key}"):
        text = said["Derivation"]
        if (TEXTS / "pt" / f"{key}.md").is_file():
            language = st.segmented_control(
                "Language", ["English", "Português"], default="English", required=True,
                key=f"language {key}", label_visibility="collapsed", persist_state="session",
            )  # fmt: skip
            if language == "Português":
                other = words(key, "pt")
                text = f"**{other.title}**\n\n{other['Claim']}\n\n{other['Derivation']}"
        ours(text)


def knob_links(said: Words) -> None:
    """The settings of a run that it is about, each as a link to its place in the form."""
    with st.container(horizontal=True, gap="small"):
        for name in said.knobs:
            st.page_link(
                widgets.NEW_RUN_PAGE, label=f"`{name}`", icon=":material/tune:",
                query_params={"knob": name},
            )  # fmt: skip


# --- the experiment ------------------------------------------------------------------------------


def experiment(key: str) -> None:
    """Sliders, figure, verdict and numbers."""
    card = CARDS[key]
    with st.container(border=True):
        left, right = st.columns([3, 8], gap="large")
        with left:
            knobs = draw_knobs(card)
            seed = draw_seed(card)
        exact, found = theory_kept.exact(key, knobs), theory_kept.found(key, knobs, seed)
        with right:
            draw_figure(card, knobs, seed)
        theory_verdict.show(card.verdict(knobs, exact, found))
        theory_verdict.show_rows(card.rows(knobs, exact, found), key)
    theory_address.write(
        card=key, knobs=theory_address.text_of(knobs), seed=str(seed) if seed else ""
    )


def state_key(key: str, name: str) -> str:
    """Where a knob's widget keeps its value."""
    return f"theory/{key}/{name}"


def set_knobs(key: str, knobs: Knobs | None, seed: int) -> None:
    """Before they are drawn: what an address says; the defaults where it says what there is not."""
    knobs = knobs or CARDS[key].knobs()
    for each in fields(knobs):
        st.session_state[state_key(key, each.name)] = getattr(knobs, each.name)
    st.session_state[state_key(key, "seed")] = seed


def draw_knobs(card: Card) -> Knobs:
    """One widget for each field; returns the settings."""
    given: dict[str, Any] = {}
    for each in fields(card.knobs):
        place = state_key(card.key, each.name)
        st.session_state.setdefault(place, each.default)
        given[each.name] = _draw(knob_of(each), place, each.default)
    return card.knobs(**given)


def _draw(knob: Knob, key: str, usual: Any) -> Any:
    shared: dict[str, Any] = {"key": key, "help": knob.help or None, "persist_state": "session"}
    if isinstance(usual, bool):
        return st.toggle(knob.label, **shared)
    if not knob.options:
        kind = type(usual)
        low, high, step = kind(knob.low), kind(knob.high), kind(knob.step)
        return st.slider(knob.label, low, high, step=step, **shared)
    if not isinstance(usual, str):
        return st.select_slider(knob.label, knob.options, format_func=_plain, **shared)
    if sum(len(word) + 3 for word in knob.options) <= MAX_BUTTONS:
        return st.segmented_control(
            knob.label, knob.options, required=True, format_func=_spaced, **shared
        )
    return st.selectbox(knob.label, knob.options, format_func=_spaced, **shared)


def _plain(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"


def _spaced(word: str) -> str:
    return word.replace("_", " ")


def draw_seed(card: Card) -> int:
    """The button that draws a new sample, and which one this is."""
    place = state_key(card.key, "seed")
    st.session_state.setdefault(place, 0)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "New seed", key=f"{place} button", icon=":material/casino:", on_click=_next_seed,
            args=(place,), help="The same experiment with other random numbers.",
        )  # fmt: skip
        st.button(
            "Reset", key=f"{place} reset", icon=":material/restart_alt:", on_click=set_knobs,
            args=(card.key, None, 0),
        )  # fmt: skip
    seed = int(st.session_state[place])
    st.caption(f"Seed {seed}. The same settings and seed give the same numbers everywhere.")
    return seed


def _next_seed(place: str) -> None:
    st.session_state[place] = (int(st.session_state[place]) + 1) % theory_address.MAX_SEED


def draw_figure(card: Card, knobs: Knobs, seed: int) -> None:
    """One of its drawings, chosen by name."""
    names = [drawing.name for drawing in card.drawings]
    name = names[0]
    if len(names) > 1:
        chosen = st.segmented_control(
            "Figure", names, default=name, required=True, key=f"theory/{card.key}/drawing",
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        name = str(chosen)
    look = st.context.theme.type or "light"
    figure = theory_kept.figure(card.key, name, knobs, seed, look)
    st.plotly_chart(figure, key=f"theory/{card.key}/{name}", config=plots.BARE)
    ours(next(each.says for each in card.drawings if each.name == name))
