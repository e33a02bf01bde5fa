"""The Live page's numbers: followed in memory, thinned, placed on other axes, marked, banded."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import random
import re
import sqlite3
import sys
from collections import namedtuple
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser.recorded import record_comparison, record_run, write_status
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_pages import open_page, payload, texts

from grpo_core.advantages import PER_GROUP, assign
from grpo_core.algorithm_config import objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.config import RunConfig
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config, to_yaml
from grpo_core.records import Event, StepStats
from grpo_core.runs import Run, create_run
from grpo_core.store import RunWriter
from grpo_core.terms import Numbers, terms_of, weights_of
from studio import (
    answers,
    api,
    api_live,
    charts,
    chronicle,
    columns,
    compare,
    curves,
    data,
    decimate,
    explained_here,
    explanations,
    gauges,
)

CORE = Path(__file__).resolve().parents[1] / "grpo_core"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    before = data.runs_dir()
    data.set_runs_dir(tmp_path)
    yield tmp_path
    data.set_runs_dir(before)


class Page:
    """What a browser does with the answers: keeps the points, and asks for what is new."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.points: dict[str, dict[int, float]] = {}
        self.answer: dict[str, Any] = {}

    def poll(self) -> dict[str, Any]:
        known = self.answer
        self.answer = answer = api_live.live_state(
            self.run,
            known.get("cursor", 0),
            known.get("attempt", 0),
            known.get("seen", ""),
            known.get("source", ""),
        )
        if answer["whole"]:
            self.points = {}
        for name, (steps, values) in answer["series"].items():
            self.points.setdefault(name, {}).update(zip(steps, values, strict=True))
        return answer


def stored(run: Run) -> dict[str, dict[int, float]]:
    """The same by a second way: one plain query."""
    found: dict[str, dict[int, float]] = {}
    with RunReader(run.db_path) as reader:
        for row in reader.metrics()["rows"]:
            found.setdefault(row["name"], {})[row["step"]] = row["value"]
    return found


def bare_run(runs_dir: Path, name: str = "bare", **metrics: list[tuple[int, float]]) -> Run:
    """A run with these metrics alone (`a__b` is `a/b`)."""
    run = create_run(runs_dir, name, to_yaml(RunConfig()))
    writer = RunWriter(run.db_path)
    rows = [
        (1, step, metric.replace("__", "/"), value)
        for metric, points in metrics.items()
        for step, value in points
    ]
    statement = "INSERT INTO metrics(attempt, step, name, value) VALUES(?, ?, ?, ?)"
    writer._db.executemany(statement, sorted(rows, key=lambda row: row[1]))
    writer.close()
    return run


# --- followed ------------------------------------------------------------------------------------


def test_a_page_has_what_is_stored_after_every_poll(runs_dir: Path) -> None:
    run = record_run(runs_dir, "r", until=6, prompts=1)
    page = Page(run)
    assert page.poll()["whole"] and page.points == stored(run)
    quiet = page.poll()
    assert quiet["series"] == {} and "marks" not in quiet and not quiet["whole"]
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    for step in (7, 8):
        metrics = {"train/loss": step / 10, "new/metric": 1.0}
        writer.write_step(StepStats(step, 10, "v", metrics, []), [])
        changed = page.poll()
        assert set(changed["series"]) == {"train/loss", "new/metric"} and not changed["whole"]
        assert page.points == stored(run)
    assert page.answer["places"][0] == [], "no seconds were written down for these steps"


def _connection(run: Run) -> Any:
    return sqlite3.connect(run.db_path, isolation_level=None)


def test_a_resume_takes_back_what_it_undid(runs_dir: Path) -> None:
    run = record_run(runs_dir, "r", until=12, prompts=1)
    page = Page(run)
    page.poll()
    RunWriter(run.db_path, truncate_after=5).close()
    again = page.poll()
    assert again["whole"] and again["attempt"] == 2
    assert page.points == stored(run)
    assert max(page.points["train/loss"]) == 5
    resumes = [mark for mark in again["marks"] if mark["kind"] == "resume"]
    assert [(mark["step"], mark["text"]) for mark in resumes] == [
        (5, "attempt 2 went on from step 5")
    ]
    assert not page.poll()["whole"], "once is enough"


