"""The Theory page in a real browser: every card, its formulas, its slider, its link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.harness import Studio, Tab, wait_for
from browser.recorded import record_run
from studio.theory.deck import CARDS
from studio.theory.words import words


@pytest.fixture(scope="module")
def theory_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("theory"))
    record_run(studio.runs_dir, "recorded", until=12)
    studio.start()
    yield studio
    studio.kill()


@pytest.fixture
def tab(chromium: Any, theory_studio: Studio) -> Iterator[Tab]:
    tab = Tab(chromium, theory_studio)
    yield tab.enter()
    assert tab.foreign == [], "nothing is asked of other hosts"
    tab.close()


def check_drawn(page: Any) -> None:
    """Formulas are formulas, and nothing went wrong."""
    page.locator(".katex").first.wait_for()
    assert page.locator(".katex-error").count() == 0
    assert page.get_by_text("Something went wrong on this page").count() == 0
    # a formula that was not recognised stands there with its dollars
    assert "$" not in page.locator("section.stMain, [data-testid=stMain]").first.inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("key", CARDS)
def test_a_card_is_drawn_and_its_figures_too(tab: Tab, key: str) -> None:
    page = tab.page
    tab.go(f"theory?card={key}")
    page.get_by_role("heading", name=words(key).title).wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.get_by_text("Rule:").first.wait_for()
    check_drawn(page)
    for drawing in CARDS[key].drawings[1:]:
        page.evaluate("document.querySelector('.js-plotly-plot').dataset.mark = 'before'")
        page.get_by_role("radio", name=drawing.name, exact=True).click()
        wait_for(lambda: page.locator(".js-plotly-plot:not([data-mark]) .main-svg").count())
    page.get_by_text("The full derivation").click()
    page.get_by_text("Sources", exact=True).click()
    page.wait_for_timeout(300)
    check_drawn(page)


@pytest.mark.slow
def test_a_slider_moves_the_numbers_alone(tab: Tab) -> None:
    page = tab.page
    tab.go("theory?card=group_size")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    table = page.locator("table").first
    before = table.inner_text()
    page.evaluate("document.querySelector('h2').dataset.mark = 'same'")
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    wait_for(lambda: table.inner_text() != before)
    assert page.evaluate("document.querySelector('h2').dataset.mark") == "same"
    wait_for(lambda: "knobs=" in page.evaluate("location.href"))
    link, moved = page.evaluate("location.href"), table.inner_text()
    page.get_by_role("button", name="New seed").click()
    wait_for(lambda: table.inner_text() != moved)
    wait_for(lambda: "seed=1" in page.evaluate("location.href"))
    page.goto(link)
    page.locator("table").first.wait_for()
    wait_for(lambda: page.locator("table").first.inner_text() == moved)


@pytest.mark.slow
def test_a_question_in_portuguese_leads_to_its_derivation(tab: Tab) -> None:
    page = tab.page
    tab.go("theory?topic=questions")
    page.get_by_label("Find a question").fill("teorema do limite central variância")
    page.keyboard.press("Enter")
    page.get_by_text("Variance of the Advantage Estimate").first.wait_for()
    page.get_by_role("radio", name="Português").click()
    page.get_by_text("Variância da Estimativa de Vantagem").first.wait_for()
    page.get_by_text("A dedução completa").first.click()
    page.get_by_text("Berry–Esseen").first.wait_for()
    check_drawn(page)
    page.get_by_role("button", name=words("clt").title).first.click()
    page.get_by_role("heading", name=words("clt").title).wait_for()
    page.get_by_text("The full derivation").click()
    page.get_by_role("radio", name="Português").click()
    page.get_by_text(words("clt", "pt").title).first.wait_for()
    check_drawn(page)


@pytest.mark.slow
def test_a_knob_leads_to_its_place_in_the_form(tab: Tab) -> None:
    page = tab.page
    tab.go("theory?card=group_size")
    page.get_by_role("link", name="rollout.group_size").click()
    page.get_by_text("is on the tab Rollout").wait_for()
    page.get_by_label("Group size").first.wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("topic", ["questions", "run", "ppo", "loose"])
def test_the_other_topics_are_drawn(tab: Tab, topic: str) -> None:
    page = tab.page
    tab.go(f"theory?topic={topic}&run=recorded")
    check_drawn(page)
    if topic == "ppo":
        page.locator(".u-over").first.wait_for()


@pytest.mark.slow
def test_back_leads_back_at_once(tab: Tab) -> None:
    page = tab.page
    tab.go("theory")
    page.get_by_role("button", name="Open the experiment").first.click()
    page.get_by_role("heading", name=words("gradient").title).wait_for()
    wait_for(lambda: "card=gradient" in page.evaluate("location.href"))
    page.go_back()
    page.get_by_role("button", name="Open the experiment").first.wait_for()
    assert "card=" not in page.evaluate("location.href")


@pytest.mark.slow
def test_the_long_comparison_shows_how_far_it_is(tab: Tab) -> None:
    page = tab.page
    tab.go("theory?card=race")
    page.get_by_role("button", name="Run it").click()
    wait_for(lambda: re.search(r"[1-9]\d* of 49 parts", page.inner_text("body")), 90)
    page.get_by_role("button", name="Stop").click()
    wait_for(lambda: page.get_by_role("button", name="Stop").count() == 0, 30)
    page.get_by_role("button", name="Go on").wait_for()


@pytest.mark.slow
def test_a_run_is_held_against_the_theory(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    tab.go("theory?topic=run&run=recorded")
    page.get_by_text("Read were all").wait_for()
    wait_for(lambda: page.locator(".js-plotly-plot .main-svg").count() >= 4)
