"""Fresh completions of a run's model, without training: what it says now, to try rewards on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from grpo_core import checkpoint
from grpo_core.config import RunConfig
from grpo_core.engine import Sampling
from grpo_core.generate import sample
from grpo_core.prepare import prepare
from grpo_core.recipe import load_recipe, parse_config
from grpo_core.records import Group
from grpo_core.runs import Run
from grpo_core.worker import derive_seed

log = logging.getLogger("grpo_core")


@dataclass
class Fresh:
    """What was sampled, and by which model."""

    groups: list[Group]
    model: str
    """For people."""


def sample_run(run: Run, num_problems: int | None, group_size: int | None, seed: int) -> Fresh:
    """Completions for training problems of the run's task, no two of them with the same question,
    by its newest whole checkpoint, else by the model of its recipe, sampled as it samples.

    Where nothing is said, as many as in a step. The same seed gives the same completions of the
    same checkpoint. Runs no reward code. ValueError when there are not so many problems.
    """
    path, config = _newest(run)
    prepared = prepare(config, path / "model" if path else None)
    task = prepared.task
    num = num_problems or min(config.rollout.prompts_per_step, len(task.train))
    if num > len(task.train):
        raise ValueError(
            f"--problems {num}: the training data of {run.name} hold {len(task.train)} different "
            "questions; ask for at most so many"
        )
    rollout = config.rollout
    groups = sample(
        prepared.engine,
        prepared.policy,
        config.data,
        task.draw(1, num, seed),
        group_size or rollout.group_size,
        Sampling(rollout.max_new_tokens, rollout.temperature, rollout.top_p),
        derive_seed(seed, 0),  # steps count from 1: no step of a run has sampled these
    )
    return Fresh(groups, f"{path.name} of {run.name}" if path else config.model.path)


def _newest(run: Run) -> tuple[Path | None, RunConfig]:
    """The newest whole checkpoint and the settings in force there."""
    path = checkpoint.latest(
        run.checkpoints, lambda bad, reason: log.warning("passed over %s: %s", bad.name, reason)
    )
    if path is None:
        return None, load_recipe(run.config_path)
    return path, parse_config(checkpoint.read_position(path).config, path.name)
