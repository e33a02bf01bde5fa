"""The commands that look and change nothing: runs, show, metrics, groups, prompts, check."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from grpo_core.cli_options import (
    RUNS,
    AsJson,
    RecipeName,
    RunName,
    RunsDir,
    SetOptions,
    console,
    find_recipe,
    quiet_libraries,
)
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.runs import Run, find_run, list_runs
from grpo_core.tasks import load_task

app = typer.Typer()


def summary(run: Run) -> dict[str, Any]:
    """What `show --json` prints, without the metrics of runs that have not begun."""
    state = run.state()
    metrics: dict[str, float] = {}
    if run.db_path.exists():
        with RunReader(run.db_path) as reader:
            metrics = reader.last_metrics()
    config = load_recipe(run.config_path)
    return {
        "name": run.name,
        "status": run.status(),
        "step": state.step if state else 0,
        "num_steps": state.num_steps if state else config.num_steps,
        "message": state.message if state else "",
        "path": str(run.path.absolute()),
        "config": config.model_dump(mode="json"),
        "metrics": metrics,
    }


@app.command()
def runs(runs_dir: RunsDir = RUNS, as_json: AsJson = False) -> None:
    """List all runs, the newest first."""
    rows = [summary(run) for run in list_runs(runs_dir)]
    if as_json:
        _print_json(rows)
        return
    table = Table("run", "status", "step", "held-out", "reward", box=None)
    for row in rows:
        numbers = [row["metrics"].get(key) for key in ("eval/accuracy", "reward/mean")]
        shown = ["" if number is None else f"{number:.3f}" for number in numbers]
        table.add_row(row["name"], row["status"], f"{row['step']}/{row['num_steps']}", *shown)
    console.print(
        table if rows else f"no runs in {runs_dir}; `grpo-studio train bundled` makes one"
    )


@app.command()
def show(run: RunName, runs_dir: RunsDir = RUNS, as_json: AsJson = False) -> None:
    """Status, settings and last metrics of a run."""
    facts = summary(find_run(runs_dir, run))
    if as_json:
        _print_json(facts)
        return
    console.print(
        f"[bold]{run}[/bold]  {facts['status']}  step {facts['step']}/{facts['num_steps']}"
    )
    if facts["message"]:
        console.print(facts["message"], markup=False)
    table = Table("metric", "last value", box=None)
    for name, value in sorted(facts["metrics"].items()):
        table.add_row(name, f"{value:.6g}")
    console.print(table)


@app.command()
def metrics(
    run: RunName,
    runs_dir: RunsDir = RUNS,
    format: Annotated[str, typer.Option(help="csv or jsonl")] = "csv",
) -> None:
    """All metrics of a run: step, name, value."""
    if format not in ("csv", "jsonl"):
        raise ValueError(f"--format {format}: expected csv or jsonl")
    with _reader(find_run(runs_dir, run)) as reader:
        rows = reader.metrics()["rows"]
    if format == "csv":
        print("step,name,value")
    for row in rows:
        if format == "csv":
            print(f"{row['step']},{row['name']},{row['value']!r}")
        else:
            print(json.dumps({key: row[key] for key in ("step", "name", "value")}))


@app.command()
def groups(
    run: RunName,
    step: Annotated[int, typer.Option(help="Which step.")],
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """The groups of a step: prompts, completions, rewards, advantages."""
    with _reader(find_run(runs_dir, run)) as reader:
        found, last = reader.groups(step), reader.last_step()
    if not found:
        raise ValueError(f"{run}: has no step {step}; the newest is {last}")
    keys = (
        "text",
        "reward",
        "parts",
        "advantage",
        "outcome",
        "num_tokens",
        "finish",
        "correct",
        "error",
        "printed",
    )
    rows = [
        {
            "problem_id": group["problem_id"],
            "prompt": group["prompt"],
            "answer": group["answer"],
            "completions": [{key: one[key] for key in keys} for one in group["rollouts"]],
        }
        for group in found
    ]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        console.print(f"{row['prompt']!r}  answer {row['answer']!r}", markup=False, style="bold")
        for one in sorted(row["completions"], key=lambda c: -(c["advantage"] or 0)):
            reward, advantage = _short(one["reward"]), _short(one["advantage"])
            head = f"  reward {reward}  advantage {advantage}  {one['outcome']}  "
            console.print(head + repr(one["text"]), markup=False)


def _short(value: float | None) -> str:
    return "   none" if value is None else f"{value:7.3f}"


def _reader(run: Run) -> RunReader:
    if not run.db_path.exists():
        raise ValueError(f"{run.name}: has written nothing yet (it is {run.status()})")
    return RunReader(run.db_path)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@app.command()
def prompts(
    recipe: RecipeName,
    num: Annotated[int, typer.Option(help="How many training problems.", min=1)] = 3,
    overrides: SetOptions = None,
    as_json: AsJson = False,
) -> None:
    """The prompts of a recipe exactly as its model will see them, with their number of tokens."""
    config = load_recipe(find_recipe(recipe), overrides)
    task = load_task(config.data, config.evaluation.num_problems)
    quiet_libraries()
    from grpo_core.policy import (  # noqa: PLC0415  torch
        encode_prompts,
        load_tokenizer,
        render_prompt,
    )

    tokenizer = load_tokenizer(config.model.path)
    problems = task.train[:num]
    texts = [render_prompt(tokenizer, config.data, p.question, p.examples) for p in problems]
    lengths = [len(ids) for ids in encode_prompts(tokenizer, texts)]
    if as_json:
        found = [
            {"id": p.id, "answer": p.answer, "num_tokens": length, "prompt": text}
            for p, length, text in zip(problems, lengths, texts, strict=True)
        ]
        facts = {"num_train": len(task.train), "num_held_out": len(task.held_out)}
        _print_json({**facts, "notes": list(task.notes), "prompts": found})
        return
    print(f"{len(task.train):,} training problems, {len(task.held_out):,} held out")
    print("".join(f"{_visible(note)}\n" for note in task.notes), end="")
    for problem, length, text in zip(problems, lengths, texts, strict=True):
        print(f"--- {problem.id}: {length:,} tokens, answer {problem.answer!r}")
        print(_visible(text))


def _visible(text: str) -> str:
    """Text of a data set or template on a terminal: what would steer it is spelled out."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


@app.command()
def check(as_json: AsJson = False) -> None:
    """What this machine offers: versions, device, the bundled model."""
    quiet_libraries()
    from grpo_core.machine import facts  # noqa: PLC0415  torch

    found = facts()
    if as_json:
        _print_json(found)
        return
    table = Table(box=None, show_header=False)
    for key, value in found.items():
        table.add_row(key, str(value))
    console.print(table)
