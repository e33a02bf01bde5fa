"""Options and small things that the commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(highlight=False)

RunsDir = Annotated[
    Path, typer.Option("--runs-dir", help="Folder that holds the runs.", show_default=True)
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
RUNS = Path("runs")


def quiet_libraries() -> None:
    """Environment that the libraries read when they load; what a person has set stays."""
    # Spinning OpenMP threads slow everything else on a small machine down; set before torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