def test_another_run_of_the_same_name_starts_anew(runs_dir: Path) -> None:
    run = record_run(runs_dir, "r", until=9, prompts=1)
    page = Page(run)
    page.poll()
    write_status(run, "stopped", 9, 120)
    run.delete()
    run = record_run(runs_dir, "r", until=3, prompts=1, seed=5)
    assert page.poll()["whole"] and page.points == stored(run)


def test_an_unchanged_run_is_not_opened(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = record_run(runs_dir, "r", until=3, prompts=1)
    monkeypatch.setattr(columns, "SETTLED_S", 0.0)
    page = Page(run)
    page.poll()  # SQLite makes the files that readers share
    page.poll()

    def refuse(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(columns, "Follower", refuse)
    assert page.poll()["series"] == {}


def test_few_runs_are_kept_in_memory(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_RUNS", 2)
    runs = [bare_run(runs_dir, f"r{i}", a__b=[(1, float(i))]) for i in range(4)]
    for run in [*runs, runs[2]]:
        Page(run).poll()
    kept = [path for path, names in columns._kept if names is None]
    assert kept == [runs[3].db_path, runs[2].db_path], "the two asked for last"


def test_a_column_keeps_the_newest_of_a_step_in_order() -> None:
    column = columns.Column()
    column.extend(np.array([1, 2, 3]), np.array([1, 2, 3]), np.array([0.1, 0.2, 0.3]))
    column.extend(np.array([4]), np.array([2]), np.array([9.0]))
    for index in range(200):
        column.extend(np.array([5 + index]), np.array([4 + index]), np.array([float(index)]))
    assert column.steps.tolist() == [*range(1, 204)]
    assert column.values()[:4].tolist() == [0.1, 9.0, 0.3, 0.0] and len(column) == 203
    column.keep_until(3)
    assert column.values().tolist() == [0.1, 9.0, 0.3]


# --- thinned -------------------------------------------------------------------------------------


def test_buckets_hold_extremes_mean_and_count_of_their_steps() -> None:
    rng = random.Random(1)
    steps = np.array(sorted(rng.sample(range(200_000), 30_000)))
    values = np.array([rng.gauss(0, 1) for _ in steps])
    values[12_345], values[23_456] = 50.0, -50.0
    found = decimate.thinned(steps, values)
    assert len(found) == 8 and len(found[0]) <= decimate.MAX_POINTS // 2 + 1
    by_step = dict(zip(steps.tolist(), values.tolist(), strict=True))
    ordered, at = steps.tolist(), 0
    for first, last, low_at, low, high_at, high, mean, count in zip(*found, strict=True):
        inside = ordered[at : at + count]
        at += count
        assert (inside[0], inside[-1]) == (first, last)
        numbers = [by_step[step] for step in inside]
        assert (low, high) == (min(numbers), max(numbers))
        assert by_step[low_at] == low and by_step[high_at] == high
        assert mean == pytest.approx(math.fsum(numbers) / count)
    assert at == len(steps), "each point once"
    assert 50.0 in found[5] and -50.0 in found[3], "spikes stay"
    assert found[7][-decimate.NUM_RECENT :] == [1] * decimate.NUM_RECENT and found[7][0] == 1


def test_short_curves_are_sent_as_they_are_and_nothing_is_no_point() -> None:
    steps, values = np.arange(5), np.array([1.0, math.inf, 3.0, math.nan, 5.0])
    assert decimate.thinned(steps, values) == [[0, 2, 4], [1.0, 3.0, 5.0]]


def test_a_part_breaks_where_it_was_not_in_force(runs_dir: Path) -> None:
    # Steps 1..1500 without 400..799 (another reward) and without 1000 (nobody got that reward).
    steps = [step for step in range(1, 1501) if not 400 <= step < 800 and step != 1000]
    run = bare_run(
        runs_dir,
        reward__short__mean=[(s, 1.0) for s in steps],
        train__loss=[(s, 1.0) for s in steps],
    )
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    for step in range(1, 1501):
        version = "b" if 400 <= step < 800 else "a"
        writer._insert("steps", step=step, time=1e9 + step, num_tokens=1, reward_version=version)
    answer = api_live.live_state(run, 0, 0)
    assert answer["breaks"] == {"reward/short/mean": [800]}
    firsts, lasts = answer["series"]["reward/short/mean"][:2]
    assert not any(low < 400 <= high for low, high in zip(firsts, lasts, strict=True))
    assert 800 in firsts
    assert [m["step"] for m in answer["marks"] if m["kind"] == "reward"] == [400, 800]
    window = curves.window(run, ["reward/short/mean"], 390, 810)
    assert window["breaks"] == {"reward/short/mean": [800]}
    assert window["series"]["reward/short/mean"][0] == [*range(390, 400), *range(800, 811)]


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", ["time", "tokens"])
def test_steps_stand_where_the_compare_page_has_them(runs_dir: Path, axis: str) -> None:
    run = record_run(runs_dir, "r", until=30, prompts=1)
    recorded = data.recorded(run, ("reward/mean", compare.STEP_S))
    assert recorded
    answer = api_live.live_state(run, 0, 0)
    steps, seconds, tokens, clock = answer["places"]
    assert steps == list(range(31)), "the start, and every step"
    expected = compare.position(recorded, axis, np.array(steps, dtype=float))
    assert {"time": seconds, "tokens": tokens}[axis] == pytest.approx(expected)
    assert clock == sorted(clock) and clock[0] == answer["run"]["started"]


def test_places_come_with_their_steps(runs_dir: Path) -> None:
    run = record_run(runs_dir, "r", until=5, prompts=1)
    page = Page(run)
    page.poll()
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    for step in (6, 7):
        writer.write_step(StepStats(step, 1000, "v", {"time/step_s": 2.5}, []), [])
    found = page.poll()["places"]
    whole = api_live.live_state(run, 0, 0)["places"]
    assert found[0] == [6, 7] and [row[-2:] for row in whole] == found
    assert found[1][1] - found[1][0] == pytest.approx(2.5)
    assert found[2][1] - found[2][0] == 1000


def test_a_page_that_slept_gets_what_it_missed_thinned(runs_dir: Path) -> None:
    run = bare_run(runs_dir, time__step_s=[(1, 0.5)], train__loss=[(1, 0.0)])
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    writer._db.execute("PRAGMA synchronous=OFF")
    first = api_live.live_state(run, 0, 0)
    for step in range(2, 2503):
        metrics = {"time/step_s": 0.5, "train/loss": 9.0 if step == 1234 else 0.0}
        writer.write_step(StepStats(step, 10, "v", metrics, []), [])
    missed = api_live.live_state(run, first["cursor"], 1, "", first["source"])
    assert not missed["whole"]
    loss = missed["series"]["train/loss"]
    assert len(loss) == 8 and sum(loss[7]) == 2501 and loss[0][0] == 2 and loss[1][-1] == 2502
    assert 9.0 in loss[5] and loss[4][loss[5].index(9.0)] == 1234
    steps, seconds, _, _ = missed["places"]
    assert len(steps) <= decimate.MAX_POINTS and (steps[0], steps[-1]) == (2, 2502)
    assert seconds == pytest.approx([0.5 * step for step in steps])


def test_points_out_of_order_are_sent_anew(runs_dir: Path) -> None:
    run = bare_run(runs_dir, train__loss=[(1, 0.1), (5, 0.5)])
    page = Page(run)
    page.poll()
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    writer._insert_metrics(3, {"train/loss": 0.3})
    assert page.poll()["whole"] and page.points == stored(run)
    assert not page.poll()["whole"]


# --- what happened -------------------------------------------------------------------------------


def test_marks_say_what_happened_and_forget_what_was_undone(runs_dir: Path) -> None:
    run = record_run(runs_dir, "r", until=24, short_from=12, prompts=1)
    writer = RunWriter.__new__(RunWriter)
    writer._db, writer.attempt = _connection(run), 1
    for step, event in (
        (5, Event("status", {"status": "paused", "command_id": "x"})),
        (5, Event("status", {"status": "running", "command_id": "y"})),
        (6, Event("setting", {"overrides": ["optim.learning_rate=1e-4"], "command_id": "z"})),
        (20, Event("nonfinite", {"message": "the loss is not finite", "in_row": 1})),
    ):
        writer.write_event(step, event)
    page = Page(run)
    answer = page.poll()
    said = [(mark["step"], mark["kind"], mark["title"]) for mark in answer["marks"]]
    assert said == [
        # heard before step 5 begins
        (4, "pause", "Paused"), (4, "pause", "Continued"), (6, "setting", "Setting"),
        (12, "reward", "Reward v2"), (20, "alert", "Not finite"),
    ]  # fmt: skip
    assert answer["run"]["status"] == "running"
    kinds = {event["kind"] for event in answer["events"]}
    assert {"reward_version", "checkpoint"} <= kinds and "evaluation" not in kinds
    RunWriter(run.db_path, truncate_after=10).close()
    said = [(mark["step"], mark["kind"]) for mark in page.poll()["marks"]]
    assert said == [(4, "pause"), (4, "pause"), (6, "setting"), (10, "resume")]
    text = json.dumps(answers._finite({"a": [float("nan"), 1.0], "b": float("inf")}))
    assert json.loads(text) == {"a": [None, 1.0], "b": None}


def test_many_alerts_become_few_marks_and_none_is_lost() -> None:
    kept = chronicle.Chronicle()
    fault = {"attempt": 1, "time": 0.0, "kind": "reward_fault", "detail": {"function": "f"}}
    events = [{**fault, "id": i, "step": i, "time": float(i)} for i in range(1, 5001)]
    kept.take_events(events, lambda _: None)
    marks = kept.marks()
    assert len(marks) <= chronicle.MAX_MARKS + 1
    assert sum(mark.get("count", 1) for mark in marks) == 5000
    assert (marks[0]["step"], marks[-1]["step"]) == (1, 5000)
    spans = [(mark["step"], mark.get("last", mark["step"])) for mark in marks]
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    assert all("count" not in mark for mark in marks[-chronicle.NUM_RECENT :])
    assert len(kept.recent) == chronicle.NUM_EVENTS and kept.recent[0]["step"] == 5000


# --- files, bands, the machine -------------------------------------------------------------------


@pytest.fixture
def client(runs_dir: Path) -> TestClient:
    return TestClient(Starlette(routes=api.routes()))


def test_csv_holds_every_stored_number_exactly(client: TestClient, runs_dir: Path) -> None:
    runs = [record_run(runs_dir, name, 12, prompts=1, seed=i) for i, name in enumerate("ab")]
    query = "run=a&run=b&run=gone&name=eval/accuracy&name=train/kl&name=nothing"
    answer = client.get(f"/api/csv?{query}")
    assert answer.headers["content-disposition"] == 'attachment; filename="a_eval-accuracy.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == [
        "run", "step", "seconds", "tokens", "eval/accuracy", "train/kl", "nothing"
    ]  # fmt: skip
    for run in runs:
        recorded = data.recorded(run, (compare.STEP_S,))
        assert recorded
        own = [row for row in rows if row["run"] == run.name]
        for name in ("eval/accuracy", "train/kl"):
            numbers = {int(row["step"]): float(row[name]) for row in own if row[name]}
            assert numbers == stored(run)[name], "bit for bit"
        steps = np.array([float(row["step"]) for row in own])
        for axis, column in (("time", "seconds"), ("tokens", "tokens")):
            expected = compare.position(recorded, axis, steps)
            assert [float(row[column]) for row in own] == pytest.approx(expected)
        assert not any(row["nothing"] for row in own)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/csv?run=a", 400), ("/api/csv?run=gone&name=x", 404), ("/api/csv?name=x", 404),
        ("/api/csv?run=../a&name=x", 404), ("/api/bands?run=a&axis=clock", 400),
        ("/api/bands?run=gone", 404), ("/api/bands?run=a&name=train/kl", 200),
        ("/api/system", 200), ("/api/runs/a/metrics?since=1&source=x&seen=%00", 200),
    ],
)  # fmt: skip
def test_routes_refuse_what_they_do_not_know(
    client: TestClient, runs_dir: Path, path: str, status: int
) -> None:
    bare_run(runs_dir, "a", train__kl=[(1, 0.5)])
    assert client.get(path).status_code == status
    assert client.post(path).status_code == 405


