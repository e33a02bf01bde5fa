"""The command that hands a trained model on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grpo_core.cli_options import (
    RUNS,
    RunName,
    RunsDir,
    console,
    quiet_libraries,
    settle_threads,
)
from grpo_core.runs import find_run

app = typer.Typer()


@app.command()
def export(
    run: RunName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is new or empty.")],
    step: Annotated[
        int | None, typer.Option(help="Of which checkpoint; the newest if not said.", min=0)
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="LoRA's adapters alone, not merged into the model.")
    ] = False,
    runs_dir: RunsDir = RUNS,
) -> None:
    """A run's model as a Hugging Face folder, with a model card and a script for TRL."""
    found = find_run(runs_dir, run)
    quiet_libraries()
    settle_threads()
    from grpo_core.export import export as write  # noqa: PLC0415  torch and transformers

    done = write(found, folder, step, adapter)
    for damaged in done.skipped:
        console.print(f"! passed over: {damaged}", markup=False, soft_wrap=True)
    said = f"step {done.step} of {run} in {folder}: {done.form.sentence}"
    console.print(said, markup=False, soft_wrap=True)
    script = folder / "trl" / "train_trl.py"
    about = f"{script} trains the same with TRL, but for this:"
    console.print(about if done.has_script else "no script for TRL:", markup=False, soft_wrap=True)
    for sentence in done.lost:
        console.print(f"  {sentence}", markup=False, soft_wrap=True)
