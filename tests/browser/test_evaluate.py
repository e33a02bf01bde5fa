"""The Evaluate page in a real browser: a question is asked, watched, compared and looked into."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.harness import HOSTILE, Studio, Tab, wait_for
from grpo_core.evaluation_job import evaluate_model
from grpo_core.evaluation_wish import Wish
from grpo_core.evaluations import list_evaluations


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model on a file with a hostile question, asked in two ways."""
    folder = tmp_path_factory.mktemp("asked")
    rows = [
        {"question": f"Which number is larger, {n} or 57?", "answer": str(max(n, 57))}
        for n in range(12, 96, 7)
    ]
    rows.append({"question": HOSTILE.replace("\0", ""), "answer": "-77777"})
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for length in (2, 40):
        wish = Wish(
            task="file", data=str(folder / "asked.jsonl"), max_new_tokens=length, batch_size=4
        )
        evaluate_model(folder / "runs", "bundled:tiny", wish, lambda *_: None)
    return folder


@pytest.fixture
def tab(asked: Path, tmp_path: Path, chromium: Any) -> Iterator[Tab]:
    studio = Studio(tmp_path)
    shutil.copytree(asked / "runs", studio.runs_dir)
    studio.start()
    tab = Tab(chromium, studio).enter()
    yield tab
    assert tab.foreign == []
    tab.close()
    studio.kill()


def right(path: Path) -> dict[str, bool]:
    with sqlite3.connect(path) as db:
        rows = db.execute(
            "SELECT q.question, r.correct FROM asked q JOIN rollouts r ON r.group_id = q.group_id"
        ).fetchall()
    return {question: bool(correct) for question, correct in rows}


@pytest.mark.slow
def test_what_was_gained_stands_side_by_side_and_leads_to_the_inspector(tab: Tab) -> None:
    long, short = (one.db_path for one in list_evaluations(tab.studio.runs_dir))
    page = tab.page
    tab.go(f"evaluate?evaluation={long.parent.name}&against={short.parent.name}")
    page.wait_for_selector("[role=tab][aria-selected=true] >> nth=0")
    gained = [q for q, is_right in right(long).items() if is_right and not right(short)[q]]
    assert gained, "with two tokens hardly anything can be said"
    page.get_by_role("tab", name=f"Gained · {len(gained)}").wait_for()
    lines = page.locator(".line")
    assert lines.locator(".question").all_inner_texts() == gained
    lines.first.click()
    sides = page.locator(".side")
    wait_for(lambda: "…" not in sides.first.locator(".said").inner_text())
    with sqlite3.connect(long) as db:
        (text,) = db.execute(
            "SELECT r.text FROM rollouts r JOIN asked q ON q.group_id = r.group_id"
            " WHERE q.question = ?",
            (gained[0],),
        ).fetchone()
    assert sides.nth(1).locator(".said").inner_text().strip() == text.strip()
    assert sides.evaluate_all("(all) => all.map((one) => one.dataset.right)") == ["false", "true"]
    link = sides.nth(1).get_by_role("link").get_attribute("href")
    tab.go(str(link).lstrip("/"))
    page.get_by_text(gained[0]).first.wait_for()
    assert [error for error in tab.errors if "404" not in error] == []


@pytest.mark.slow
def test_hostile_questions_are_only_text(tab: Tab) -> None:
    tab.go("evaluate")
    tab.page.get_by_role("tab", name="Neither solves").click()
    line = tab.page.locator(".line", has_text="window.hacked")
    line.click()
    tab.page.locator(".open .whole").wait_for()
    assert tab.page.evaluate("window.hacked") is None
    assert [error for error in tab.errors if "404" not in error] == []


def fill_in(tab: Tab, model: str) -> None:
    """Ask a model that is no run's, which needs a task."""
    page = tab.page
    page.get_by_text("Ask a model").first.click()
    page.get_by_label("Another model").fill(model)
    page.get_by_label("Another model").press("Enter")
    page.get_by_text("only a run has one of its own").wait_for()
    assert page.get_by_role("button", name="Ask", exact=True).is_disabled()
    page.wait_for_timeout(1000)  # what is drawn anew closes the list
    page.get_by_role("combobox", name="Task").click()
    page.get_by_role("option", name="arithmetic", exact=True).click()
    page.get_by_text(f"evaluate {model} --task arithmetic").wait_for()


@pytest.mark.slow
def test_a_click_asks_and_the_answer_comes_by_itself(tab: Tab) -> None:
    page = tab.page
    tab.go("evaluate")
    fill_in(tab, "bundled:tiny")
    problems = page.get_by_role("spinbutton", name="Problems", exact=True)
    problems.fill("12")
    problems.press("Enter")
    page.get_by_text("evaluate bundled:tiny --task arithmetic --limit 12").wait_for()
    page.get_by_role("button", name="Ask", exact=True).click()
    row = page.locator("tr", has_text="eval-arithmetic-bundled-tiny-1")
    row.wait_for(timeout=60_000)
    name = "eval-arithmetic-bundled-tiny-1"
    wait_for(lambda: len(right(tab.studio.runs_dir / name / "run.db")) == 12, 60)
    num = sum(right(tab.studio.runs_dir / name / "run.db").values())
    row.get_by_text(f"{100 * num / 12:.1f} %").wait_for(timeout=30_000)
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    wait_for(lambda: not (tab.studio.runs_dir / name).exists())
    row.wait_for(state="detached")


@pytest.mark.slow
def test_a_refusal_stays_until_the_next_question(tab: Tab) -> None:
    page = tab.page
    tab.go("evaluate")
    fill_in(tab, "nobody")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("neither a run in").wait_for(timeout=60_000)
    page.wait_for_timeout(2500)  # longer than the page waits before it looks again
    assert page.get_by_text("neither a run in").count() == 1
