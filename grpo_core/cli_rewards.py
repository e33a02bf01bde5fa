"""The commands about reward functions: sample, reward-test, apply-reward."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from grpo_core import rewards, trust
from grpo_core.cli_options import (
    RUNS,
    AsJson,
    RunName,
    RunsDir,
    console,
    leave,
    quiet_libraries,
    settle_threads,
)
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.records import Group
from grpo_core.reward_test import read_groups, report, stored_groups, to_rows
from grpo_core.rewards import RewardFunction
from grpo_core.runs import Run, find_run, write_atomically
from grpo_core.sandbox_probe import Protection, probe

app = typer.Typer()
MAX_SHOWN = 40
"""Completions of the table."""

File = Annotated[Path, typer.Argument(help="A Python file of reward functions.")]
Weights = Annotated[
    list[str] | None, typer.Option("--weight", help="function=number; 1 where nothing is said.")
]


@app.command()
def sample(
    run: RunName,
    problems: Annotated[
        int | None, typer.Option(help="Training problems; as in a step if not said.", min=1)
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(help="Completions of each; the run's if not said.", min=1, max=1024),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same completions.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A JSONL file; standard output if not said.")
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Fresh completions of a run's newest checkpoint, as rows for `reward-test --data`."""
    found = find_run(runs_dir, run)
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ValueError(f"--out {out}: name a file in a folder that exists")
    quiet_libraries()
    settle_threads()
    from grpo_core.fresh import sample_run  # noqa: PLC0415  torch and transformers

    fresh = sample_run(found, problems, group_size, seed)
    # ASCII: a text may hold half of a character; Parquet columns hold dates
    lines = [json.dumps(row, default=str) + "\n" for row in to_rows(fresh.groups)]
    said = f"{len(lines)} completions of {len(fresh.groups)} problems by {fresh.model}"
    if out is None:
        sys.stdout.writelines(lines)
        print(said, file=sys.stderr)
    else:
        _write(out, "".join(lines))
        console.print(f"{said}, in {out}", markup=False, soft_wrap=True)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise ValueError(f"--out {path}: cannot be written: {error.strerror}") from None


@app.command("reward-test")
def reward_test(
    file: File,
    run: Annotated[str | None, typer.Option(help="A run with completions.")] = None,
    step: Annotated[int | None, typer.Option(help="Which step; the newest if not said.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A JSONL file: prompt, completion, any columns.")
    ] = None,
    weights: Weights = None,
    completion_format: Annotated[
        str, typer.Option("--format", help="text, or messages for TRL's conversational form.")
    ] = "text",
    timeout: Annotated[float, typer.Option(help="Seconds for each call.", min=0.01)] = 2.0,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """What the functions of FILE give to completions, in the sandbox that training uses."""
    if (run is None) == (data is None):
        raise ValueError("say where completions come from: either --run RUN or --data FILE.jsonl")
    if completion_format not in ("text", "messages"):
        raise ValueError(f"--format {completion_format}: expected text or messages")
    functions = _functions(file, weights, completion_format)
    if data is not None:
        groups, step = read_groups(data), 0
    else:
        assert run is not None
        groups, step = _of_run(find_run(runs_dir, run), step)
    protection = probe()
    found = report(functions, groups, step, timeout, protection)
    if as_json:
        print(json.dumps(found, indent=2))  # ASCII: a text may hold half of a character
    else:
        _print(found, protection)


def _functions(file: Path, weights: list[str] | None, form: str = "text") -> list[RewardFunction]:
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None
    try:
        functions = rewards.from_source(source, _weights(weights or []), file.name, form)
        rewards.check_weights(functions)
        return functions
    except ValueError as error:
        said = str(error)
        raise ValueError(said if file.name in said else f"{file.name}, {said}") from None


def _weights(texts: list[str]) -> dict[str, float]:
    weights = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise ValueError(f"--weight {text}: write function=number") from None
    return weights


def _of_run(run: Run, step: int | None) -> tuple[list[Group], int]:
    if not run.db_path.exists():
        raise ValueError(f"{run.name}: has written nothing yet (it is {run.status()})")
    column = load_recipe(run.config_path).data.question_column
    with RunReader(run.db_path) as reader:
        last = reader.last_step()
        wanted = last if step is None else step
        groups = stored_groups(reader, wanted, column) if wanted is not None else []
    if not groups or wanted is None:
        newest = f"; the newest is {last}" if last else ""
        raise ValueError(f"{run.name}: has no step {step or 1}{newest}")
    return groups, wanted


def _print(found: dict[str, Any], protection: Protection) -> None:
    completions = found["completions"]
    heads = [Column(head, no_wrap=True) for head in ("reward", *found["functions"], "ms", "")]
    last = Column("completion", no_wrap=True, overflow="ellipsis", ratio=1)
    table = Table(*heads, last, box=None, expand=True)
    for one in completions[:MAX_SHOWN]:
        parts = [_short(one["parts"][name]) for name in found["functions"]]
        said = one["error"]["message"] if one["error"] else repr(one["text"])
        outcome = "" if one["outcome"] == "ok" else one["outcome"]
        milliseconds = f"{1000 * one['seconds']:.1f}"
        cells = [_short(one["reward"]), *parts, milliseconds, outcome, said]
        table.add_row(*(Text(cell) for cell in cells))  # as text: what is in it is not markup
    console.print(table)
    if len(completions) > MAX_SHOWN:
        console.print(f"… and {len(completions) - MAX_SHOWN} more; --json shows all")
    given = [one["reward"] for one in completions if one["reward"] is not None]
    mean = f"mean {fmean(given):.3f}, from {min(given):.3f} to {max(given):.3f}" if given else ""
    faults = sum(one["error"] is not None for one in completions)
    console.print(f"{len(completions)} completions  {mean}  {faults} fault{'s' * (faults != 1)}")
    for warning in found["warnings"]:
        console.print(f"! {warning['message']} {warning['remedy']}", markup=False)
    console.print(protection.sentence)


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


@app.command("apply-reward")
def apply_reward(
    run: RunName,
    file: File,
    runs_dir: RunsDir = RUNS,
    weights: Weights = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the rewards in force and add these.")
    ] = False,
) -> None:
    """Make the functions of FILE the run's rewards from its next step on."""
    found = find_run(runs_dir, run)
    functions = _functions(file, weights)
    if keep:
        names = {function.name for function in functions}
        functions = [f for f in _in_force(found) if f.name not in names] + functions
    leave(found, trust.rewards_command(found, functions))


def _in_force(run: Run) -> list[RewardFunction]:
    with RunReader(run.db_path) as reader:
        events = reader.events(kinds=["reward_version"])
    version = events[-1]["detail"]["version"] if events else None
    return rewards.load_version(run.rewards, version) if version else []
