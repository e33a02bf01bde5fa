"""The words of all cards: complete, renderable, with sources and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from studio import forms
from studio.theory import listed, questions
from studio.theory.deck import CARDS
from studio.theory.words import TEXTS, words

FILES = sorted(TEXTS.rglob("*.md"))
DERIVED = [question.cards[0] for question in questions.questions()]


def test_every_card_has_words_and_the_lists_know_all_cards() -> None:
    assert set(CARDS) == set(listed.CARDS) and len(CARDS) == 13
    assert {path.stem for path in TEXTS.glob("*.md")} == set(CARDS)
    for card in CARDS.values():
        assert len({drawing.name for drawing in card.drawings}) == len(card.drawings) >= 1
        assert card.knobs() == card.knobs(), "a result is kept by its settings"


def test_each_of_the_nine_questions_is_derived_in_both_languages() -> None:
    assert len(set(DERIVED)) == 9
    assert {path.stem for path in (TEXTS / "pt").glob("*.md")} == set(DERIVED)
    for key in DERIVED:
        there, here = words(key, "pt")["Derivation"], words(key)["Derivation"]
        assert len(there) > 1500 and len(here) > 1500, "a derivation, not a sketch"
        assert 0.6 < there.count("$") / here.count("$") < 1.7, "the same mathematics"


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_formulas_can_be_rendered(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        if "$$" in line:
            assert line.strip() == "$$", f"a displayed formula has lines of its own: {line}"
    blocks = text.split("$$")
    assert len(blocks) % 2 == 1, "each displayed formula ends"
    for inline in blocks[::2]:
        assert inline.replace(r"\$", "").count("$") % 2 == 0, inline[:200]
    for formula in [*blocks[1::2], *re.findall(r"\$([^$]+)\$", "".join(blocks[::2]))]:
        assert formula.strip() and formula.count("{") - formula.count(r"\{") == formula.count(
            "}"
        ) - formula.count(r"\}"), formula
        assert formula.count(r"\left") - formula.count(r"\leftarrow") == formula.count(
            r"\right"
        ) - formula.count(r"\rightarrow"), formula


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_in_them_is_of_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r" \[(M|D|R|S\d+\w?)\]|theory\.md|\bbrief\b|TODO|/work|/tmp", text)


@pytest.mark.parametrize("key", CARDS)
def test_each_card_has_its_sources_and_settings(key: str) -> None:
    said = words(key)
    assert re.search(r"\]\(https://|worked out here", said["Sources"], re.IGNORECASE)
    for line in said["Sources"].splitlines():
        assert not line.strip() or line.startswith(("- ", "  ")), line
    assert said.knobs and all(forms.tab_of(name) for name in said.knobs), said.knobs
