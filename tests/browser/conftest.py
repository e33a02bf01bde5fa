"""A browser for all of these tests, a studio for each file of tests, a tab for each test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from browser.harness import CHROMIUM, FLAGS, Studio, Tab
from browser.recorded import record_run
from grpo_core.runs import list_runs


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    if not CHROMIUM:
        message = "no Chromium on this machine"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    playwright = pytest.importorskip("playwright.sync_api").sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()
    playwright.stop()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(tmp_path_factory.mktemp("studio"))
    record_run(studio.runs_dir, "recorded", until=40, short_from=30)
    studio.start()
    yield studio
    studio.kill()
    for run in list_runs(studio.runs_dir):
        state = run.state()
        if state and run.is_live() and state.pid != os.getpid():
            os.kill(state.pid, signal.SIGKILL)


@pytest.fixture
def tab(chromium: Any, studio: Studio) -> Iterator[Tab]:
    tab = Tab(chromium, studio)
    yield tab.enter()
    tab.close()