def test_a_file_has_no_formulas(client: TestClient, runs_dir: Path) -> None:
    bare_run(runs_dir, "a", **{"=1+1": [(1, 0.5)]})
    text = client.get("/api/csv", params={"run": "a", "name": "=1+1"}).text
    assert text.splitlines()[0] == "run,step,seconds,tokens,'=1+1"


@pytest.mark.parametrize("axis", compare.AXES)
def test_bands_are_those_of_the_compare_page(client: TestClient, runs_dir: Path, axis: str) -> None:
    record_comparison(runs_dir, seeds=3, until=12)
    other = parse_config({"algorithm": {"name": "dr_grpo"}})
    record_run(runs_dir, "lonely", 12, config=other, prompts=1)
    names = ["grpo-0", "ppo-0", "grpo-1", "grpo-2", "lonely"]
    query = [("run", name) for name in names] + [("axis", axis), ("name", "reward/mean")]
    found = client.get("/api/bands", params=query).json()
    groups = {tuple(group["runs"]): group for group in found["groups"]}
    assert set(groups) == {("grpo-0", "grpo-1", "grpo-2"), ("ppo-0",), ("lonely",)}
    for members, group in groups.items():
        runs = [
            recorded
            for name in members
            if (recorded := data.recorded(Run(runs_dir / name), ("reward/mean", compare.STEP_S)))
        ]
        expected = compare.line(runs, "reward/mean", axis)
        assert expected
        drawn = group["lines"]["reward/mean"]
        assert drawn["x"] == pytest.approx(expected.x)
        assert drawn["mean"] == pytest.approx(expected.mean)
        assert (drawn["low"] is None) == (len(members) == 1)
        if expected.low is not None:
            assert drawn["low"] == pytest.approx(expected.low)


