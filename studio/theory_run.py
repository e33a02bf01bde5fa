"""A stored run held against the theory: what is read of it, and the comparisons.

Read-only, without the texts of completions, and bounded: at most `MAX_GROUPS` groups and
`MAX_COMPLETIONS` completions of them, evenly over the run, and of `MAX_TRACED` steps the numbers
of their tokens, `MAX_BYTES` in all.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grpo_core.advantages import TOLERANCE
from grpo_core.config import RunConfig
from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run
from grpo_core.traces import first_pass_of
from studio import data, formula
from studio.theory.in_run import comparisons
from studio.theory.in_run_data import Comparison, StepPush, Stored, StoredGroup
from studio.theory.in_run_entropy import push_of

MAX_GROUPS = 2000
MAX_COMPLETIONS = 64_000
PER_STEP = 10
"""Groups of a step that are read, at least, before other steps are left out."""
MAX_TRACED = 200
MAX_BYTES = 32_000_000
"""Of packed numbers of tokens, over all steps."""


@dataclass(frozen=True, eq=False)
class Looked:
    """A run beside the theory."""

    comparisons: list[Comparison] = field(default_factory=list)
    about: str = ""
    """What was read: one sentence."""
    problem: str = ""
    """Why there is nothing to compare, else empty."""


def view(run: Run) -> list[Comparison]:
    """The five comparisons; empty where the run has nothing to compare (`look` says why)."""
    return look(run).comparisons


def look(run: Run) -> Looked:
    """Read the run and compare. Never raises for what a run folder may hold."""
    if isinstance(run, Evaluation):
        return Looked(problem="An evaluation samples and trains nothing; choose a run.")
    try:
        with GroupReader(run.db_path) as reader:
            counts = reader.group_counts()
            if not counts:
                return Looked(problem="This run has not stored any completions yet.")
            config = data.config_of(run)
            stored = _stored(reader, config, counts)
            about = _about(stored, counts)
            # numbers of a damaged database may be of any size
            with np.errstate(all="ignore"):
                compared = comparisons(stored)
    except FileNotFoundError:
        return Looked(problem="This run has no database yet: nothing has been recorded.")
    except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, OverflowError) as error:
        said = data.unreadable(error, run)
        return Looked(problem=said or "This run has not stored any completions yet.")
    if config is None:
        about += " Its recipe cannot be read: advantages are taken for those of the default one."
    return Looked(compared, about)


# --- groups --------------------------------------------------------------------------------------


def _stored(reader: GroupReader, config: RunConfig | None, counts: list[tuple[int, int]]) -> Stored:
    config = config or RunConfig()
    most = min(MAX_GROUPS, max(1, MAX_COMPLETIONS // config.rollout.group_size))
    usual = int(np.median([num for _, num in counts]))
    steps = evenly([step for step, _ in counts], max(1, most // min(usual, PER_STEP)))
    groups = [group for step in steps for group in _groups(reader, step, most // len(steps))]
    algorithm = config.algorithm
    is_shaped = formula.is_shaped(config)
    is_shaped |= algorithm.multi_objective_aggregation == "normalize_then_sum"
    entropy = dict(reader.series("train/entropy"))
    return Stored(
        groups,
        algorithm.advantage or "zscore",
        is_shaped,
        bool(algorithm.resample_rounds),
        _pushes(reader, dict(counts), groups, entropy),
        entropy,
        dict(reader.series("train/learning_rate")),
    )


def evenly(values: list[int], most: int) -> list[int]:
    """At most so many of them, first and last included, evenly."""
    if len(values) <= most:
        return values
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]


def _groups(reader: GroupReader, step: int, most: int) -> list[StoredGroup]:
    """A step's first groups; completions whose reward is none, or no number, are left out."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    problems: dict[int, str] = {}
    for group_id, problem, reward, *rest in reader.outcomes(step, most):
        problems[group_id] = problem
        kept = found.setdefault(group_id, [])
        if reward is not None and math.isfinite(reward):
            kept.append((reward, *rest))
    return [_group(step, problems[group_id], rows) for group_id, rows in found.items()]


def _group(step: int, problem: str, rows: list[tuple[Any, ...]]) -> StoredGroup:
    # None becomes NaN
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return StoredGroup(step, problem, *table.T.copy())


def _about(stored: Stored, counts: list[tuple[int, int]]) -> str:
    num, total = len(stored.groups), sum(num for _, num in counts)
    steps = sorted({group.step for group in stored.groups})
    rewarded = sum(group.size for group in stored.groups)
    which = f"all {num:,} groups" if num == total else f"{num:,} of {total:,} groups, evenly"
    return (
        f"Read were {which} over {len(steps):,} of {len(counts):,} steps ({counts[0][0]} to "
        f"{counts[-1][0]}): {rewarded:,} completions with a reward, and the tokens that were kept "
        f"in {len(stored.pushes):,} steps."
    )


# --- tokens --------------------------------------------------------------------------------------


def _pushes(
    reader: GroupReader,
    counts: dict[int, int],
    groups: Iterable[StoredGroup],
    entropy: dict[int, float],
) -> list[StepPush]:
    """Of steps whose next entropy is known, out of those whose groups were read."""
    by_step: dict[int, list[StoredGroup]] = {}
    for group in groups:
        by_step.setdefault(group.step, []).append(group)
    usable = [step for step in by_step if step in entropy and step + 1 in entropy]
    chosen = evenly(usable, MAX_TRACED)
    found = []
    for step in chosen:
        signal = np.mean([_has_signal(group) for group in by_step[step]]) * counts[step]
        push = _push(reader, step, float(signal), MAX_BYTES // len(chosen))
        found += [push] if push is not None else []
    return found


def _has_signal(group: StoredGroup) -> bool:
    return bool((np.abs(group.advantage_G) > TOLERANCE).any())


def _push(reader: GroupReader, step: int, signal: float, most_bytes: int) -> StepPush | None:
    """None where no tokens were kept. `signal`: groups of the step with an advantage."""
    traced = []
    for group, blob in reader.step_blobs(step, most_bytes):
        try:
            traced.append((group, first_pass_of(blob)))
        except ValueError:  # opening this completion says so
            continue
    if not traced:
        return None
    teaching = {group for group, one in traced if (np.abs(one["advantage"]) > TOLERANCE).any()}
    scale = signal / len(teaching) if teaching else 0.0
    logp, entropy, advantage, weight = (
        np.concatenate([one[name] for _, one in traced]).astype(float)
        for name in ("logp", "entropy", "advantage", "weight")
    )
    return push_of(step, logp, entropy, advantage, weight, scale)
