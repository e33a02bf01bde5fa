"""How the rows do on the bundled model: makes the numbers of `algorithms.md`.

    python tests/benchmarks/algorithms.py learn DIR [--seeds 0 1 2] [--rows dapo …]
    python tests/benchmarks/algorithms.py time DIR        # on an otherwise idle machine
    python tests/benchmarks/algorithms.py table DIR

`learn`: the bundled recipe with another row, 60 steps. `time`: four steps of each row from the same
weights, all rows in turn and then all of them again.
"""

import argparse
from pathlib import Path
from statistics import fmean, median

import yaml

from grpo_core.algorithms import ALGORITHMS
from grpo_core.cli import find_recipe
from grpo_core.config import RunConfig
from grpo_core.reader import RunReader
from grpo_core.recipe import parse_config
from grpo_core.runs import find_run, list_runs

STEPS = 60
ONE_UPDATE = ("rloo", "reinforce")
"""Rows without a ratio: the second update of the bundled recipe would be wrong for them."""


def recipe(row: str, seed: int, num_steps: int = STEPS, num_problems: int = 400) -> RunConfig:
    """The bundled recipe with the row as its paper has it."""
    values = yaml.safe_load(find_recipe("bundled").read_text(encoding="utf-8"))
    values["algorithm"] = {"name": row}
    values["evaluation"] = {"every": 10, "num_problems": num_problems}
    values["checkpoint"] = {"every": num_steps}
    if row in ONE_UPDATE:
        values["optim"]["updates_per_rollout"] = 1
    return parse_config({**values, "seed": seed, "num_steps": num_steps})


def learn(folder: Path, rows: list[str], seeds: list[int]) -> None:
    """Runs that are not there yet."""
    from grpo_core import launch

    for seed in seeds:
        for row in rows:
            if not (folder / f"{row}-s{seed}").exists():
                print(row, seed, launch.start(folder, f"{row}-s{seed}", recipe(row, seed)))


def time(folder: Path, rows: list[str]) -> None:
    """Short runs, in turn."""
    from grpo_core import launch

    for turn in range(2):
        for row in rows:
            launch.start(folder, f"time-{row}-{turn}", recipe(row, 7, 5, 8))


def series(folder: Path, name: str, metric: str) -> list[float]:
    """A metric of a run, step after step."""
    with RunReader(find_run(folder, name).db_path) as reader:
        return [value for _, value in reader.series(metric)]


def table(folder: Path, rows: list[str]) -> None:
    """The table in Markdown: mean (lowest to highest) over the seeds."""
    print(
        "| Row | Held-out at 10 | Held-out at 60 | Best | Length | KL | Entropy | s/step |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    runs = [run.name for run in list_runs(folder)]
    for row in rows:
        names = [name for name in runs if name.rpartition("-s")[0] == row]
        timed = [name for name in runs if name.startswith(f"time-{row}-")]
        accuracy = [series(folder, name, "eval/accuracy") for name in names]
        cells = [
            _spread([values[1] for values in accuracy], 100, 1),
            _spread([values[-1] for values in accuracy], 100, 1),
            _spread([max(values) for values in accuracy], 100, 1),
        ]
        for metric, digits in (
            ("completion/length_mean", 0),
            ("train/kl", 3),
            ("train/entropy", 3),
        ):
            ends = [fmean(series(folder, name, metric)[-5:]) for name in names]
            cells.append(_spread(ends, 1, digits))
        # the first step warms caches up
        steps = [s for name in timed for s in series(folder, name, "time/step_s")[1:]]
        cells.append(f"{median(steps):.2f}" if steps else "—")
        print(f"| `{row}` | " + " | ".join(cells) + " |")


def _spread(values: list[float], scale: float, digits: int) -> str:
    low, high = (f"{scale * edge:.{digits}f}" for edge in (min(values), max(values)))
    return f"{scale * fmean(values):.{digits}f} ({low}–{high})"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["learn", "time", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", default=list(ALGORITHMS), choices=list(ALGORITHMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    if given.what == "learn":
        learn(given.folder, given.rows, given.seeds)
    elif given.what == "time":
        time(given.folder, given.rows)
    else:
        table(given.folder, given.rows)


if __name__ == "__main__":
    main()