def test_gauges_are_plausible_and_asked_once(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "_known", (0.0, {}))
    found = gauges.now(runs_dir)
    used, total = found["memory"]
    free, of = found["disk"]
    assert 0 < used < total and 0 <= free <= of and 0 <= found["cpu"] <= 1
    assert isinstance(found["gpus"], list) and gauges.now(runs_dir) is found


def test_the_processor_is_busy_since_the_last_look(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user system idle iowait guest")
    seen = iter([times(100.0, 20.0, 70.0, 10.0, 50.0), times(103.0, 21.0, 81.0, 15.0, 50.0)])
    monkeypatch.setattr(gauges.psutil, "cpu_times", lambda: next(seen))
    monkeypatch.setattr(gauges, "_busy_idle", (0.0, 0.0))
    # A guest's seconds are part of `user` already: 100 + 20 busy, 70 + 10 idle.
    assert gauges._cpu() == pytest.approx(120 / 200)
    assert gauges._cpu() == pytest.approx(4 / 20)


def test_gauges_ask_a_gpu_what_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def silent(*_: object) -> None:
        raise NVMLError

    def library(**changes: Any) -> SimpleNamespace:
        return SimpleNamespace(**{
            "NVMLError": NVMLError, "NVML_TEMPERATURE_GPU": 0, "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None, "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda _: b"H200",
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=3, total=8),
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=97),
            "nvmlDeviceGetTemperature": lambda *_: 61,
            "nvmlDeviceGetPowerUsage": silent,
        } | changes)  # fmt: skip

    monkeypatch.setitem(sys.modules, "pynvml", library())
    gauges._library.cache_clear()
    assert gauges.gpus() == [
        {"name": "H200", "busy": 0.97, "memory": [3, 8], "celsius": 61, "watts": None}
    ]
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=silent))
    gauges._library.cache_clear()
    assert gauges.gpus() == [], "a library without a driver"
    gauges._library.cache_clear()


