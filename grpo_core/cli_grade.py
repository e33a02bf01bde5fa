"""The command that judges recorded completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from grpo_core.cli_options import AsJson, console
from grpo_core.data_config import TaskName
from grpo_core.judge import Judge
from grpo_core.recorded import judged, read_recorded, report

app = typer.Typer()
MAX_SHOWN = 10
"""Rows that could not be judged, in the table."""


@app.command()
def grade(
    file: Annotated[
        Path, typer.Argument(help="JSONL, CSV or Parquet: the data set's columns and `completion`.")
    ],
    task: Annotated[TaskName, typer.Option(help="Says where the reference answer stands.")],
    answer_column: Annotated[
        str | None, typer.Option(help="Column with the answer; the task's if not said.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds for an answer that takes algebra.", min=0.01, max=600)
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Judge recorded completions, with the judge of training and evaluation."""
    recorded = read_recorded(file, task, answer_column)
    with Judge(timeout, is_ordered=task != "math") as judge:
        rows = judged(recorded, judge)
        if as_json:
            found = report(task, list(rows))
        else:
            shown = track(rows, "judging", len(recorded), console=console, transient=True)
            found = report(task, list(shown))
    if as_json:
        print(json.dumps(found, indent=2))  # ASCII: a text may hold half of a character
    else:
        _print(found, timeout)


def _print(found: dict[str, Any], timeout: float) -> None:
    num = found["total"] - found["ungradable"]
    if num:
        low, high = (100 * bound for bound in found["interval"])
        console.print(
            f"{found['correct']:,} of {num:,} completions are right: "
            f"{100 * found['accuracy']:.1f} % (95 %: {low:.1f} to {high:.1f})"
        )
        table = Table("answer found by", "completions", "right", box=None)
        for rule, counts in found["rules"].items():
            table.add_row(rule, f"{counts['num']:,}", f"{counts['correct']:,}")
        console.print(table)
    if found["undecided"]:
        console.print(
            f"! {found['undecided']} answers got no verdict within {timeout:g} s and count as wrong"
        )
    lost = [row for row in found["rows"] if row["correct"] is None]
    if lost:
        rows = (
            "row that cannot be judged does" if len(lost) == 1 else "rows that cannot be judged do"
        )
        console.print(f"! {len(lost)} {rows} not count:")
    for row in lost[:MAX_SHOWN]:
        console.print(f"  {row['where']}: {row['why']}", markup=False)
    if len(lost) > MAX_SHOWN:
        console.print(f"  … and {len(lost) - MAX_SHOWN} more; --json names all")
