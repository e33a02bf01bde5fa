"""What a person waits for, and what a tab that is left open costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import big_run
from benchmarks.pages_browser import Meter, Places, Wanted, Watched, server_rss_mb
from benchmarks.pages_report import slope
from browser.harness import Studio

from grpo_core.reader import RunReader
from grpo_core.runs import find_run

BIG, EMPTY, WIDE = "big", "empty", "wide"
WIDE_GROUP = 64
SETTLE_S = 4


@dataclass
class Scene:
    """A studio with the three runs, and a browser that looks at it."""

    studio: Studio
    browser: Any
    places: Places

    def last_step(self, run: str) -> int:
        """The newest step of a run."""
        with RunReader(find_run(self.studio.runs_dir, run).db_path) as reader:
            return reader.last_step() or 0

    def live(self, run: str) -> tuple[str, Wanted]:
        """The Live page of a run, and that its first chart is drawn up to the last step."""
        ready = self.places.live_ready.format(run=run, step=self.last_step(run))
        return self.places.live.format(run=run), Wanted(ready, painted=True)

    def inspector(self, run: str, step: int) -> tuple[str, Wanted]:
        """The Inspector on a step, and that completions are listed."""
        path = self.places.inspector.format(run=run, step=step)
        return path, Wanted(self.places.completion)

    @contextmanager
    def trainer(self, run: str) -> Iterator[Callable[[str], None]]:
        """The pretended trainer of a run, in a process of its own; takes `go` and `wait`."""
        process = subprocess.Popen(
            [sys.executable, str(Path(big_run.__file__)), "grow", str(self.studio.runs_dir), run],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        stdin, stdout = process.stdin, process.stdout
        assert stdin and stdout
        if stdout.readline() != "ready\n":
            raise RuntimeError(f"{run}: its trainer did not begin")

        def tell(word: str) -> None:
            stdin.write(f"{word}\n")
            stdin.flush()

        try:
            yield tell
        finally:
            stdin.close()
            process.wait(30)


def measure_open(scene: Scene, repeats: int) -> dict[str, Any]:
    """ms until a page is of use: loaded cold, loaded again, and come to from another page."""
    first = Watched(scene.browser, scene.studio)
    cookies = first.cookies()
    first.close()
    found: dict[str, Any] = {}
    pages = {
        "live": (scene.places.live_link, {run: scene.live(run) for run in (BIG, EMPTY)}),
        "inspector": (
            scene.places.inspector_link,
            {run: scene.inspector(run, max(1, scene.last_step(run) // 2)) for run in (BIG, EMPTY)},
        ),
    }
    for page, (link, runs) in pages.items():
        for run, (path, wanted) in runs.items():
            samples = [_opened(scene, cookies, path, link, wanted) for _ in range(repeats)]
            columns = {name: [sample[name] for sample in samples] for name in samples[0]}
            found[f"{page}, {run} run"] = {
                name: {"median": median(values), "all": values} for name, values in columns.items()
            }
    return found


def _opened(
    scene: Scene, cookies: list[Any], path: str, link: str, wanted: Wanted
) -> dict[str, float]:
    """Each way to a page, once; `…_work`: ms of the main thread until it rests."""
    watched = Watched(scene.browser, scene.studio, cookies)
    found = {}
    found["cold"] = watched.load(path, wanted)
    watched.until_quiet()
    found["cold_work"] = 1000 * watched.metrics()["TaskDuration"]
    found["again"] = watched.load(path, wanted)
    watched.until_quiet()
    watched.act(f"link:{scene.places.elsewhere_link}", Wanted(scene.places.elsewhere_ready))
    watched.until_quiet()
    before = watched.metrics()["TaskDuration"]
    found["switch"] = watched.act(f"link:{link}", wanted)
    watched.until_quiet()
    found["switch_work"] = 1000 * (watched.metrics()["TaskDuration"] - before)
    watched.close()
    return found


def measure_group(scene: Scene, repeats: int) -> dict[str, Any]:
    """From a group of 8 to one of 64 x 1,024 in the open page, then to its tokens' numbers."""
    samples = []
    for _ in range(repeats):
        watched = Watched(scene.browser, scene.studio)
        watched.load(*scene.inspector(WIDE, 1))
        watched.until_quiet()
        sample = {"before": watched.size()}
        places = scene.places
        steps = {
            "group": (places.to_wide, Wanted(places.completion, WIDE_GROUP)),
            "tokens": (places.to_tokens, Wanted(places.tokens_ready)),
        }
        for name, (what, wanted) in steps.items():
            if not what:
                continue
            before = watched.metrics()["TaskDuration"]
            ready = watched.act(what, wanted)
            watched.until_quiet()
            work = 1000 * (watched.metrics()["TaskDuration"] - before)
            sample[name] = {"ready": ready, "work": work, **watched.size()}
        samples.append(sample)
        watched.close()
    return {
        name: {key: median(s[name][key] for s in samples) for key in values}
        for name, values in samples[0].items()
    } | {"all": samples}


def measure_tick(scene: Scene, seconds: float) -> dict[str, Any]:
    """Work in each second while the Live page is watched: nothing new, then a step a second."""
    watched = Watched(scene.browser, scene.studio)
    found: dict[str, Any] = {}
    with scene.trainer(BIG) as tell:
        watched.load(*scene.live(BIG))
        watched.until_quiet(20)
        for name, word in (("idle", "wait"), ("growing", "go")):
            tell(word)
            watched.wait(SETTLE_S)
            first, meter = watched.tab.number("step"), Meter(scene.studio, watched)
            watched.wait(seconds)
            found[name] = meter.read() | {
                "steps": watched.tab.number("step") - first,
                "charts_visible": watched.charts_visible(),
            }
    watched.close()
    return found


def measure_memory(scene: Scene, minutes: float, every_s: float) -> dict[str, Any]:
    """Heap, nodes and the server's memory of a Live page that is watched for long."""
    watched = Watched(scene.browser, scene.studio)
    samples: list[dict[str, float]] = []
    with scene.trainer(BIG) as tell:
        watched.load(*scene.live(BIG))
        tell("go")
        watched.wait(SETTLE_S)
        for index in range(int(60 * minutes / every_s) + 1):
            if index:
                watched.wait(every_s)
            sizes = watched.size() | {"server_rss_mb": server_rss_mb(scene.studio)}
            samples.append({"hours": index * every_s / 3600, **sizes})
            print("memory:", *(f"{name} {value:.4g}" for name, value in sizes.items()), flush=True)
        last = watched.tab.number("step")
    watched.close()
    hours = [sample.pop("hours") for sample in samples]
    found = {name: slope(hours, [sample[name] for sample in samples]) for name in samples[0]}
    return {"slopes_per_hour": found, "hours": hours, "samples": samples, "last_step": last}
