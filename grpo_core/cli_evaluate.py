"""The command that asks models problems and says how many they solve."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from grpo_core.cli_options import RUNS, AsJson, RunsDir, console, quiet_libraries, settle_threads
from grpo_core.data_config import TaskName
from grpo_core.evaluation_files import as_csv, as_jsonl
from grpo_core.evaluation_pairs import comparison, differences, paired, said_p
from grpo_core.evaluation_report import answered, report
from grpo_core.evaluations import SETTINGS, Evaluation, find_evaluation, list_evaluations

if TYPE_CHECKING:
    from grpo_core.evaluation_job import OnBatch
    from grpo_core.evaluation_wish import Wish

app = typer.Typer()


Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|MODEL…",
        help="RUN, RUN@STEP (@0: as it began), a folder, a hub id, or an evaluation to go on with. "
        "Further ones are compared with the first.",
    ),
]
AskedTask = Annotated[
    TaskName | None, typer.Option(help="What is asked; a run's own task if not said.")
]
Data = Annotated[
    str | None, typer.Option(help="File or folder with the problems; of a folder the test.")
]
Samples = Annotated[
    int, typer.Option(help="Sampled for each problem, for pass@k and maj@k.", min=0, max=1024)
]
Limit = Annotated[
    int | None, typer.Option(help="So many problems, the same ones for every model.", min=1)
]
Temperature = Annotated[float, typer.Option(help="Of samples.", min=0.01, max=5)]
TopP = Annotated[float, typer.Option(help="Of samples.", min=0.01, max=1)]
Length = Annotated[
    int | None, typer.Option(help="Of a completion; as the run, or 512.", min=1, max=32768)
]
BatchSize = Annotated[
    int | None, typer.Option(help="Problems at a time; what a kill costs.", min=1)
]
Seed = Annotated[int, typer.Option(help="Of samples.", min=0, max=2**31 - 1)]
Out = Annotated[Path | None, typer.Option(help="Every completion into this file: .csv or .jsonl.")]


@app.command()
def evaluate(
    targets: Targets,
    task: AskedTask = None,
    data: Data = None,
    samples: Samples = 0,
    limit: Limit = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    max_new_tokens: Length = None,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="Of the evaluation.")] = None,
    out: Out = None,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Ask models problems that they were not trained on, and say how many they solve.

    Every completion is kept; the same command again goes on where it was left.
    """
    _check(targets, name, out)
    quiet_libraries()
    settle_threads()
    from grpo_core.evaluation_wish import Wish  # noqa: PLC0415  torch and transformers

    wish = Wish(
        task, data, limit, samples, temperature, top_p, max_new_tokens, batch_size, seed, name
    )
    _check_targets(runs_dir, targets, wish)
    done: list[Evaluation] = []
    for target in targets:
        done.append(_one(runs_dir, target, wish, quiet=as_json))
        if done[-1].status() != "completed":
            break  # somebody stopped it, and with it the rest of the question
    if out is not None:
        _write(out, done[0])
    if as_json:
        print(json.dumps(_as_json(done), indent=2))
    else:
        for evaluation in done:
            _show(report(evaluation), evaluation)
        for other in done[1:]:
            _show_pair(done[0], other)


def _check(targets: list[str], name: str | None, out: Path | None) -> None:
    if len(targets) > 1 and (name or out):
        raise ValueError("--name and --out are for one model at a time")
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"--out {out}: expected a name that ends in .csv or .jsonl")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise ValueError(f"--out {out}: name a file in a folder that is there")


def _check_targets(runs_dir: Path, targets: list[str], wish: Wish) -> None:
    """Refuse what cannot be done before anything is: the first of several may take hours."""
    from grpo_core import evaluation_job  # noqa: PLC0415  torch and transformers

    for target in targets:
        if _is_evaluation(runs_dir, target):
            if wish != type(wish)():
                raise ValueError(
                    f"{target}: is an evaluation with settings of its own; leave the options away"
                )
        else:
            evaluation_job.check(runs_dir, target, wish)


def _is_evaluation(runs_dir: Path, target: str) -> bool:
    return (runs_dir / target / SETTINGS).is_file()


def _one(runs_dir: Path, target: str, wish: Wish, quiet: bool) -> Evaluation:
    from grpo_core import evaluation_job  # noqa: PLC0415  torch and transformers

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    ) as progress:
        bar = progress.add_task(f"{target}: loading", total=None)
        on_batch = _teller(progress, bar, target, quiet)
        if _is_evaluation(runs_dir, target):
            return evaluation_job.go_on(find_evaluation(runs_dir, target), on_batch)
        return evaluation_job.evaluate_model(runs_dir, target, wish, on_batch)


def _teller(progress: Progress, bar: Any, target: str, quiet: bool) -> OnBatch:
    def on_batch(state: Any, seconds: float) -> None:
        progress.update(bar, completed=state.step, total=state.num_steps, description=target)
        if not quiet and not console.is_terminal:
            console.print(f"{target}: {state.step}/{state.num_steps}  {seconds:.1f} s")

    return on_batch


