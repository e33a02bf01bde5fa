"""Several runs one after another, so that their times can be compared. A thread of the server waits
for each and starts the next; the runs themselves are ordinary ones that survive the server. What
is planned lies in `.studio/series.json` beside the runs: after a restart it can go on.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from grpo_core.assets import assets_dir
from grpo_core.recipe import load_recipe
from grpo_core.runs import Command, Run, find_run, write_atomically
from studio import data, jobs

POLL_S = 0.5
MOST_SEEDS = 5
ENDED = ("completed", "stopped", "failed", "crashed")


@dataclass(frozen=True)
class Planned:
    """A run of a series."""

    name: str
    recipe: str
    """Of a shipped recipe."""
    overrides: tuple[str, ...] = ()

    def run(self, runs_dir: Path) -> Run | None:
        """The run of this name; None before it is started. Raises ValueError where that is
        another run than the one that is planned."""
        try:
            run = find_run(runs_dir, self.name)
        except ValueError:
            return None
        path = assets_dir() / "recipes" / f"{self.recipe}.yaml"
        if data.config_of(run) != load_recipe(path, list(self.overrides)):
            raise ValueError(
                f"{self.name}: a run of this name exists and has other settings; delete it first"
            )
        return run


def pair(num_seeds: int, own_critic: bool) -> list[Planned]:
    """GRPO and PPO in turn, seed after seed: what slows the machine down hits both."""
    arms: dict[str, tuple[str, tuple[str, ...]]] = {
        "grpo": ("compare_grpo", ()),
        "ppo": ("compare_ppo", ()),
    }
    if own_critic:
        arms["ppo-own"] = ("compare_ppo", ("critic.model=own",))
    return [
        Planned(f"pair-{arm}-{seed}", recipe, (*more, f"seed={seed}"))
        for seed in range(num_seeds)
        for arm, (recipe, more) in arms.items()
    ]


@dataclass
class _Work:
    """What the thread of one folder does."""

    thread: threading.Thread | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    problem: str = ""


_works: dict[Path, _Work] = {}
_lock = threading.Lock()


def begin(runs_dir: Path, planned: Sequence[Planned]) -> None:
    """Do what is planned, as far as it is not done yet; nothing where it is under way. Raises
    ValueError where one of the names is taken by another run, or the disk refuses."""
    for one in planned:
        one.run(runs_dir)
    with _lock, jobs.locked(runs_dir / ".studio"):
        work = _works.setdefault(runs_dir, _Work())
        if work.thread is not None and work.thread.is_alive():
            return
        write_atomically(_plan_path(runs_dir), json.dumps([asdict(one) for one in planned]))
        work.stop, work.problem = threading.Event(), ""
        work.thread = threading.Thread(
            target=_follow, args=(runs_dir, list(planned), work), name="series", daemon=True
        )
        work.thread.start()


def stop(runs_dir: Path) -> None:
    """Start no further run, and stop the one that is training."""
    work = _works.get(runs_dir)
    if work is not None:
        work.stop.set()


def is_stopping(runs_dir: Path) -> bool:
    """Whether it waits for the run that was told to stop."""
    work = _works.get(runs_dir)
    return is_busy(runs_dir) and work is not None and work.stop.is_set()


def plan(runs_dir: Path) -> list[Planned]:
    """What was planned last, nothing where that cannot be read or is not of this page's making."""
    try:
        rows = json.loads(_plan_path(runs_dir).read_text(encoding="utf-8"))
        wanted = [Planned(row["name"], row["recipe"], tuple(row["overrides"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    # a folder that came from elsewhere must not say what is trained here
    return wanted if set(wanted) <= set(pair(MOST_SEEDS, own_critic=True)) else []


def is_busy(runs_dir: Path) -> bool:
    """Whether a thread here is at it."""
    work = _works.get(runs_dir)
    return work is not None and work.thread is not None and work.thread.is_alive()


def problem(runs_dir: Path) -> str:
    """Why the last series ended early, empty if it did not."""
    work = _works.get(runs_dir)
    return work.problem if work is not None else ""


def _plan_path(runs_dir: Path) -> Path:
    return runs_dir / ".studio" / "series.json"


def _follow(runs_dir: Path, planned: list[Planned], work: _Work) -> None:
    """The thread: each run in its turn. What goes wrong ends the series with a sentence."""
    try:
        for one in planned:
            run = _start(runs_dir, one)
            _wait(run, work.stop)
            if work.stop.is_set():
                return
            if run.status() != "completed":
                work.problem = f"{one.name}: {data.now(run)['message'] or run.status()}"
                return
    except FileNotFoundError:
        work.problem = f"{one.name}: the folder of this run is gone"
    except (OSError, ValueError) as error:
        work.problem = str(error)


def _wait(run: Run, stop: threading.Event) -> None:
    """Until the run has ended; a stop is handed on to it once, and it is waited for all the same:
    a series that goes on at once would else find it still at work."""
    is_told = False
    while run.status() not in ENDED:
        if not run.path.exists():
            raise FileNotFoundError(run.path)
        if stop.is_set() and not is_told:
            run.send(Command("stop"))
            is_told = True
        time.sleep(POLL_S) if is_told else stop.wait(POLL_S)


def _start(runs_dir: Path, one: Planned) -> Run:
    run = one.run(runs_dir)
    if run is None:
        asked = f"{one}{time.time_ns()}"  # a deleted run may be trained again
        request = hashlib.sha256(asked.encode()).hexdigest()[:32]
        return jobs.start(runs_dir, request, jobs.Start(one.recipe, one.name, one.overrides))
    if run.status() in ("stopped", "failed", "crashed"):
        jobs.resume(run)
    return run
