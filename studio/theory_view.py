"""What the Theory page shows beside a card: all cards, the nine questions, the list of what is
often said loosely.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from studio.theory import loose, questions
from studio.theory.deck import CARDS
from studio.theory.finding import cards_about
from studio.theory.words import words
from studio.theory_markdown import ours

COLUMNS = 3
VERDICTS: dict[str, Literal["red", "orange", "gray", "violet"]] = {
    "wrong": "red",
    "contradictory": "red",
    "loose": "orange",
    "unsupported": "orange",
    "missing": "violet",
}
LOOSE = """\
Statements as tutorials, posts and papers on GRPO make them, what is right, and where it can be
seen. **Wrong**: not so. **Contradictory**: two statements that exclude each other. **Loose**: so
only under conditions that go unsaid. **Unsupported**: may be so, but nothing shown says it.
**Missing**: what has to be said too.
"""
MOST_FOUND = 3
"""Experiments that a search names."""
LETTERS = """\
| Letter | What it is |
|:--|:--|
| $q$, $o$ | a prompt and a completion; $o_t$ its token number $t$, $o_{<t}$ the prefix before it |
| $\\pi_\\theta$, $\\pi_{old}$, $\\pi_{ref}$ | policy, the one that sampled, reference of the KL |
| $G$ | completions of one prompt: the group |
| $R$, $\\bar R$, $\\hat A$ | reward, its mean over the group, advantage |
| $V$, $\\sigma^2$ | expected reward of the policy, variance of the reward |
| $s=\\nabla_\\theta\\log\\pi_\\theta(o)$ | the score; $\\nabla V=\\mathrm{Cov}(R,s)$ |
| $r$ | ratio $\\pi_\\theta/\\pi_{old}$ of a token |
| $\\beta$, $\\eta$, $\\epsilon$ | weight of the KL, step size, clip |
| span | largest reward minus smallest |
| the toy | a language model of 4 tokens and length 3: 64 completions, a softmax for every prefix |
"""
Open = Callable[[str], None]


def overview(open_card: Open) -> None:
    """Every card with its claim. `open_card(key)` is a callback."""
    st.markdown(
        "Thirteen questions that people argue about, each with an experiment small enough to be "
        "worked out exactly: a claim, what is worked out beside what is sampled, sliders, the full "
        "derivation, and what follows for a run. New here? Begin with the first two."
    )
    with st.expander("The letters used on all cards", icon=":material/abc:"):
        ours(LETTERS)
    keys = list(CARDS)
    for first in range(0, len(keys), COLUMNS):
        places = st.columns(COLUMNS, gap="medium")
        for place, key in zip(places, keys[first : first + COLUMNS], strict=False):
            with place, st.container(border=True, height="stretch", gap="small"):
                said = words(key)
                ours(f"**{said.title}**")
                ours(said["Claim"])
                st.space("stretch")
                opener(key, f"open {key}", open_card, "Open the experiment")


def opener(key: str, place: str, open_card: Open, label: str = "") -> None:
    """A button that leads to a card."""
    st.button(
        label or words(key).title, key=place, type="tertiary", icon=":material/science:",
        on_click=open_card, args=(key,),
    )  # fmt: skip


def nine_questions(open_card: Open) -> None:
    """The questions with short answers; those whose wording fits what is typed, the best first."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with right:
        in_portuguese = pick_language("theory_language")
    with left:
        typed = st.text_input(
            "Procure uma pergunta ou um tema" if in_portuguese else "Find a question or a matter",
            key="theory_find", persist_state="session", icon=":material/search:",
            placeholder="variance of the advantage · prova de convergência · kl",
        )  # fmt: skip
    found, cards = questions.find(typed), cards_about(typed)
    if cards:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("Experimentos" if in_portuguese else "Experiments", width="content")
            for key in cards[:MOST_FOUND]:
                opener(key, f"found {key}", open_card)
    if typed.strip() and not found:
        st.caption(
            "Nenhuma das nove perguntas tem estas palavras; aqui estão todas."
            if in_portuguese
            else "None of the nine questions has these words; here are all of them."
        )
    for question in found or questions.questions():
        _question(question, in_portuguese, open_card)


def pick_language(key: str) -> bool:
    """Whether to read in Portuguese."""
    chosen = st.segmented_control(
        "Language", ["English", "Português"], default="English", required=True, key=key,
        persist_state="session", label_visibility="collapsed",
    )  # fmt: skip
    return chosen == "Português"


def _question(question: questions.Question, in_portuguese: bool, open_card: Open) -> None:
    title = question.title if in_portuguese else question.title_en
    with st.container(border=True, gap="small"):
        ours(f"**{title}**")
        ours(question.text if in_portuguese else question.text_en)
        with st.container(horizontal=True, vertical_alignment="top", gap="small"):
            st.badge("Resposta" if in_portuguese else "Answer", color="green")
            ours(question.short_pt if in_portuguese else question.short_en, width="stretch")
        with st.container(horizontal=True, gap="small"):
            for key in question.cards:
                opener(key, f"question {question.key} {key}", open_card)
        label = "A dedução completa" if in_portuguese else "The full derivation"
        place = f"derive {question.key} {'pt' if in_portuguese else 'en'}"
        # its formulas are set only once it is opened: nine of them take a browser seconds
        fold = st.expander(label, icon=":material/function:", key=place, on_change="rerun")
        if fold.open:
            with fold:
                ours(words(question.cards[0], "pt" if in_portuguese else "en")["Derivation"])


def said_loosely(open_card: Open) -> None:
    """Statements as texts make them, what is right, and the experiment that shows it."""
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with right:
        in_portuguese = pick_language("loose_language")
    with left:
        ours(LOOSE)
    for number, item in enumerate(loose.items(), start=1):
        with st.container(border=True, gap="small"):
            with st.container(horizontal=True, vertical_alignment="top", gap="small"):
                st.badge(item.verdict, color=VERDICTS[item.verdict])
                said = item.said_pt if in_portuguese else item.said
                ours(f"{number}. *“{said}”*", width="stretch")
            ours(item.right)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                if item.seen:
                    ours(f"**Seen:** {item.seen}")
                if item.card:
                    opener(item.card, f"loose {number}", open_card)
                elif item.no_experiment:
                    st.caption(f"No experiment: {item.no_experiment}", width="content")
            if linked := [one for one in item.sources if one.url]:
                ours("**Sources:** " + " · ".join(f"[{one.text}]({one.url})" for one in linked))
