"""The whole comparison of GRPO and PPO: every regime and arm, tuned, frozen, and run on new seeds.

    python -m studio.theory.race_study FOLDER

For each arm the step size (and with a critic its rate) is the one with the largest mean area under
V / V* on the tuning seeds; with it the arm runs on fresh seeds. The folder holds one file for each
finished regime and arm, so that a study that is stopped goes on where it was; `progress.json`; and
at the end `study.json`. Nothing in them depends on how often it was stopped, except seconds.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import grpo_core
from grpo_core.runs import write_atomically
from studio.theory.race_prompts import REGIMES
from studio.theory.race_run import ARMS, CLIP, EPOCHS, EVERY, SAMPLES, Setting, learn
from studio.theory.race_score import ahead, areas, at_compute, lead
from studio.theory.sampled import Estimate, mean_of

Floats = NDArray[np.float64]
Progress = Callable[[int, int, str], None]

NUMBERS = 1
"""To be raised when the same protocol gives other numbers: old results are then not used."""
SEEDS = (*range(100, 124),)
GROUP_ARMS = ("loo", "zscore")
CRITIC_ARMS = ("ppo", "ppo_lam1", "ppo_whiten", "ppo_spread")
RHO = 1.0
"""Size of the critic over that of the actor, where compute is compared."""
AXES = {"iterations": 0.0, "compute": RHO}


@dataclass(frozen=True)
class Protocol:
    """What is tried before a setting is frozen."""

    steps: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    tuning_seeds: tuple[int, ...] = (*range(8),)

    def grid(self, arm: str) -> tuple[Setting, ...]:
        """All settings of an arm; without a critic only step sizes."""
        rates = self.rates if ARMS[arm].has_critic else (1.0,)
        return tuple(Setting(step, rate) for step in self.steps for rate in rates)


PROTOCOL = Protocol()


def key_of(
    regimes: Sequence[str] = tuple(REGIMES),
    seeds: Sequence[int] = SEEDS,
    protocol: Protocol = PROTOCOL,
) -> str:
    """Names a study's numbers: the same key, the same numbers."""
    rules = [NUMBERS, CLIP, EPOCHS, EVERY, SAMPLES, asdict(protocol), list(seeds)]
    kinds = [[name, asdict(REGIMES[name])] for name in regimes]
    arms = [[name, asdict(arm)] for name, arm in ARMS.items()]
    return hashlib.sha256(json.dumps([rules, kinds, arms]).encode()).hexdigest()[:16]


