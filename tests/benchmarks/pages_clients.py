"""What watching costs the training: steps of a real run with clients and without, in turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import pages_replay
from benchmarks.pages_browser import Meter, Wanted, Watched
from benchmarks.pages_report import paired_ratio
from benchmarks.pages_tabs import BIG, Scene
from browser.harness import Studio, wait_for

from grpo_core.reader import RunReader
from grpo_core.runs import Run, free_name

RECIPE = (
    "num_steps=1000000",
    "optim.learning_rate=1e-9",  # a frozen policy: the lengths do not drift
    "evaluation.every=1000000", "evaluation.num_problems=1", "checkpoint.every=1000000",
)  # fmt: skip
WARM_UP_STEPS = 3
RECORD_S = 15.0
SETTLE_S = 1.0


@dataclass(frozen=True)
class Options:
    """What is compared, and how often."""

    num_clients: int
    pairs: int
    window_s: float
    watch_big: bool
    """The clients watch a run of 20,000 steps that grows, not the young one whose steps count."""


@dataclass
class Window:
    """A stretch of time with the clients or without."""

    pair: int
    has_clients: bool
    began: float
    ended: float
    """Seconds since the epoch."""
    work: dict[str, float]
    """ms of work a second."""


@contextmanager
def training(runs_dir: Path, name: str) -> Iterator[Run]:
    """The bundled model, training as a person would start it; the run is left behind."""
    sets = [part for value in RECIPE for part in ("--set", value)]
    command = [sys.executable, "-m", "grpo_core.cli", "train", "bundled", *sets]
    run = Run(runs_dir / name)
    with (runs_dir.parent / f"{name}.txt").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--name", name, "--runs-dir", str(runs_dir)],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

        def has_begun() -> bool:
            assert process.poll() is None, f"the trainer ended: see {output.name}"
            if not run.db_path.exists():
                return False
            with RunReader(run.db_path) as reader:
                return (reader.last_step() or 0) >= WARM_UP_STEPS

        try:
            wait_for(has_begun, 180)
            yield run
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def recorded(scene: Scene, run: str, num_clients: int) -> dict[str, Any]:
    """What a tab on the Live page asks for, as a plan for `pages_replay`."""
    watched = Watched(scene.browser, scene.studio)
    watched.load(scene.places.live.format(run=run), Wanted("canvas", painted=True))
    watched.until_quiet(10)
    asked: list[Any] = []
    watched.page.on("request", lambda request: asked.append(request))
    watched.wait(RECORD_S)
    asked = [request for request in asked if urlsplit(request.url).path.startswith("/api/")]
    if not asked:
        raise RuntimeError(f"the Live page asked for nothing in {RECORD_S} s")
    headers = asked[-1].all_headers()
    watched.close()
    routes: dict[str, list[str]] = {}
    for request in asked:
        url = urlsplit(request.url)
        routes.setdefault(url.path, []).append(url.query)
    follows = dict(part.split("=") for part in scene.places.follows.split(","))
    return {
        "port": scene.studio.port,
        "num_clients": num_clients,
        "headers": {name: value for name, value in headers.items() if not name.startswith(":")},
        "follows": follows,
        "routes": [_route(path, queries, follows) for path, queries in routes.items()],
    }


def _route(path: str, queries: list[str], follows: dict[str, str]) -> dict[str, Any]:
    """How often a route is asked for; ValueError if a parameter changes that follows nothing."""
    values: dict[str, set[str]] = {}
    for query in queries:
        for part in query.split("&"):
            name, _, value = part.partition("=")
            values.setdefault(name, set()).add(value)
    changing = [name for name, found in values.items() if len(found) > 1 and name not in follows]
    if changing:
        raise ValueError(f"{path}: {', '.join(changing)} changes; say what it follows (`follows`)")
    return {"path": path, "query": queries[-1], "interval_s": RECORD_S / len(queries)}


class Clients:
    """The process that plays the tabs."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(pages_replay.__file__))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._write(json.dumps(plan))

    def _write(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def tell(self, word: str) -> dict[str, float]:
        """`on` or `off`; what was asked since the word before."""
        self._write(word)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the clients failed: the reason stands above")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


def windows(studio: Studio, plan: dict[str, Any], pairs: int, seconds: float) -> list[Window]:
    """A B, B A, A B, …: half of the pairs begin with clients, so that a drift cancels."""
    clients, found = Clients(plan), []
    clients.tell("on")
    time.sleep(2 * SETTLE_S)  # the first answers hold what the run has written meanwhile
    for index in range(2 * pairs):
        has_clients = index % 4 in (1, 2)
        clients.tell("on" if has_clients else "off")
        time.sleep(SETTLE_S)
        clients.tell("on" if has_clients else "off")
        began, meter = time.time(), Meter(studio)
        time.sleep(seconds)
        work = meter.read()
        ended, said = time.time(), clients.tell("off")
        work |= {"replay_cpu": 1000 * said["cpu_s"] / seconds, "requests": said["requests"]}
        found.append(Window(index // 2, has_clients, began, ended, work))
        print(f"clients: window {index + 1} of {2 * pairs}", flush=True)
    clients.close()
    return found


def steps_in(steps: list[dict[str, float]], window: Window) -> list[dict[str, float]]:
    """The steps that lie in the window from their beginning to their end."""
    return [
        step
        for step in steps
        if step["time"] - step["seconds"] >= window.began and step["time"] <= window.ended
    ]


def compare(steps: list[dict[str, float]], found: list[Window]) -> dict[str, Any]:
    """Ratios of the mean time of a token and of a step, with clients / without."""
    pairs: dict[int, dict[bool, list[dict[str, float]]]] = {}
    for window in found:
        pairs.setdefault(window.pair, {})[window.has_clients] = steps_in(steps, window)
    whole = [pair for pair in pairs.values() if all(pair.values())]
    if not whole:
        raise RuntimeError("no window holds a whole step: make them longer (--window)")

    def mean(steps: list[dict[str, float]], by: str) -> float:
        return sum(step["seconds"] for step in steps) / sum(step[by] for step in steps)

    ratios = {
        name: paired_ratio([(mean(pair[False], by), mean(pair[True], by)) for pair in whole])
        for name, by in (("per_token", "tokens"), ("per_step", "one"))
    }
    sides = {}
    for side, has_clients in (("without", False), ("with", True)):
        own = [window for window in found if window.has_clients == has_clients]
        sides[side] = {
            name: sum(window.work[name] for window in own) / len(own)
            for name in ("server_cpu", "server_children_cpu", "replay_cpu")
        } | {
            "steps": sum(len(pair[has_clients]) for pair in whole),
            "requests": int(sum(window.work["requests"] for window in own)),
        }
    return {**ratios, **sides, "lost_pairs": len(pairs) - len(whole)}


def measure_clients(
    scene: Scene, options: Options, close_browser: Callable[[], None]
) -> dict[str, Any]:
    """Start a run, record a tab, close the browser, and compare windows of time."""
    runs_dir = scene.studio.runs_dir
    name = free_name(runs_dir, "trained")
    with ExitStack() as stack:
        run = stack.enter_context(training(runs_dir, name))
        if options.watch_big:
            stack.enter_context(scene.trainer(BIG))("go")
        plan = recorded(scene, BIG if options.watch_big else name, options.num_clients)
        close_browser()
        found = windows(scene.studio, plan, options.pairs, options.window_s)
        with RunReader(run.db_path) as reader:
            lasted = dict(reader.series("time/step_s"))
            steps = [
                {"time": row["time"], "seconds": lasted[row["step"]], "one": 1,
                 "tokens": row["num_tokens"]}
                for row in reader.steps()
            ]  # fmt: skip
    plan["headers"] = sorted(plan["headers"])  # not what stands in them: the cookie lets one in
    return {
        **vars(options), "plan": plan, **compare(steps, found),
        "steps": steps, "windows": [vars(window) for window in found],
    }  # fmt: skip
