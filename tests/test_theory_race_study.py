"""The study of GRPO and PPO: stopped and continued it is the same, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from studio.theory import race_study
from studio.theory.cards.race_study import draw_study, estimate_of, verdict_of
from studio.theory.plots import Palette
from studio.theory.race_run import ARMS, Setting, learn
from studio.theory.race_study import (
    Protocol,
    key_of,
    main,
    read_progress,
    read_study,
    run_study,
)

TINY = Protocol(steps=(8.0, 64.0), rates=(0.3, 1.0), tuning_seeds=(0, 1))
SEEDS = (100, 101, 102)
ROOT = Path(__file__).parent.parent


def tiny(folder: Path, progress=None, seeds=SEEDS) -> None:
    run_study(folder, regimes=("few",), seeds=seeds, protocol=TINY, progress=progress)


def timeless(folder: Path) -> dict:
    return {**read_study(folder), "seconds": None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with a finished study."""
    folder = tmp_path_factory.mktemp("study") / "new"
    tiny(folder)
    return folder


class Killed(Exception):
    pass


def test_stopped_and_continued_it_is_the_same_and_repeats_nothing(whole, tmp_path, monkeypatch):
    learned, seen = [], []
    real = race_study.learn

    def counted(*args, **kwargs):
        learned.append(args[2].name)
        return real(*args, **kwargs)

    def kill_at_the_fourth(done, total, what):
        seen.append((done, total))
        if done == 3:
            raise Killed

    monkeypatch.setattr(race_study, "learn", counted)
    with pytest.raises(Killed):
        tiny(tmp_path, kill_at_the_fourth)
    assert read_study(tmp_path) is None and seen == [(n, 7) for n in range(4)]
    assert read_progress(tmp_path)["done"] == 3
    tiny(tmp_path)
    assert learned == [arm.name for arm in ARMS.values() for _ in ("tuning", "fresh")]
    assert timeless(tmp_path) == timeless(whole)
    monkeypatch.setattr(race_study, "learn", None)
    tiny(tmp_path)
    assert timeless(tmp_path) == timeless(whole)


def test_progress_says_how_far_it_is(whole):
    progress = read_progress(whole)
    assert set(progress) == {"done", "total", "seconds", "what"}
    assert (progress["done"], progress["total"], progress["what"]) == (7, 7, "finished")
    assert progress["seconds"] == read_study(whole)["seconds"] > 0
    assert not [path.name for path in whole.iterdir() if path.name.startswith(".")]


def test_an_arm_has_the_setting_that_was_best_on_the_tuning_seeds(whole):
    arms = read_study(whole)["regimes"]["few"]["arms"]
    settings = [Setting(8.0, 0.3), Setting(8.0, 1.0), Setting(64.0, 0.3), Setting(64.0, 1.0)]
    tuned = [learn("few", (0, 1), ARMS["ppo"], (each,)).mean() for each in settings]
    best = settings[int(np.argmax(tuned))]
    assert (arms["ppo"]["step"], arms["ppo"]["rate"]) == (best.step, best.rate)
    assert arms["ppo"]["step_on_edge"] and arms["ppo"]["rate_on_edge"]
    assert arms["loo"]["rate"] is None and not arms["loo"]["rate_on_edge"]
    fresh = learn("few", SEEDS, ARMS["ppo"], (best,))[0]
    assert np.allclose(arms["ppo"]["mean"], fresh.mean(0), atol=1e-12)
    area = fresh.mean(1)
    assert arms["ppo"]["iterations"]["value"] == pytest.approx(area.mean(), abs=1e-12)
    assert arms["ppo"]["iterations"]["se"] == pytest.approx(area.std(ddof=1) / 3**0.5, abs=1e-12)
    assert arms["loo"]["compute"] == arms["loo"]["iterations"]  # it has no critic to pay for
    assert arms["ppo"]["compute"]["value"] < arms["ppo"]["iterations"]["value"]


