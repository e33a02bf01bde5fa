"""The closed loop as a person goes it: a reward is written, fails, is mended, tried on a stored
group, given to a run that trains, and scores from that run's next step on. The trainer is the real
one, on the bundled model.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from browser.harness import Studio, Tab, wait_for
from grpo_core.reader import RunReader
from grpo_core.runs import Run

COMMAND = [sys.executable, "-m", "grpo_core.cli"]
RECIPE = (
    "num_steps=100000", "rollout.prompts_per_step=1", "rollout.group_size=16",
    "rollout.max_new_tokens=32", "evaluation.every=100000", "evaluation.num_problems=4",
    "checkpoint.every=100000",
)  # fmt: skip
BROKEN = "def shorter(completion):\n    return -len(completion) / (100\n"
RAISES = (
    "def shorter(completion, completion_ids):\n"
    "    print('tokens', len(completion_ids))\n"
    "    assert completion != {text!r}, 'that one'\n"
    "    return -len(completion) / 100\n"
)
SHORTER = "def shorter(completion):\n    return -len(completion) / 100\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, Run]]:
    """A studio, and a run that trains until it is stopped."""
    folder = tmp_path_factory.mktemp("loop")
    runs_dir = folder / "runs"
    sets = [part for one in RECIPE for part in ("--set", one)]
    trainer = subprocess.Popen(
        [*COMMAND, "train", "bundled", "--name", "live", "--runs-dir", str(runs_dir), *sets],
        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    studio, run = Studio(folder), Run(runs_dir / "live")
    try:
        studio.start()
        wait_for(lambda: (state := run.state()) and state.step >= 2, 120)
        yield studio, run
    finally:
        trainer.send_signal(signal.SIGTERM)
        try:
            trainer.wait(30)
        finally:
            trainer.kill()
            studio.kill()


def last_step(run: Run) -> int:
    with RunReader(run.db_path) as reader:
        return reader.last_step() or 0


def rollouts(run: Run, step: int) -> list[dict[str, Any]]:
    with RunReader(run.db_path) as reader:
        return [one for group in reader.groups(step) for one in group["rollouts"]]


def write(tab: Tab, text: str) -> None:
    """Replace the text in the editor as a paste would."""
    tab.page.locator(".cm-content").click()
    tab.page.keyboard.press("Control+a")
    tab.page.keyboard.insert_text(text)


@pytest.mark.slow
def test_write_try_apply_see(chromium: Any, live: tuple[Studio, Run]) -> None:
    studio, run = live
    tab = Tab(chromium, studio).enter()
    tab.go("lab?run=live&step=1")
    # the first: while the page runs again, what moves is there twice
    try_it = tab.page.get_by_role("button", name="Try it").first
    editor = tab.page.locator(".cm-editor")
    tab.page.locator(".cm-content").wait_for()

    write(tab, BROKEN)
    wait_for(lambda: editor.get_attribute("data-problems") == "1")
    marked = tab.page.locator(".cm-gutter-lint .cm-gutterElement:has(.cm-lint-marker-error)")
    assert marked.count() == 1 and on_line(tab, marked) == 2
    tab.page.get_by_text("line 2: '(' was never closed").wait_for()
    assert try_it.is_disabled()
    assert tab.page.get_by_role("button", name="Apply to the run").first.is_disabled()

    first = rollouts(run, 1)
    culprit = first[5]["text"]
    write(tab, RAISES.format(text=culprit))
    wait_for(lambda: editor.get_attribute("data-problems") == "0" and try_it.is_enabled())
    try_it.click()
    num = sum(one["text"] == culprit for one in first)
    tab.page.get_by_text(f"{num} completion{'s' * (num > 1)} left out").wait_for()
    tab.page.get_by_text("shorter, line 3: AssertionError: that one").wait_for()
    assert on_line(tab, marked) == 3
    tab.page.get_by_text("Where, and on what").click()
    where = tab.page.locator("[data-testid=stExpander]", has_text="Where, and on what")
    shown = where.locator("code").last
    wait_for(lambda: shown.inner_text().strip() == culprit.strip())

    write(tab, SHORTER)
    wait_for(lambda: editor.get_attribute("data-problems") == "0" and try_it.is_enabled())
    began = time.monotonic()
    try_it.click()
    # the metric of faults is that of the new trial
    tab.page.get_by_text("completion left out").wait_for(state="detached")
    tab.page.get_by_text("16 completions scored").wait_for()
    print(f"scores of a group of 16 after {time.monotonic() - began:.2f} s, beside a live trainer")

    step = last_step(run)
    tab.page.get_by_role("button", name="Apply to the run").first.click()
    news = tab.page.get_by_text(re.compile(r"in force from step \d+"))
    news.wait_for()
    begins = int(re.findall(r"\d+", news.inner_text())[0])
    assert begins > step
    wait_for(lambda: last_step(run) > begins, 60)
    for number in (begins, begins + 1):
        for one in rollouts(run, number):
            assert one["reward"] == pytest.approx(-len(one["text"]) / 100)
            assert set(one["parts"]) == {"shorter"}
    assert {key for one in rollouts(run, begins - 1) for key in one["parts"]} == {"accuracy"}

    tab.page.get_by_role("link", name="See the mark on the curves").click()
    tab.page.wait_for_selector(".tile")
    root = tab.page.locator("[data-marks]").first
    wait_for(lambda: root.get_attribute("data-marks") == str(begins))
    tab.page.go_back()
    tab.page.get_by_role("button", name="Undo").click()
    tab.page.get_by_text("sent").wait_for()
    wait_for(lambda: {*rollouts(run, last_step(run))[0]["parts"]} == {"accuracy"}, 60)
    assert tab.foreign == [] and [error for error in tab.errors if "404" not in error] == []
    tab.close()


def on_line(tab: Tab, marked: Any) -> int:
    """The number of the line beside the mark."""
    y = marked.first.bounding_box()["y"]
    numbers = tab.page.locator(".cm-lineNumbers .cm-gutterElement:visible").all()
    beside = [one for one in numbers if abs(one.bounding_box()["y"] - y) < 4]
    return int(beside[0].inner_text())