# --- damaged -------------------------------------------------------------------------------------


def damaged(runs_dir: Path, how: str) -> Run:
    run = record_run(runs_dir, how.replace(" ", "-"), until=3, prompts=1, status="completed")
    if how == "not a database":
        run.db_path.write_text("this is not a database, but it is long enough " * 400)
    elif how == "no tables":
        run.db_path.write_bytes(b"")
    elif how == "a table is missing":
        _connection(run).execute("DROP TABLE metrics")
    elif how == "truncated":
        content = run.db_path.read_bytes()
        run.db_path.write_bytes(content[: len(content) // 3])
    return run


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("not a database", "file is not a database"), ("no tables", "no such table: attempts"),
        ("a table is missing", "no such table: metrics"),
        ("truncated", "database disk image is malformed"),
    ],
)  # fmt: skip
def test_a_damaged_database_is_said_and_other_runs_work(
    client: TestClient, runs_dir: Path, how: str, said: str
) -> None:
    run = damaged(runs_dir, how)
    record_run(runs_dir, "whole", until=3, prompts=1)
    answer = client.get(f"/api/runs/{run.name}/metrics").json()
    assert answer["problem"].startswith(f"This run's database cannot be read: {said}")
    whole = client.get("/api/runs/whole/metrics").json()
    assert whole["problem"] == "" and len(whole["series"]["train/loss"][0]) == 3
    assert {row["name"] for row in client.get("/api/runs").json()["runs"]} == {"whole", run.name}
    assert client.get(f"/api/csv?run={run.name}&name=train/loss").status_code == 200
    assert client.get(f"/api/bands?run={run.name}&run=whole&name=train/loss").status_code == 200
    app = open_page("live", run=run.name)
    assert payload(app)["run"] == run.name


