"""Starting a run and going on with one: what `train` and `resume` do, whoever calls them."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grpo_core import checkpoint, trust
from grpo_core.config import RunConfig
from grpo_core.journal import OnStep
from grpo_core.prepare import Prepared, prepare
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config, to_yaml
from grpo_core.rewards import RewardFunction, load_version, resolve
from grpo_core.runs import Run, Status, check_free, create_run, leads
from grpo_core.sandbox_probe import probe
from grpo_core.trainer import Trainer, follow
from grpo_core.worker import Worker

log = logging.getLogger("grpo_core")


def start(runs_dir: Path, name: str, config: RunConfig, on_step: OnStep | None = None) -> Status:
    """A new run, to its end. ValueError (nothing written) when the recipe cannot be run."""
    if leads():
        check_free(runs_dir, name)
    functions = resolve(config.rewards)
    prepared = prepare(config)
    if not leads():
        return _follow(prepared, functions, None)
    run = create_run(runs_dir, name, to_yaml(config))
    with run.lock(), logging_to(run.log_path):
        try:
            trust.keep(run, functions)
        except trust.NoKey as error:  # costs a question when the run is resumed
            log.warning("the rewards are not marked as written here: %s", error)
        protection = probe()  # before there are workers, as it decides how they start
        with _working(prepared, functions, None) as worker:
            trainer = Trainer(run, worker, config, protection, on_step=on_step)
            return _train(run, trainer)


def resume(run: Run, on_step: OnStep | None = None) -> Status:
    """Go on with a run from its newest whole checkpoint.

    ValueError when it is being trained, has nothing left to do, cannot be gone on with, or holds
    rewards that a person has to read first (see `trust.py`).
    """
    if not leads():  # meets the leader in `prepare`, so it runs nothing that the leader refuses
        _, path, config, functions = _resume_from(run)
        return _follow(prepare(config, path / "model" if path else None), functions, path)
    # A trainer that has just said `stopped` still has its files to close.
    with run.lock(wait_s=10), logging_to(run.log_path):
        passed_over, path, config, functions = _resume_from(run)
        protection = probe()
        trust.check(run, functions, protection.tier)
        step = checkpoint.read_position(path).step if path else 0
        run.forget_wishes()
        if step >= config.num_steps and not any(run.take_commands()):
            raise ValueError(
                f"{run.name}: all {config.num_steps} steps are done; "
                f"to go on, first `grpo-studio set {run.name} num_steps={2 * config.num_steps}`"
            )
        prepared = prepare(config, path / "model" if path else None)
        with _working(prepared, functions, path) as worker:
            # from the beginning: whatever an attempt before the first checkpoint wrote goes
            after = step if path else -1
            trainer = Trainer(run, worker, config, protection, path, after, on_step)
            for reason in passed_over:
                trainer.journal.event("notice", message=f"passed over {reason}")
            return _train(run, trainer)


@contextmanager
def _working(
    prepared: Prepared, functions: list[RewardFunction], resume_from: Path | None
) -> Iterator[Worker]:
    worker = Worker(prepared, functions)
    try:
        if resume_from is not None:
            position = checkpoint.read_position(resume_from)
            checkpoint.restore(resume_from, worker.learner, position)
        yield worker
    finally:
        worker.close()


def _follow(
    prepared: Prepared, functions: list[RewardFunction], resume_from: Path | None
) -> Status:
    # A launcher hands its signals to all; the leader stops after the step and sends the others home
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    probe()  # how this process's workers start
    with _working(prepared, functions, resume_from) as worker:
        follow(worker)
    return "completed"


def _resume_from(run: Run) -> tuple[list[str], Path | None, RunConfig, list[RewardFunction]]:
    """What was passed over, the checkpoint, and the settings and rewards in force there."""
    path, passed_over = resume_point(run)
    config, functions = settings_at(run, load_recipe(run.config_path), path)
    return passed_over, path, config, functions


def _train(run: Run, trainer: Trainer) -> Status:
    try:
        return trainer.train()
    except KeyboardInterrupt:
        trainer.journal.fail("interrupted; resume goes on from the last checkpoint")
        raise
    except Exception as error:
        log.exception("the run failed")
        trainer.journal.fail(f"{type(error).__name__}: {error}; see {run.log_path.name}")
        raise
    finally:
        trainer.close()


def resume_point(run: Run) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from (None: from the beginning) and what was passed over.

    Raises ValueError when there are checkpoints and none is whole: starting over is not resuming.
    """
    skipped: list[str] = []
    found = checkpoint.latest(
        run.checkpoints, lambda path, reason: skipped.append(f"{path.name}: {reason}")
    )
    if found is None and skipped:
        raise ValueError(
            f"{run.name}: no checkpoint is whole ({'; '.join(skipped)}); "
            "start a new run with the same recipe"
        )
    return found, skipped


def settings_at(
    run: Run, config: RunConfig, path: Path | None
) -> tuple[RunConfig, list[RewardFunction]]:
    """Settings and rewards in force at a checkpoint; those of the recipe before the first."""
    if path is not None:
        position = checkpoint.read_position(path)
        settings = parse_config(position.config, path.name)
        return settings, load_version(run.rewards, position.reward_version)
    if run.db_path.exists():
        with RunReader(run.db_path) as reader:
            version = reader.first_reward_version()
        if version:  # the files that the recipe names may have changed since
            return config, load_version(run.rewards, version)
    return config, resolve(config.rewards)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """What the core logs also goes into this file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