def test_pairs_are_differences_seed_by_seed(whole):
    found = read_study(whole)["regimes"]["few"]
    curves = {
        arm: np.array(json.loads((whole / f"few.{arm}.json").read_text())["curves"]) for arm in ARMS
    }
    assert len(found["pairs"]) == 16
    pair = next(p for p in found["pairs"] if (p["group"], p["critic"]) == ("zscore", "ppo_whiten"))
    difference = curves["zscore"].mean(1) - curves["ppo_whiten"].mean(1)
    assert pair["by"] == "iterations"
    assert pair["value"] == pytest.approx(difference.mean(), abs=1e-12)
    assert pair["se"] == pytest.approx(difference.std(ddof=1) / 3**0.5, abs=1e-12)
    tuning = {arm: each["tuning"]["compute"] for arm, each in found["arms"].items()}
    best = found["best"]["compute"]
    assert best["group"] == max(("loo", "zscore"), key=tuning.get)
    assert best["critic"] == max((a for a in ARMS if a.startswith("ppo")), key=tuning.get)


def test_other_seeds_are_another_study(whole, monkeypatch):
    key = key_of(("few",), SEEDS, TINY)
    assert read_study(whole, key) is not None
    assert read_study(whole, key_of(("few",), (1, 2), TINY)) is None
    assert len({key, key_of(("few",), SEEDS), key_of(("base",), SEEDS, TINY)}) == 3
    monkeypatch.setattr(race_study, "NUMBERS", race_study.NUMBERS + 1)
    assert key_of(("few",), SEEDS, TINY) != key


def test_results_of_another_protocol_are_not_taken_over(whole, tmp_path):
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tiny(tmp_path, seeds=(100, 101))
    found = read_study(tmp_path)
    assert found["protocol"]["seeds"] == [100, 101] and found["key"] != read_study(whole)["key"]
    assert len(json.loads((tmp_path / "few.loo.json").read_text())["curves"]) == 2


def test_a_study_is_drawn_and_said(whole):
    study = read_study(whole)
    drawn = draw_study(study, Palette.of("light"))
    assert [list(trace.x) for trace in drawn.data] == [["few"], ["few"]]
    best = study["regimes"]["few"]["best"]
    assert drawn.data[0].y[0] == best["iterations"]["value"]
    assert drawn.data[1].error_y.array[0] == pytest.approx(1.96 * best["compute"]["se"])
    assert estimate_of(best["compute"], study).num == 3
    for ahead, kind in (("GRPO", "holds"), ("PPO", "differs"), ("nobody", "open")):
        lead = {"iterations": {"ahead": ahead}, "compute": {"ahead": "GRPO"}}
        verdict = verdict_of({"regimes": {"few": {"best": lead}}})
        assert verdict.claim.startswith("GRPO is faster by iterations")
        assert ("no verdict" in verdict.sentence) == (ahead == "nobody")
        assert verdict.kind == kind and "by compute GRPO is ahead in 1" in verdict.sentence


def test_one_seed_or_an_unknown_regime_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two seeds"):
        run_study(tmp_path, seeds=(1,))
    with pytest.raises(KeyError):
        run_study(tmp_path, regimes=("easy",))
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--regimes", "easy"])
    assert stopped.value.code == 2


def test_the_process_passes_on_what_is_asked(tmp_path, monkeypatch, capsys):
    asked = []

    def noted(folder, *, regimes, progress):
        asked.append((folder, list(regimes)))
        progress(0, 7, "few: PPO")

    monkeypatch.setattr(race_study, "run_study", noted)
    main([str(tmp_path), "--regimes", "few", "base"])
    main([str(tmp_path)])
    assert asked == [(tmp_path, ["few", "base"]), (tmp_path, list(race_study.REGIMES))]
    assert capsys.readouterr().out.splitlines()[0] == "0 of 7: few: PPO"


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(tmp_path):
    """One regime of the full protocol, killed as soon as three arms are done."""
    command = [sys.executable, "-m", "studio.theory.race_study"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    of_killed, of_calm = ([*command, str(f), "--regimes", "few"] for f in (killed, calm))
    process = subprocess.Popen(of_killed, cwd=ROOT, env=environment)
    while (read_progress(killed) or {"done": 0})["done"] < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_study(killed) is None
    before = (killed / "few.none.json").stat().st_mtime_ns
    subprocess.run(of_killed, cwd=ROOT, env=environment, check=True)
    subprocess.run(of_calm, cwd=ROOT, env=environment, check=True)
    assert (killed / "few.none.json").stat().st_mtime_ns == before
    assert timeless(killed) == timeless(calm)