def test_a_run_that_begins_has_no_problem(client: TestClient, runs_dir: Path) -> None:
    run = create_run(runs_dir, "begins", to_yaml(RunConfig()))
    assert client.get("/api/runs/begins/metrics").json()["problem"] == ""
    run.db_path.touch()
    answer = client.get("/api/runs/begins/metrics").json()
    assert answer["run"]["status"] == "starting" and answer["problem"] == ""


# --- the page ------------------------------------------------------------------------------------


def test_live_without_runs_with_one_and_after_a_crash(runs_dir: Path) -> None:
    assert "There is no run to show yet." in texts(open_page("live"))
    run = record_run(runs_dir, "one", until=3, prompts=1)
    app = open_page("live", run="one")
    assert payload(app)["others"] == [] and app.multiselect(key="with").disabled
    write_status(run, "crashed", 3, 120)
    run.log_path.write_text("Killed")
    assert "Killed" in [element.value for element in open_page("live", run="one").code]


def test_the_runs_beside_it_stand_in_the_address(runs_dir: Path) -> None:
    for name in ("a", "b", "c"):
        record_run(runs_dir, name, until=1, prompts=1, status="completed")
    app = open_page("live", run="a", **{"with": "c,gone,a,b"})
    assert payload(app)["others"] == ["c", "b"], "in the order of choice, without itself"
    assert app.query_params["with"] in ("c,b", ["c,b"])
    app.multiselect(key="with").set_value(["b"]).run()
    assert payload(app)["others"] == ["b"] and app.query_params["with"] in ("b", ["b"])
    app.selectbox(key="run").set_value("b").run()
    assert payload(app)["others"] == []


# --- explanations --------------------------------------------------------------------------------


def test_every_metric_of_a_run_is_explained(runs_dir: Path) -> None:
    for run in record_comparison(runs_dir, seeds=1, until=2):
        for name in stored(run):
            assert explanations.explanation(name), name


