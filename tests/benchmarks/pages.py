"""The Live page and the Inspector on large runs: waiting, browser work, server work, memory, and
what watching costs a training.

    python tests/benchmarks/pages.py OUT_DIR [--what open,group,tick,server,memory,clients]
    python tests/benchmarks/pages.py OUT_DIR --what memory --minutes 30
    python tests/benchmarks/pages.py OUT_DIR --what clients --pairs 30
    python tests/benchmarks/pages.py OUT_DIR --short

Writes OUT_DIR/pages-PART.json (every sample) and prints tables. Best on an otherwise idle machine.
The runs are written to OUT_DIR/runs at first (half a minute) and used again.

`open`: ms from the navigation, or from the click, until the first chart is drawn up to the last
step or completions are listed: loaded cold, loaded again, and come to from another page; for a run
of 20,000 steps and for one of two, where only the framework is left. `…_work` is the main thread's
work until it rests. `group`: from a group of 8 to one of 64 completions of 1,024 tokens in the open
page, and to the numbers of its tokens. `tick`: work while a step a second is written. `server`:
each read of the database with its plan, each route. `memory`: slopes over `--minutes`.

`clients`: a run of the bundled model whose policy is frozen; windows without clients (A) and with
three (B) in turns; the clients ask what a real tab was seen to ask. `--num-clients 0` measures the
noise; with `--watch-big` they watch the run of 20,000 steps, a step a second written to it in A and
B alike. Of use with 20 pairs and more.

Pages that look otherwise: `--place completion=.card`; the names stand in `pages_browser.Places`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
import streamlit
from benchmarks import big_run
from benchmarks.big_steps import Size
from benchmarks.pages_browser import Places
from benchmarks.pages_clients import Options, measure_clients
from benchmarks.pages_report import report
from benchmarks.pages_server import measure_server
from benchmarks.pages_tabs import (
    BIG,
    EMPTY,
    WIDE,
    Scene,
    measure_group,
    measure_memory,
    measure_open,
    measure_tick,
)
from browser.harness import CHROMIUM, FLAGS, Studio
from playwright.sync_api import sync_playwright

PARTS = ("open", "group", "tick", "server", "memory", "clients")


def main() -> None:
    """Read the command line and measure."""
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends as well
    given.out.mkdir(parents=True, exist_ok=True)
    studio = Studio(given.out)
    write_runs(studio.runs_dir, given.steps)
    result: dict[str, Any] = {"machine": machine(), "places": vars(given.places)}
    studio.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            result["machine"]["chromium"] = browser.version
            scene = Scene(studio, browser, given.places)
            for part in sorted(given.what, key=PARTS.index):
                started = time.perf_counter()
                result[part] = measure(part, scene, given)
                result[part]["took_s"] = time.perf_counter() - started
                write(given.out, part, result)
    finally:
        studio.kill()
    print(report(result))


def measure(part: str, scene: Scene, given: argparse.Namespace) -> dict[str, Any]:
    """One part; `clients` comes last, for it closes the browser."""
    if part == "open":
        return {"pages": measure_open(scene, given.repeats)}
    if part == "group":
        return measure_group(scene, given.repeats)
    if part == "tick":
        return measure_tick(scene, given.seconds)
    if part == "server":
        return measure_server(scene, given.route)
    if part == "memory":
        return measure_memory(scene, given.minutes, given.every)
    options = Options(given.num_clients, given.pairs, given.window, given.watch_big)
    return measure_clients(scene, options, scene.browser.close)


def write_runs(runs_dir: Path, steps: int) -> None:
    """The three runs, as far as they are not there."""
    if not (runs_dir / BIG).exists():
        big_run.write_big(runs_dir, BIG, Size(steps=steps))
    if not (runs_dir / EMPTY).exists():
        big_run.write_big(runs_dir, EMPTY, Size(steps=2, prompts=2))
    if not (runs_dir / WIDE).exists():
        big_run.write_wide(runs_dir, WIDE)


def write(out: Path, part: str, result: dict[str, Any]) -> None:
    """A part, with where it was measured."""
    shown = {name: result[name] for name in ("machine", "places", part)}
    (out / f"pages-{part}.json").write_text(json.dumps(shown, indent=1), encoding="utf-8")


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "cpus": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": os.getloadavg(), "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version, "streamlit": streamlit.__version__,
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line; `--short` shows in a minute or two that everything works."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--what", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--short", action="store_true", help="little of everything, for a trial")
    parser.add_argument("--steps", type=int, default=Size.steps, help="of the big run")
    parser.add_argument("--repeats", type=int, default=7, help="of `open` and `group`")
    parser.add_argument("--seconds", type=float, default=20, help="a window of `tick`")
    parser.add_argument("--minutes", type=float, default=30, help="of `memory`")
    parser.add_argument("--every", type=float, default=60, help="seconds between its samples")
    parser.add_argument("--num-clients", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=30, help="of windows, for `clients`")
    parser.add_argument("--window", type=float, default=12, help="its length in seconds")
    parser.add_argument("--watch-big", action="store_true", help="clients watch the big run")
    parser.add_argument("--place", action="append", default=[], help="NAME=VALUE of `Places`")
    parser.add_argument("--route", action="append", default=[], help="one more for `server`")
    given = parser.parse_args()
    unknown = [part for part in given.what if part not in PARTS]
    if unknown:
        parser.error(f"--what {','.join(unknown)}: there are {', '.join(PARTS)}")
    places = dict(place.partition("=")[::2] for place in given.place)
    names = [field.name for field in fields(Places)]
    if wrong := [name for name in places if name not in names]:
        parser.error(f"--place {', '.join(wrong)}: there are {', '.join(names)}")
    given.places = Places(**places)
    if given.short:
        given.repeats, given.seconds, given.minutes, given.every = 2, 5, 0.2, 4
        given.pairs, given.window = 3, 8
    return given


if __name__ == "__main__":
    main()
