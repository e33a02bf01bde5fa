"""Runs one after another, with a trainer that only writes what it would."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from browser.recorded import write_status

from grpo_core.assets import assets_dir
from grpo_core.recipe import load_recipe, to_yaml
from grpo_core.runs import Run, create_run
from studio import jobs, series
from studio.series import Planned


@pytest.fixture
def trained(empty: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names in the order in which they began; each is done at once, but those with `slow` in
    their name go on until they are stopped, and `bad` ones fail."""
    names: list[str] = []

    def begin(run: Run) -> None:
        names.append(run.name)
        ends = {"slow": "running", "bad": "failed"}.get(run.name.partition("-")[0], "completed")
        write_status(run, ends, 3, 30, "out of disk")  # type: ignore[arg-type]

    def start(runs_dir: Path, request: str, wanted: jobs.Start) -> Run:
        path = assets_dir() / "recipes" / f"{wanted.recipe}.yaml"
        config = load_recipe(path, list(wanted.overrides))
        run = create_run(runs_dir, wanted.name, to_yaml(config))
        begin(run)
        return run

    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(jobs, "resume", begin)
    monkeypatch.setattr(series, "POLL_S", 0.01)
    return names


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run_all(folder: Path, planned: list[Planned]) -> None:
    series.begin(folder, planned)
    wait_for(lambda: not series.is_busy(folder))


def test_the_arms_take_turns_and_differ_in_the_algorithm_alone() -> None:
    planned = series.pair(2, own_critic=True)
    assert [one.name for one in planned] == [
        "pair-grpo-0", "pair-ppo-0", "pair-ppo-own-0", "pair-grpo-1", "pair-ppo-1", "pair-ppo-own-1"
    ]  # fmt: skip
    folder = assets_dir() / "recipes"
    grpo, ppo, own = (
        load_recipe(folder / f"{one.recipe}.yaml", list(one.overrides)) for one in planned[:3]
    )
    assert own.critic is not None and own.critic.model == "own"
    assert grpo.critic is None and ppo.critic is not None and ppo.critic.model == "shared"
    for one in (grpo, ppo, own):
        assert (one.seed, one.algorithm.kl_coefficient) == (0, 0.02)
        assert one.model_copy(update={"algorithm": grpo.algorithm, "critic": None}) == grpo


def test_each_is_trained_once_in_order(tmp_path: Path, trained: list[str]) -> None:
    planned = series.pair(2, own_critic=False)
    run_all(tmp_path, planned)
    assert trained == [one.name for one in planned] and series.plan(tmp_path) == planned
    run_all(tmp_path, planned)
    assert len(trained) == 4, "what is done is not done again"
    (tmp_path / "pair-ppo-1" / "state.json").unlink()
    write_status(Run(tmp_path / "pair-ppo-1"), "crashed", 3, 30)
    run_all(tmp_path, planned)
    assert trained[4:] == ["pair-ppo-1"], "a crashed one goes on"


def test_a_failure_ends_the_series_with_its_sentence(tmp_path: Path, trained: list[str]) -> None:
    run_all(tmp_path, [Planned("bad-1", "compare_grpo"), Planned("next-1", "compare_grpo")])
    assert series.plan(tmp_path) == [], "names that are not the page's own are not gone on with"
    assert trained == ["bad-1"] and series.problem(tmp_path) == "bad-1: out of disk"


def test_a_stop_reaches_the_run_and_ends_the_series(tmp_path: Path, trained: list[str]) -> None:
    planned = [Planned("slow-1", "compare_grpo"), Planned("next-1", "compare_grpo")]
    series.begin(tmp_path, planned)
    wait_for(lambda: trained)
    threads = threading.active_count()
    series.begin(tmp_path, planned)
    assert threading.active_count() == threads, "a second click starts nothing"
    series.stop(tmp_path)
    wait_for(lambda: list((tmp_path / "slow-1" / "inbox").glob("*.json")))
    assert series.is_stopping(tmp_path), "it waits for the trainer, who may still be writing"
    write_status(Run(tmp_path / "slow-1"), "stopped", 3, 30)
    wait_for(lambda: not series.is_busy(tmp_path))
    sent = [command.kind for command, _ in Run(tmp_path / "slow-1").take_commands() if command]
    assert sent == ["stop"] and trained == ["slow-1"] and not series.problem(tmp_path)


def test_a_run_that_is_deleted_meanwhile_ends_the_series(
    tmp_path: Path, trained: list[str]
) -> None:
    series.begin(tmp_path, [Planned("slow-1", "compare_grpo")])
    wait_for(lambda: trained)
    shutil.rmtree(tmp_path / "slow-1")
    wait_for(lambda: not series.is_busy(tmp_path))
    assert series.problem(tmp_path) == "slow-1: the folder of this run is gone"


def test_another_run_of_the_name_is_refused(tmp_path: Path, trained: list[str]) -> None:
    create_run(tmp_path, "pair-grpo-0", "num_steps: 3\n")
    with pytest.raises(ValueError, match="has other settings; delete it first"):
        series.begin(tmp_path, series.pair(1, own_critic=False))
    assert trained == [] and series.plan(tmp_path) == []


def test_a_plan_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / ".studio").mkdir()
    strange = json.dumps([asdict(Planned("x", "bundled", ("rewards=[]",)))])
    for text in ("{", "[1]", '[{"name": "x"}]', "[" * 100_000, strange):
        (tmp_path / ".studio" / "series.json").write_text(text)
        assert series.plan(tmp_path) == []