def run_study(
    folder: Path,
    *,
    regimes: Sequence[str] = tuple(REGIMES),
    seeds: Sequence[int] = SEEDS,
    protocol: Protocol = PROTOCOL,
    progress: Progress | None = None,
) -> None:
    """Run what is not in the folder yet. `progress(done, total, what)` before each part and at the
    end. Raises KeyError on an unknown regime, ValueError with fewer than two seeds."""
    if len(seeds) < 2:
        raise ValueError("A study needs two seeds or more: its standard errors are over seeds.")
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(regime, arm) for regime in regimes for arm in ARMS]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for done, (regime, arm) in enumerate(parts):
        what = f"{regime}: {ARMS[arm].name}"
        _report(folder, done, len(parts), _seconds(found), what, progress)
        found[regime, arm] = _part(folder, regime, arm, tuple(seeds), protocol)
    study = {
        "key": key_of(regimes, seeds, protocol),
        "made_with": {
            "grpo_studio": grpo_core.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "seconds": _seconds(found),
        "protocol": {**asdict(protocol), "seeds": list(seeds), "rho": RHO},
        "regimes": {
            regime: _regime(regime, {arm: found[regime, arm] for arm in ARMS}) for regime in regimes
        },
    }
    write_atomically(folder / "study.json", json.dumps(study, indent=1))
    _report(folder, len(parts), len(parts), _seconds(found), "finished", progress)


def _seconds(found: dict[tuple[str, str], dict[str, Any]]) -> float:
    return round(sum(part["seconds"] for part in found.values()), 1)


def _report(
    folder: Path, done: int, total: int, seconds: float, what: str, progress: Progress | None
) -> None:
    """`seconds`: processor time of all parts done, those of earlier attempts too."""
    now = {"done": done, "total": total, "seconds": seconds, "what": what}
    write_atomically(folder / "progress.json", json.dumps(now), sync=False)
    if progress is not None:
        progress(done, total, what)


def _part(
    folder: Path, regime: str, arm: str, seeds: tuple[int, ...], protocol: Protocol
) -> dict[str, Any]:
    """One regime and arm: from its file, or worked out and written."""
    path, key = folder / f"{regime}.{arm}.json", key_of([regime], seeds, protocol)
    kept = _read(path)
    if kept is not None and kept.get("key") == key:
        return kept
    began = time.process_time()
    settings = protocol.grid(arm)
    tuning_XSE = learn(regime, protocol.tuning_seeds, ARMS[arm], settings)
    best = int(tuning_XSE.mean((1, 2)).argmax())
    chosen = settings[best]
    curve_SE = learn(regime, seeds, ARMS[arm], (chosen,))[0]
    part = {
        "key": key,
        "step": chosen.step,
        "rate": chosen.rate if ARMS[arm].has_critic else None,
        "step_on_edge": chosen.step in (protocol.steps[0], protocol.steps[-1]),
        "rate_on_edge": ARMS[arm].has_critic
        and chosen.rate in (protocol.rates[0], protocol.rates[-1]),
        "tuning": {
            axis: float(areas(_by(axis, arm, tuning_XSE[best])).mean()) for axis in AXES
        },
        "curves": curve_SE.tolist(),
    }  # fmt: skip
    part["seconds"] = round(time.process_time() - began, 2)
    write_atomically(path, json.dumps(part))
    return part


def _by(axis: str, arm: str, curve_SE: Floats) -> Floats:
    return at_compute(curve_SE, AXES[axis]) if ARMS[arm].has_critic else curve_SE


def _regime(regime: str, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The table of one regime, from its parts."""
    curves = {arm: np.array(part["curves"]) for arm, part in parts.items()}
    best = {axis: _best(axis, parts) for axis in AXES}
    pairs = [(group, critic) for group in GROUP_ARMS for critic in CRITIC_ARMS]
    kept = ("step", "rate", "step_on_edge", "rate_on_edge", "tuning")
    return {
        "says": REGIMES[regime].says,
        "iterations": [EVERY * e for e in range(curves["loo"].shape[1])],
        "arms": {
            arm: {
                "name": ARMS[arm].name,
                **{name: part[name] for name in kept},
                **{axis: _both(mean_of(areas(_by(axis, arm, curves[arm])))) for axis in AXES},
                "mean": curves[arm].mean(0).tolist(),
                "se": (curves[arm].std(0, ddof=1) / np.sqrt(len(curves[arm]))).tolist(),
            }
            for arm, part in parts.items()
        },
        "pairs": [_pair(*pair, axis, curves) for axis in AXES for pair in pairs],
        "best": {axis: _pair(*best[axis], axis, curves) for axis in AXES},
    }


def _best(axis: str, parts: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The better arm of each side, by the tuning seeds: those that judge it have not chosen it."""

    def area(arm: str) -> float:
        return float(parts[arm]["tuning"][axis])

    return max(GROUP_ARMS, key=area), max(CRITIC_ARMS, key=area)


def _pair(group: str, critic: str, axis: str, curves: dict[str, Floats]) -> dict[str, Any]:
    difference = lead(curves[group], curves[critic], AXES[axis])
    found = {"group": group, "critic": critic, "by": axis, "ahead": ahead(difference)}
    return {**found, **_both(difference)}


def _both(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "se": found.se}


def _read(path: Path) -> dict[str, Any] | None:
    """None where there is no such file, or one that was damaged: it is then made again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_study(folder: Path, key: str | None = None) -> dict[str, Any] | None:
    """`study.json`, or None where there is none yet or it is another `key`'s.

    `regimes`: by name `arms` (area `iterations` and `compute` as `{value, se}`, curve `mean` and
    `se` at `iterations`, chosen `step` and `rate` and whether on the edge of the grid), `pairs`
    (GRPO minus PPO, `by` each axis, and who is `ahead`), and `best`: of the arms that the tuning
    seeds chose.
    """
    found = _read(folder / "study.json")
    return found if found is not None and key in (None, found.get("key")) else None


def read_progress(folder: Path) -> dict[str, Any] | None:
    """`{done, total, seconds, what}`, or None before the first part."""
    return _read(folder / "progress.json")


def worker_of(folder: Path) -> int | None:
    """The id of the process that is at work in the folder, None where there is none."""
    try:
        with (folder / "lock").open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = file.read(20)
                return int(said) if said.isdecimal() else None
    except OSError:
        pass
    return None


def main(argv: Sequence[str] | None = None) -> None:
    """A study as a process of its own; one at a time in a folder."""
    parser = argparse.ArgumentParser(prog="python -m studio.theory.race_study")
    parser.add_argument("folder", type=Path, help="where results are kept")
    parser.add_argument("--regimes", nargs="+", choices=tuple(REGIMES), default=tuple(REGIMES))
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    with (args.folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.exit(0, "another process is at it\n")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        run_study(
            args.folder,
            regimes=args.regimes,
            progress=lambda done, total, what: print(f"{done} of {total}: {what}", flush=True),
        )


if __name__ == "__main__":
    main()