def test_every_metric_in_the_source_is_explained() -> None:
    """Whatever looks like a metric's name where metrics are made."""
    prefixes = {name.split("/")[0] for name in explanations.EXPLANATIONS}
    found = set()
    for file in ("update", "worker", "metrics", "credit", "learner", "store", "trainer", "critic"):
        for node in ast.walk(ast.parse((CORE / f"{file}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):  # f"reward/{function.name}/mean"
                parts = [p.value if isinstance(p, ast.Constant) else "*" for p in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    names = {
        name
        for name in found
        if re.fullmatch(r"[a-z]+/[a-z_]+|reward/\*/mean", name) and name.split("/")[0] in prefixes
    }
    assert len(names) > 30 and names <= set(explanations.EXPLANATIONS), names - set(
        explanations.EXPLANATIONS
    )
    drawn = {series["name"] for chart in charts.CHARTS for series in chart["series"]}
    assert drawn <= set(explanations.EXPLANATIONS)


def test_explanations_are_short_and_whole() -> None:
    for name, one in explanations.EXPLANATIONS.items():
        assert one.about.endswith((".", ")")) and len(one.about) < 240, name
        assert one.form in ("percent", "number", "signed", "count", "rate")
        for question, answer in one.questions:
            assert question.endswith("?") or "," in question, question
            assert answer.endswith(".") and len(answer) < 420, question


# --- what the run's own settings make of a metric ------------------------------------------------


def here(**sections: Any) -> dict[str, str]:
    return explained_here.here(RunConfig.model_validate(sections))


def first_loss(config: RunConfig) -> float:
    """The loss of one update on its own samples, from rewards of no pattern."""
    rng = np.random.default_rng(3)
    rewards = rng.normal(size=(4, 6)).tolist()
    lengths = [int(num) for num in rng.integers(3, 30, size=24)]
    advantages = assign(rewards, config.algorithm.advantage, np.reshape(lengths, (4, 6)).tolist())
    weights = weights_of(lengths, config.algorithm.aggregation, 64)
    objective, total = objective_of(config.algorithm), 0.0
    for A, length, weight in zip(np.ravel(advantages), lengths, weights, strict=True):
        logp = -rng.exponential(size=length)
        channels = {"ref": logp - 0.3, "entropy": logp * 0 + 0.5, "advantage": logp * 0 + A}
        numbers = Numbers.of(logp=logp, old=logp, weight=logp * 0 + weight, **channels)
        total += float(terms_of(objective, numbers).loss.sum())
    return total


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kl", [0.0, 0.04])
def test_a_loss_is_called_0_where_it_is(name: str, kl: float) -> None:
    config = parse_config({"algorithm": {"name": name, "kl_coefficient": kl}})
    if config.algorithm.advantage not in PER_GROUP:
        return
    said = explained_here.here(config)["train/loss"]
    assert ("0 up to rounding" in said) == (abs(first_loss(config)) < 1e-9), said


def test_the_settings_of_a_run_are_told_in_numbers() -> None:
    plain = here(algorithm={"name": "deepseekmath"})
    assert "this is 0 at every step" in plain["train/clip_fraction"]
    assert "8 completions" in plain["reward/zero_variance_fraction"]
    assert " 43% of" in plain["reward/zero_variance_fraction"]  # 0.9^8 + 0.1^8 = 0.4305
    assert "error is 2.5 points" in plain["eval/accuracy"]  # sqrt(0.25 / 400) = 0.025
    assert "128 a step" in plain["train/accuracy"]
    dapo = here(algorithm={"name": "dapo"})
    assert "that were replaced count" in dapo["reward/mean"], "they do, see worker.step"
    alone = here(algorithm={"name": "reinforce"}, rollout={"group_size": 1})
    assert alone["reward/zero_variance_fraction"].startswith("Groups have one completion")
    assert " 64 tokens" in plain["completion/length_mean"]
    twice = here(algorithm={"name": "dapo"}, optim={"updates_per_rollout": 2, "minibatches": 4})
    assert twice["train/clip_fraction"] == (
        "2 passes in 4 mini-batches make 8 updates a rollout; ratios are clipped outside of 0.8 "
        "and 1.28."
    )
    assert "no ratio" in here(algorithm={"name": "reinforce"})["train/clip_fraction"]
    assert "fade" in here(algorithm={"name": "sapo"})["train/clip_fraction"]
    assert plain["train/kl"] == (
        "The loss holds a KL of its own: 0.04 times k3 against the policy the run began with."
    )
    for name in ALGORITHMS:
        has_ratio = parse_config({"algorithm": {"name": name}}).algorithm.ratio_level != "none"
        for passes in (1, 2) if has_ratio else (1,):
            told = here(algorithm={"name": name}, optim={"updates_per_rollout": passes})
            assert told.keys() <= explanations.EXPLANATIONS.keys()
            assert all(text.endswith(".") and len(text) < 240 for text in told.values())


def test_the_settings_in_force_are_told(runs_dir: Path) -> None:
    run = record_run(runs_dir, "set", 6, "completed")
    client = TestClient(Starlette(routes=api.routes()))
    began = client.get("/api/runs/set/here").json()["train/learning_rate"]
    writer = RunWriter(run.db_path)
    writer.write_event(4, Event("setting", {"overrides": ["optim.learning_rate=0.5"]}))
    writer.close()
    told = client.get("/api/runs/set/here").json()["train/learning_rate"]
    assert began != told and told.startswith("It is 0.5")
    assert client.get("/api/runs/none/here").status_code == 404
