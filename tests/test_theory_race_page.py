"""The full comparison on the Theory page: begun, watched, stopped, gone on with, read."""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path

import pytest
from test_pages import open_page, texts

from studio import jobs, theory_race
from studio.theory.race_study import Protocol, key_of, read_progress, run_study

TINY = Protocol(steps=(8.0, 32.0), rates=(0.3,), tuning_seeds=(0, 1))


class Stand:
    """A process that is at work until it is ended."""

    def __init__(self, code: int | None = None) -> None:
        self.code = code
        self.pid = 1

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = -15


@pytest.fixture
def folder(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(theory_race, "_processes", {})
    return theory_race.folder()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small study under the name of the full one."""
    made = tmp_path_factory.mktemp("race")
    run_study(made, regimes=["few", "strategy"], seeds=(1, 2, 3), protocol=TINY)
    return json.dumps({**json.loads((made / "study.json").read_text()), "key": key_of()})


def test_before_it_was_run_there_is_one_button(folder: Path) -> None:
    app = open_page("theory", card="race")
    labels = [button.label for button in app.button]
    assert "Run it" in labels and "Stop" not in labels
    assert not folder.exists(), "looking makes nothing"


def test_a_click_begins_it_once_and_stop_ends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def study(where: Path) -> Stand:
        begun.append(where)
        return Stand()

    monkeypatch.setattr(jobs, "study", study)
    app = open_page("theory", card="race")
    app.button(key="race_begin").click().run()
    assert begun == [folder] and theory_race.is_busy()
    theory_race._begin()
    assert len(begun) == 1, "a second click, or another tab"
    (folder / "progress.json").write_text(
        json.dumps({"done": 3, "total": 49, "seconds": 9.0, "what": "few: GRPO, z-score"})
    )
    app.run()
    assert not app.exception and "race_stop" in [button.key for button in app.button]
    app.button(key="race_stop").click().run()
    assert not theory_race.is_busy()
    assert "Go on" in [button.label for button in app.button]


def test_what_a_process_said_at_its_end_is_shown(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "console.txt").write_text("error: no space left <img src=x>\n")
    theory_race._processes[folder] = Stand(1)  # type: ignore[assignment]
    app = open_page("theory", card="race")
    assert "no space left <img src=x>" in [element.value for element in app.text]


def test_the_results_stand_there_with_who_is_ahead(folder: Path, finished: str) -> None:
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(finished)
    (folder / "progress.json").write_text(
        json.dumps({"done": 14, "total": 14, "seconds": 9.0, "what": "finished"})
    )
    app = open_page("theory", card="race")
    assert len(app.get("plotly_chart")) == 2
    said = texts(app)
    study = json.loads(finished)
    for name, regime in study["regimes"].items():
        best = regime["best"]["iterations"]
        value = f"{best['value']:+.4f}".replace("-", "−")
        assert f"| {name} |" in said and f"{value} ± {best['se']:.4f}: {best['ahead']}" in said
    assert "race_begin" not in [button.key for button in app.button]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 100_000, '{"key": "another"}', '{"done": 9, "total": 3, "what": "x"}',
     '{"done": 1e400, "total": 3}', json.dumps({"key": key_of(), "regimes": {}})],
)  # fmt: skip
def test_results_that_are_not_ours_do_no_harm(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(text)
    (folder / "progress.json").write_text(text)
    app = open_page("theory", card="race")
    assert "race_begin" in [button.key for button in app.button]


def test_texts_of_a_folder_are_not_shown(folder: Path, finished: str) -> None:
    hostile = "![x](http://evil.example/b.png)"
    study = json.loads(finished)
    arms = study["regimes"]["few"]["arms"]
    arms["loo"]["name"] = study["regimes"]["few"]["says"] = hostile
    changed = [study]
    for path in (("regimes", hostile), ("best", hostile)):
        other = json.loads(finished)
        if path[0] == "regimes":
            other["regimes"][hostile] = other["regimes"].pop("few")
        else:
            other["regimes"]["few"]["best"]["compute"]["ahead"] = hostile
        changed.append(other)
    folder.mkdir(parents=True)
    for each in changed:
        (folder / "study.json").write_text(json.dumps(each))
        app = open_page("theory", card="race")
        assert "evil" not in "".join(
            str(e.value) for kind in ("markdown", "caption") for e in app.get(kind)
        )


def test_a_process_of_another_server_is_seen_and_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"done": 3, "total": 49, "seconds": 1, "what": "x"}')
    ended: list[int] = []
    monkeypatch.setattr(jobs, "end", ended.append)
    with (folder / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4321")
        lock.flush()
        app = open_page("theory", card="race")
        assert app.button(key="race_begin").disabled
        app.button(key="race_stop").click().run()
        assert ended == [4321]
    assert not theory_race.is_busy()


@pytest.mark.slow
def test_the_real_process_works_and_is_stopped(folder: Path) -> None:
    theory_race._begin()
    deadline = time.monotonic() + 120
    while (read_progress(folder) or {}).get("done", 0) < 1:
        assert time.monotonic() < deadline and theory_race.is_busy()
        time.sleep(0.2)
    theory_race._stop()
    theory_race._processes[folder].wait(20)
    assert not theory_race.is_busy()
    assert list(folder.glob("*.*.json")), "what is done is kept"
