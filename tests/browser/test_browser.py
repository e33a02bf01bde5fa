"""What only a real browser shows: scripts of the components, zoom, keys, reconnecting, the CSP."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

import pytest

from browser.harness import HOSTILE, Studio, Tab, wait_for
from browser.recorded import record_comparison, record_run
from grpo_core.runs import Run
from grpo_core.store import RunWriter

SMALL = {"dr": {"algorithm": {"name": "dr_grpo"}}, "critic": {"algorithm": {"name": "ppo"}}}


def test_every_page_opens_and_nothing_leaves_the_machine(tab: Tab) -> None:
    for path, seen in (
        ("", "button.name"), ("new", "text=Start the run"), ("live?run=recorded", ".tile"),
        ("inspector?run=recorded&step=7", ".row"), ("lab?run=recorded&step=7", ".cm-content"),
        ("compare?runs=recorded", "[aria-label=Curves] .u-over"),
        ("theory?card=clt", ".js-plotly-plot .main-svg"),
    ):  # fmt: skip
        tab.go(path)
        tab.page.wait_for_selector(seen)
    tab.page.wait_for_timeout(500)
    assert tab.foreign == []
    # Streamlit probes for its own base path on a deep link; nothing else may fail or be blocked.
    assert [error for error in tab.errors if "404" not in error] == []
    shown = tab.page.evaluate("location.href + document.documentElement.outerHTML")
    assert not any(link.partition("token=")[2] in shown for link in tab.studio.links())


@pytest.mark.slow
def test_start_from_the_page_then_the_server_dies(chromium: Any, studio: Studio) -> None:
    """One click starts a run; the tab closes, the server is killed; the run never stopped."""
    first = Tab(chromium, studio).enter()
    first.page.get_by_role("button", name="Start the bundled run").click()
    first.page.wait_for_selector(".tile")
    wait_for(lambda: first.number("step") >= 3, 20)
    assert "run=bundled-1" in first.page.evaluate("location.href")
    first.close()
    studio.kill()
    run = Run(studio.runs_dir / "bundled-1")
    state = run.state()
    assert state
    wait_for(lambda: (run.state() or state).step >= state.step + 3)
    studio.start()
    again = Tab(chromium, studio).enter()
    again.go("live?run=bundled-1")
    again.page.wait_for_selector(".tile")
    wait_for(lambda: again.number("step") >= state.step + 3)
    points = int(again.page.locator("[aria-label=Loss]").get_attribute("data-num") or 0)
    assert points >= state.step + 3, "the whole curve, from the first step on"
    badge = again.page.locator(".head .badge")
    os.kill(state.pid, signal.SIGKILL)
    wait_for(lambda: badge.inner_text() == "crashed", 5)
    again.page.get_by_role("button", name="Resume").click()
    wait_for(lambda: badge.inner_text() == "running")
    again.page.get_by_role("button", name="Stop").click()
    wait_for(lambda: badge.inner_text() == "stopped")
    assert run.status() == "stopped"
    again.close()


@pytest.mark.slow
def test_compare_draws_bands_and_keeps_its_place(tab: Tab, studio: Studio) -> None:
    record_comparison(studio.runs_dir, seeds=3, until=30, recipes=SMALL)
    names = [f"{name}-{seed}" for seed in range(3) for name in SMALL]
    tab.go(f"compare?runs={','.join(names)}")
    card = tab.page.locator("[aria-label=Curves]")
    card.locator(".u-over").wait_for()
    assert tab.page.locator("[data-lines]").get_attribute("data-lines") == "2"
    labels = card.locator(".legend .label").all_inner_texts()
    assert labels == ["dr_grpo", "ppo"]
    assert tab.page.locator(".verdicts .title").all_inner_texts() == [
        "By iteration", "By time", "By memory"
    ]  # fmt: skip
    assert tab.page.locator("tbody tr").count() == 2
    top = tab.page.locator("table").bounding_box()["y"]
    painted = card.locator("canvas").evaluate(
        """canvas => new Set(new Uint32Array(canvas.getContext("2d")
             .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
    )
    assert painted > 20, "lines and bands are on the canvas"
    box = card.locator(".u-over").bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    wait_for(lambda: card.locator(".where").inner_text() == "step 15")
    assert "±" in card.locator(".legend b").first.inner_text()
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50, steps=4)
    tab.page.mouse.up()
    wait_for(lambda: tab.page.locator("[data-zoom^='15.']").count())
    tab.page.get_by_role("radio", name="Time").click()
    tab.page.locator("[data-x=time]").wait_for()
    tab.settled()
    assert tab.page.locator("table").bounding_box()["y"] == top, "nothing moved"
    assert tab.foreign == [] and [error for error in tab.errors if "404" not in error] == []


@pytest.mark.slow
def test_editor_types_marks_and_runs(tab: Tab) -> None:
    tab.go("lab?run=recorded&step=7")
    editor = tab.page.locator(".cm-content")
    editor.click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.type("def shorter(completion):\nreturn -len(completion) /")
    marks = tab.page.locator(".cm-editor")
    wait_for(lambda: marks.get_attribute("data-problems") == "1")
    tab.page.keyboard.type(" 7")
    wait_for(lambda: marks.get_attribute("data-problems") == "0")
    tab.page.keyboard.press("Control+Enter")
    tab.page.get_by_text("128 completions scored").wait_for()
    assert "shorter" in editor.inner_text(), "the text stayed through every run of the page"
    tab.page.get_by_placeholder("name it").fill("shorter")
    editor.click()
    tab.page.keyboard.type("  # kept")
    tab.page.keyboard.press("Control+s")
    tab.page.get_by_text("saved").wait_for()
    text = (tab.studio.folder / "rewards" / "shorter.py").read_text()
    assert text.startswith("def shorter(completion):\n") and "  # kept" in text


