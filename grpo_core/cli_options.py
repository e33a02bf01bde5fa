"""Options and small things that the commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from grpo_core.assets import assets_dir
from grpo_core.runs import Command, Run

console = Console(highlight=False)

RunsDir = Annotated[
    Path, typer.Option("--runs-dir", help="Folder that holds the runs.", show_default=True)
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]
RecipeName = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a shipped recipe.", metavar="RECIPE")
]
SetOptions = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, as often as needed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
RUNS = Path("runs")
BUSY_PERCENT = 40
"""Of all cores, from which on others want them too."""


def find_recipe(recipe: str) -> Path:
    """The recipe as a file: a path, or the name of one that ships with the package."""
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = assets_dir() / "recipes"
    if (shipped / f"{recipe}.yaml").is_file():
        return shipped / f"{recipe}.yaml"
    names = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
    raise ValueError(f"{recipe}: neither a recipe file nor a shipped recipe (shipped: {names})")


def quiet_libraries() -> None:
    """Environment that the libraries read when they load; what a person has set stays."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def settle_threads() -> None:
    """How the threads of a CPU wait for each other, read when torch loads; what a person has set
    stays.

    Between two small operations a thread that sleeps is woken too late: spinning for a moment
    halves the step of a small model. But where another program wants the same cores, threads that
    spin wait for one that is not running: two such runs at once take three times as long as two
    that sleep.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        return
    if psutil.cpu_percent(interval=0.2) > BUSY_PERCENT:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = "2000"  # less than 0.1 ms


def leave(run: Run, command: Command) -> None:
    """Put a command into the run's inbox and say when it takes effect."""
    run.send(command)
    when = "from its next step on" if run.is_live() else f"when it goes on (it is {run.status()})"
    console.print(f"{run.name} is changed {when}")