@app.command()
def evaluations(runs_dir: RunsDir = RUNS, as_json: AsJson = False) -> None:
    """List all evaluations, the newest first."""
    found, damaged = [], []
    for one in list_evaluations(runs_dir):
        try:
            found.append(report(one))
        except (ValueError, sqlite3.Error) as error:
            damaged.append(f"{one.name}: cannot be read: {error}")
    if as_json:
        print(json.dumps(found, indent=2))
    elif found:
        longest = max(len(row["name"]) for row in found)
        name = Column("evaluation", no_wrap=True, min_width=longest)  # what other commands ask for
        table = Table(name, "solved, %", "problems", "status", box=None)
        for row in found:
            greedy = row["greedy"]
            low, high = (100 * bound for bound in greedy["interval"])
            share = f"{100 * greedy['accuracy']:.1f}" if greedy["num"] else ""
            solved = f"{share} ({low:.1f} to {high:.1f})" if share else ""
            done = f"{row['num_done']:,}/{row['num_problems']:,}"
            table.add_row(row["name"], solved, done, row["status"])
        console.print(table)
    else:
        console.print(f"no evaluations in {runs_dir}; `grpo-studio evaluate RUN` makes one")
    for sentence in damaged:
        print(sentence, file=sys.stderr)


# --- what is said --------------------------------------------------------------------------------


def _as_json(done: list[Evaluation]) -> dict[str, Any]:
    """The report of one; of several `evaluations`, and `comparisons` of each with the first."""
    if len(done) == 1:
        return report(done[0])
    first = answered(done[0].db_path)
    return {
        "evaluations": [report(one) for one in done],
        "comparisons": [
            {
                "first": done[0].name,
                "second": other.name,
                **comparison(paired(first, answered(other.db_path))),
                "asked_differently": differences(done[0].settings(), other.settings()),
            }
            for other in done[1:]
        ],
    }


def _show(found: dict[str, Any], evaluation: Evaluation) -> None:
    console.print(
        f"[bold]{found['name']}[/bold]  {found['model']}  {evaluation.path}", soft_wrap=True
    )
    for message in found["notices"]:
        console.print(f"! {message}", markup=False, soft_wrap=True)
    greedy, sampled = found["greedy"], found["sampled"]
    if greedy["num"] < found["num_problems"]:
        console.print(
            f"{found['status']}: {greedy['num']:,} of {found['num_problems']:,} problems; the same "
            "command goes on",
            soft_wrap=True,
        )
    if not greedy["num"]:
        return
    console.print(
        f"{greedy['num_correct']:,} of {greedy['num']:,} problems are solved greedily: "
        f"{_share(greedy['accuracy'], greedy['interval'])}; {_percent(greedy['truncated'])} of "
        f"the completions are cut off, {_percent(greedy['unanswered'])} hold no answer",
        soft_wrap=True,
    )
    if sampled:
        table = Table("k", "pass@k", "maj@k", box=None)
        majority = {row["k"]: row for row in sampled["majority"]}
        for row in sampled["pass"]:
            other = majority.get(row["k"])
            texts = [_share(one["value"], one["interval"]) if one else "" for one in (row, other)]
            table.add_row(str(row["k"]), *texts)
        console.print(table)
    for kind in found["by"]:
        table = Table(kind["name"], "problems", "solved", box=None)
        for row in kind["rows"]:
            table.add_row(row["value"], f"{row['num']:,}", _share(row["accuracy"], row["interval"]))
        console.print(table)


def _show_pair(first: Evaluation, second: Evaluation) -> None:
    both = comparison(paired(answered(first.db_path), answered(second.db_path)))
    console.print(f"[bold]{second.name}[/bold] against {first.name}, greedily:")
    if not both["num"]:
        console.print("they have no problem in common")
        return
    low, high = (100 * bound for bound in both["interval"])
    console.print(
        f"{both['num']:,} problems in common, {both['gained']:,} gained, {both['lost']:,} lost: "
        f"{100 * both['difference']:+.1f} points (95 %: {low:+.1f} to {high:+.1f}), "
        f"McNemar {said_p(both['p_value'])}",
        soft_wrap=True,
    )
    if both["sampled"]:
        low, high = (100 * bound for bound in both["sampled"]["interval"])
        console.print(
            "the share of their samples that is right differs by "
            f"{100 * both['sampled']['difference']:+.1f} points (95 %: {low:+.1f} to {high:+.1f})",
            soft_wrap=True,
        )
    if both["num"] < max(both["num_first"], both["num_second"]):
        console.print(
            f"! not asked alike: {both['num_first']:,} and {both['num_second']:,} problems"
        )
    for what in differences(first.settings(), second.settings()):
        console.print(f"! not asked alike: {what}", markup=False)


def _share(value: float, interval: list[float]) -> str:
    return f"{_percent(value)} (95 %: {100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _write(out: Path, evaluation: Evaluation) -> None:
    """Every completion."""
    form = as_csv if out.suffix == ".csv" else as_jsonl
    try:
        out.write_bytes(form(evaluation.db_path))
    except OSError as error:
        raise ValueError(f"{out}: cannot be written: {error.strerror}") from None