@pytest.mark.slow
def test_a_draft_survives_reload_leaving_and_another_text(chromium: Any, studio: Studio) -> None:
    tab = Tab(chromium, studio).enter()
    tab.go("lab?run=recorded&step=7")
    editor = tab.page.locator(".cm-content")
    editor.click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.insert_text("def mine(completion):\n    return 1  # kept")
    tab.page.get_by_role("spinbutton", name="Weight of mine").fill("0.3")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_timeout(1500)  # Python hears of the weight
    editor.click()
    tab.page.keyboard.press("Control+End")
    tab.page.keyboard.type(" twice")
    tab.page.reload()  # at once, before Python has heard of it
    wait_for(lambda: "# kept twice" in editor.inner_text())
    weight = tab.page.get_by_role("spinbutton", name="Weight of mine")
    wait_for(lambda: weight.input_value() == "0.3")
    editor.click()
    tab.page.keyboard.press("Control+End")
    tab.page.keyboard.type(" and thrice")
    tab.page.get_by_role("link", name="Runs").click()
    tab.page.wait_for_selector("button.name")
    tab.page.get_by_role("link", name="Reward lab").click()
    wait_for(lambda: "# kept twice and thrice" in editor.inner_text())
    tab.page.get_by_role("combobox", name="Start from").click()
    tab.page.get_by_text("brevity", exact=True).click()
    wait_for(lambda: "def brevity" in editor.inner_text())
    editor.click()
    tab.page.keyboard.press("Control+z")
    tab.page.wait_for_timeout(700)
    assert "def brevity" in editor.inner_text(), "undo stays within one text"
    tab.page.get_by_role("combobox", name="Start from").click()
    tab.page.get_by_text("the text from before", exact=True).click()
    wait_for(lambda: "# kept twice and thrice" in editor.inner_text())
    tab.close()


def test_model_text_is_only_text(tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "hostile", until=2)
    writer = RunWriter(run.db_path)
    for table, columns in (("rollouts", "text error printed"), ("groups", "prompt answer")):
        for column in columns.split():
            writer._db.execute(f"UPDATE {table} SET {column} = ?", (HOSTILE,))
    writer.close()
    tab.go("inspector?run=hostile&step=1")
    tab.page.wait_for_selector(".row")
    wait_for(lambda: "<script>" in tab.page.locator(".prompt").inner_text())
    tab.go("lab?run=hostile&step=1")
    tab.page.wait_for_selector(".cm-content")
    tab.page.get_by_role("button", name="Try it").click()
    tab.page.get_by_text("16 completions scored").or_(
        tab.page.get_by_text("128 completions scored")
    ).wait_for()
    tab.page.wait_for_timeout(300)
    assert tab.foreign == [] and tab.page.evaluate("window.hacked") is None


@pytest.mark.slow
def test_columns_of_a_hostile_file_are_chosen(tab: Tab, studio: Studio) -> None:
    rows = [{"ask": f"{i} {HOSTILE}", "gold": str(i), HOSTILE: 1} for i in range(8)]
    path = studio.folder / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tab.go("new")
    page = tab.page
    page.get_by_role("tab", name="Data").click()

    def pick(label: str, value: str) -> None:
        box = page.get_by_role("combobox", name=label)
        box.fill(value)
        page.get_by_role("option", name=value, exact=True).click()
        tab.settled()

    pick("Task", "file")
    page.get_by_label("Path", exact=True).first.fill(str(path))
    page.keyboard.press("Tab")
    page.get_by_text("there is no column 'question'").first.wait_for()
    pick("Question column", "ask")
    pick("Answer column", "gold")
    page.get_by_text("4 training problems, 4 held out.").wait_for()
    template = page.get_by_role("textbox", name="Prompt template")
    assert template.get_attribute("placeholder") == "{question}"
    template.fill("Say:\n{question}")
    page.keyboard.press("Control+Enter")
    page.locator("code", has_text="Say:\n0 <script>").first.wait_for()
    assert page.get_by_role("button", name="Start the run").is_enabled()
    assert not page.evaluate("window.hacked") and tab.foreign == []


@pytest.mark.slow
def test_delete_asks_and_dark_is_dark(chromium: Any, studio: Studio) -> None:
    record_run(studio.runs_dir, "to-delete", until=1, status="stopped")
    tab = Tab(chromium, studio, scheme="dark").enter()
    background = tab.page.evaluate(
        "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
    )
    assert max(map(int, re.findall(r"\d+", background)[:3])) < 40
    tab.page.get_by_role("button", name="delete to-delete").click()
    tab.page.get_by_role("button", name="Keep it").click()
    tab.page.get_by_role("dialog").wait_for(state="detached")
    assert (studio.runs_dir / "to-delete").exists()
    tab.page.get_by_role("button", name="delete to-delete").click()
    tab.page.get_by_role("button", name="Delete it").click()
    wait_for(lambda: not (studio.runs_dir / "to-delete").exists())
    tab.page.get_by_role("button", name="delete to-delete").wait_for(state="detached")
    tab.close()
