"""The Theory page with Streamlit's AppTest: every card, every topic, links, and what is kept."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from test_pages import open_page, texts

from grpo_core.runs import Run, create_run
from studio import forms, theory_card, theory_kept
from studio.theory import loose, questions
from studio.theory.deck import CARDS
from studio.theory.finding import cards_about
from studio.theory.words import words


def theory(**query: str) -> AppTest:
    return open_page("theory", **query)


def everything(app: AppTest) -> str:
    return "\n".join([texts(app), *(str(e.value) for e in app.get("subheader"))])


def address(app: AppTest, name: str) -> str:
    found = app.query_params[name]
    return found if isinstance(found, str) else found[0]


def test_all_cards_stand_on_the_first_page_with_their_claims(empty: Path) -> None:
    said = everything(theory())
    assert len(CARDS) == 13
    for key in CARDS:
        assert words(key).title in said and words(key)["Claim"] in said


@pytest.mark.parametrize("key", CARDS)
def test_a_card_opens_by_its_link(empty: Path, key: str) -> None:
    app = theory(card=key)
    said, own = everything(app), words(key)
    for heading in ("Claim", "Formula", "Assumptions", "Limits", "In a real run", "Sources"):
        assert own[heading] in said, heading
    assert own["Derivation"] in said and "| Worked out |" in said and "Rule: " in said
    assert len(app.get("plotly_chart")) == 1
    tabs = {forms.tab_of(name) for name in own.knobs}
    assert tabs and None not in tabs, "each knob has a place in the form"


def test_an_overview_card_leads_to_its_experiment_and_back(empty: Path) -> None:
    app = theory()
    next(b for b in app.button if b.key == "open group_size").click().run()
    assert not app.exception and words("group_size")["Formula"] in everything(app)
    assert address(app, "card") == "group_size"
    next(b for b in app.button if b.label == "All experiments").click().run()
    assert words("clt")["Claim"] in everything(app)
    assert "card" not in app.query_params and address(app, "topic") == "experiments"


def counted(monkeypatch: pytest.MonkeyPatch, key: str) -> Counter[str]:
    """How often a card's functions were called."""
    calls: Counter[str] = Counter()

    def counting(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            calls[name] += 1
            return function(*given)

        return call

    card = CARDS[key]
    drawings = tuple(replace(d, draw=counting(d.name, d.draw)) for d in card.drawings)
    exact, estimate = (counting(name, getattr(card, name)) for name in ("exact", "estimate"))
    changed = replace(card, exact=exact, estimate=estimate, drawings=drawings)
    monkeypatch.setitem(CARDS, key, changed)
    for kept in (theory_kept.exact, theory_kept.found, theory_kept.figure):
        kept.cache_clear()
    return calls


def test_nothing_is_worked_out_again_that_did_not_change(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, "clt")
    first, *others = (drawing.name for drawing in CARDS["clt"].drawings)
    app = theory(card="clt")
    assert calls == {"exact": 1, "estimate": 1, first: 1}
    app.run()
    assert calls.total() == 3, "drawn again: nothing"
    app.button(key="theory/clt/seed button").click().run()
    assert calls == {"exact": 1, "estimate": 2, first: 2}, "a new seed: the sample alone"
    app.session_state["theory/clt/drawing"] = others[0]
    app.run()
    assert calls == {"exact": 1, "estimate": 2, first: 2, others[0]: 1}, "another figure: it alone"
    app.button(key="theory/clt/seed reset").click().run()
    assert calls["exact"] == 1 and calls["estimate"] == 2, "back at the first seed: kept"


@pytest.mark.slow
@pytest.mark.parametrize("key", CARDS)
def test_a_moved_knob_changes_the_numbers_and_the_link(empty: Path, key: str) -> None:
    app = theory(card=key)
    before = everything(app)
    each = fields(CARDS[key].knobs)[0]
    knob = each.metadata["knob"]
    value = next((v for v in knob.options if v != each.default), None)
    if value is None:
        value = type(each.default)(knob.low)
    app.session_state[theory_card.state_key(key, each.name)] = value
    app.run()
    assert not app.exception
    assert address(app, "knobs") == f"{each.name}:{value}"
    assert everything(app) != before
    again = everything(theory(card=key, knobs=f"{each.name}:{value}"))
    assert again == everything(app), "the link shows the same numbers"


def test_a_link_that_says_what_there_is_not_is_said(empty: Path) -> None:
    app = theory(card="clt", knobs="p:7,gone:1", seed="3")
    assert "settings that this experiment does not have" in texts(app)
    assert "Seed 3." in texts(app)
    assert words("clt")["Claim"] in texts(theory(card="gone"))


# --- the other topics ----------------------------------------------------------------------------


@pytest.mark.parametrize("wording", ["text", "text_en"])
@pytest.mark.parametrize("number", range(9))
def test_each_question_is_found_by_its_wording(empty: Path, number: int, wording: str) -> None:
    question = questions.questions()[number]
    app = theory(topic="questions")
    app.text_input(key="theory_find").input(getattr(question, wording)).run()
    assert not app.exception
    first = next(e.value for e in app.markdown if e.value.startswith("**"))
    assert first == f"**{question.title_en}**"
    next(b for b in app.button if b.key == f"question {question.key} {question.cards[0]}").click()
    app.run()
    assert words(question.cards[0])["Derivation"] in texts(app)


def test_questions_without_a_hit_all_stand_there(empty: Path) -> None:
    app = theory(topic="questions")
    app.text_input(key="theory_find").input("zebra xylophone").run()
    titles = [e.value for e in app.markdown if e.value.startswith("**")]
    assert titles == [f"**{question.title_en}**" for question in questions.questions()]


def test_every_loose_statement_has_what_is_right(empty: Path) -> None:
    said = texts(theory(topic="loose"))
    for item in loose.items():
        assert item.said in said and item.right in said
    assert len(loose.items()) == 22


def test_grpo_against_ppo_is_there_from_the_start(empty: Path) -> None:
    app = theory(topic="ppo")
    assert app.get("bidi_component"), "the measured curves"
    app.session_state["pair_source"] = "Trained here"
    app.run()
    assert not app.exception and "None of these runs is here yet." in texts(app)


def test_a_name_that_is_taken_is_said_at_once(empty: Path) -> None:
    create_run(empty, "pair-grpo-0", "num_steps: 3\n")
    app = theory(topic="ppo")
    app.session_state["pair_source"] = "Trained here"
    app.run()
    app.button(key="pair_begin").click().run()
    assert "pair-grpo-0: a run of this name exists and has other settings" in texts(app)


def test_a_run_of_ones_own(recorded: Run) -> None:
    app = theory(topic="run", run=recorded.name)
    assert len(app.get("plotly_chart")) >= 5


def test_nothing_but_numbers_of_a_run_is_markdown(recorded: Run) -> None:
    with sqlite3.connect(recorded.db_path) as db:
        for table in ("groups", "rollouts", "events"):
            columns = db.execute(f"PRAGMA table_info({table})").fetchall()
            for name in (name for _, name, kind, *_ in columns if kind == "TEXT"):
                db.execute(f"UPDATE {table} SET {name} = '<b>hostile</b> ' || {name}")
    app = theory(topic="run", run=recorded.name)
    assert "Read were" in texts(app)
    kinds = ("markdown", "caption", "header", "subheader", "badge")
    assert not [e for kind in kinds for e in app.get(kind) if "hostile" in str(e.value)]


def test_a_knob_of_the_theory_page_is_marked_in_the_form(empty: Path) -> None:
    app = open_page("new_run", knob="rollout.group_size")
    assert "`rollout.group_size` is on the tab Rollout" in texts(app)
    assert "is on the tab" not in texts(open_page("new_run", knob="rollout.gone"))


@pytest.mark.parametrize(
    ("key", "tab"),
    [
        ("rollout.group_size", "Rollout"),
        ("algorithm.advantage", "Algorithm"),
        ("critic.gae_lambda", "Algorithm"),
        ("num_steps", "Basics"),
        ("model.lora.rank", "Basics"),
        ("rewards", "Rewards"),
        ("data.task", "Data"),
        ("rollout.gone", None),
        ("gone", None),
        ("", None),
        ("rollout", None),
    ],
)
def test_each_knob_has_its_tab(key: str, tab: str | None) -> None:
    assert forms.tab_of(key) == tab


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("kl", "kl"),
        ("length", "length"),
        ("why is grpo faster than ppo", "race"),
        ("clipping ratio", "off_policy"),
        ("convergência", "convergence"),
        ("group size", "group_size"),
        ("reward hacking", None),
        ("zebra xylophone", None),
        ("", None),
    ],
)
def test_a_search_finds_experiments_too(typed: str, first: str | None) -> None:
    assert next(iter(cards_about(typed)), None) == first
