"""The command line. Exit code 0 is success, 1 a failed run, 2 bad input with what to do about it.

Heavy modules are imported inside the commands that need them: `grpo-studio runs` answers at once
and the page's server never loads torch.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from grpo_core import cli_evaluate, cli_export, cli_grade, cli_look, cli_rewards, trust
from grpo_core.cli_options import (
    RUNS,
    RecipeName,
    RunName,
    RunsDir,
    SetOptions,
    console,
    find_recipe,
    leave,
    quiet_libraries,
    settle_threads,
)
from grpo_core.config import RunConfig
from grpo_core.evaluations import Evaluation, find_stored
from grpo_core.recipe import change_live, load_recipe
from grpo_core.runs import Command, Run, RunState, check_free, find_run, free_name, leads
from grpo_core.sandbox_probe import probe

app = typer.Typer(
    add_completion=False,
    help="Train a language model by reinforcement learning and see why it learns. "
    "Without a command: open the studio in the browser.",
    pretty_exceptions_enable=False,
)
app.add_typer(cli_look.app)
app.add_typer(cli_rewards.app)
app.add_typer(cli_grade.app)
app.add_typer(cli_evaluate.app)
app.add_typer(cli_export.app)


def main() -> None:
    """Entry point of `grpo-studio`."""
    try:
        app()
    except ValueError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def studio(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8501,
    runs_dir: RunsDir = RUNS,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the link.")] = False,
) -> None:
    """Open the studio on 127.0.0.1."""
    if context.invoked_subcommand is None:
        from studio.app import serve  # noqa: PLC0415  streamlit takes a second to import

        serve(port=port, runs_dir=runs_dir.absolute(), open_browser=not no_browser)


# --- training ------------------------------------------------------------------------------------


@app.command()
def train(
    recipe: RecipeName,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    runs_dir: RunsDir = RUNS,
    overrides: SetOptions = None,
) -> None:
    """Train in the foreground; Ctrl-C stops after the step, with a checkpoint."""
    path = find_recipe(recipe)
    config = load_recipe(path, overrides)
    run_name = name or free_name(runs_dir, path.stem)
    if leads():
        check_free(runs_dir, run_name)  # before the seconds that the next import takes
    quiet_libraries()
    settle_threads()
    from grpo_core import launch  # noqa: PLC0415  torch and transformers

    console.print(f"[bold]{run_name}[/bold]  {runs_dir / run_name}")
    _follow(lambda on_step: launch.start(runs_dir, run_name, config, on_step), config)


@app.command()
def resume(
    run: RunName,
    runs_dir: RunsDir = RUNS,
    trust_rewards: Annotated[
        bool,
        typer.Option(
            "--trust-rewards",
            help="Run rewards that were not written here; asks for the run's name, once.",
        ),
    ] = False,
) -> None:
    """Go on with a run from its newest whole checkpoint, in the foreground."""
    found = find_run(runs_dir, run)
    if found.is_live():
        raise ValueError(f"{run}: is {found.status()} already")
    config = load_recipe(found.config_path)
    if trust_rewards and leads():
        _ask_for_trust(found)
    quiet_libraries()
    settle_threads()
    from grpo_core import launch  # noqa: PLC0415  torch and transformers

    _follow(lambda on_step: launch.resume(found, on_step), config)


def _ask_for_trust(run: Run) -> None:
    """Consent is the run's name, typed or piped in: no option can be left in a script for all."""
    found = trust.unmarked(run)
    if not found or probe().tier == "isolated":
        return
    for file in trust.files_of_all(found):
        console.print(file, markup=False, soft_wrap=True)
    console.print(f"To run the reward code in these files, type the run's name ({run.name}): ")
    if sys.stdin.readline().strip() != run.name:
        raise ValueError(f"{run.name}: that was not the run's name; nothing was run")
    trust.consent(run, found)


def _follow(work: Any, config: RunConfig) -> None:
    """Run `work` under a progress bar on a terminal, or one line a step elsewhere."""
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = [
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    ]
    last: dict[str, float] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("loading", total=config.num_steps)

        def on_step(state: RunState, metrics: dict[str, float]) -> None:
            if "time/step_s" in metrics:  # what this step has no number for is not the last one's
                for key in last.keys() - {"eval/accuracy"}:
                    del last[key]
            last.update(metrics)
            line = _line(last)
            progress.update(bar, completed=state.step, total=state.num_steps, description=line)
            if not console.is_terminal:
                console.print(f"step {state.step}/{state.num_steps}  {line}")

        status = work(on_step)
    console.print(f"{status}  {_line(last)}")


def _line(metrics: dict[str, float]) -> str:
    shown = {
        "eval/accuracy": "held-out {:.3f}",
        "train/accuracy": "accuracy {:.3f}",
        "reward/mean": "reward {:.3f}",
        "train/kl": "kl {:.4f}",
        "completion/length_mean": "length {:.1f}",
        "time/step_s": "{:.2f} s",
    }
    return "  ".join(text.format(metrics[key]) for key, text in shown.items() if key in metrics)


# --- steering ------------------------------------------------------------------------------------


@app.command()
def pause(run: RunName, runs_dir: RunsDir = RUNS) -> None:
    """Pause a run after the step it is in."""
    _send(find_run(runs_dir, run), "pause", "pauses after the step it is in")


@app.command("continue")
def continue_(run: RunName, runs_dir: RunsDir = RUNS) -> None:
    """Let a paused run go on."""
    _send(find_run(runs_dir, run), "continue", "goes on")


@app.command()
def stop(run: RunName, runs_dir: RunsDir = RUNS) -> None:
    """Stop a run after the step it is in, with a checkpoint; an evaluation after its batch."""
    found = find_stored(runs_dir, run)
    what = "batch" if isinstance(found, Evaluation) else "step"
    _send(found, "stop", f"stops after the {what} it is in")


@app.command("set")
def set_(
    run: RunName,
    overrides: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…")],
    runs_dir: RunsDir = RUNS,
) -> None:
    """Change settings of a run from its next step on."""
    found = find_run(runs_dir, run)
    change_live(load_recipe(found.config_path), overrides)
    leave(found, Command("set", {"overrides": overrides}))


@app.command()
def delete(
    run: RunName,
    runs_dir: RunsDir = RUNS,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run or an evaluation with everything it wrote."""
    found = find_stored(runs_dir, run)
    if not yes and not typer.confirm(f"Delete {found.path} and everything in it?"):
        raise typer.Exit(1)
    found.delete()
    console.print(f"{run} deleted")


def _send(run: Run, kind: str, what: str) -> None:
    status = run.status()
    if not run.is_live():
        raise ValueError(f"{run.name}: is {status}; there is nothing to {kind}")
    run.send(Command(kind))
    console.print(f"{run.name} {what}")


if __name__ == "__main__":
    main()
