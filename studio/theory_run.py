"""A stored run held against the theory: what is read of it, and the comparisons.

Read-only, without the texts of completions, and bounded: at most `MAX_GROUPS` groups and
`MAX_COMPLETIONS` completions of them, evenly over the run, and of `MAX_TRACED` steps the numbers
of their tokens, `MAX_BYTES` in all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grpo_core.advantages import TOLERANCE
from grpo_core.config import RunConfig
from grpo_core.evaluations import SETTINGS, Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.runs import Run
from grpo_core.traces import first_pass_of
from studio import data, formula
from studio.theory.in_run import comparisons
from studio.theory.in_run_data import LARGE, Comparison, StepPush, Stored, StoredGroup
from studio.theory.in_run_entropy import push_of

MAX_GROUPS = 2000
MAX_COMPLETIONS = 64_000
MAX_SIZE = 1024
"""Completions of a group that count."""
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
    if isinstance(run, Evaluation) or (run.path / SETTINGS).is_file():
        return Looked(problem="An evaluation samples and trains nothing; choose a run.")
    try:
        with GroupReader(run.db_path) as reader:
            found = reader.group_counts()
            if not found:
                return Looked(problem="This run has not stored any completions yet.")
            counts = [(step, num) for step, num in found if _is_step(step)]
            if not counts:
                return Looked(problem="The steps of this run's groups are no numbers of steps.")
            config = data.config_of(run)
            stored = _stored(reader, config, counts)
            about = _about(stored, counts)
            compared = comparisons(stored)
    except FileNotFoundError:
        return Looked(problem="This run has no database yet: nothing has been recorded.")
    except (OSError, sqlite3.Error, ValueError, LookupError, TypeError, ArithmeticError) as error:
        said = data.unreadable(error, run)
        return Looked(problem=said or "This run has not stored any completions yet.")
    if config is None:
        about += " Its recipe cannot be read: advantages are taken for those of the default one."
    return Looked(compared, about)


# --- what a stored value may be ------------------------------------------------------------------


def _is_number(value: object) -> bool:
    """Whether it is a finite number of a sensible size: a column may hold any type."""
    return isinstance(value, int | float) and abs(value) <= LARGE


def _is_step(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LARGE


def _series(reader: GroupReader, name: str) -> dict[int, float]:
    return {k: float(v) for k, v in reader.series(name) if _is_step(k) and _is_number(v)}


def _is_sound(reward: object, right: object, length: object, advantage: object) -> bool:
    """Whether a completion with a reward has numbers that can be used; it may have no advantage."""
    numbers = (reward, right, length, 0 if advantage is None else advantage)
    return all(map(_is_number, numbers)) and isinstance(length, int) and length >= 0


# --- groups --------------------------------------------------------------------------------------


def _stored(reader: GroupReader, config: RunConfig | None, counts: list[tuple[int, int]]) -> Stored:
    config = config or RunConfig()
    most = min(MAX_GROUPS, max(1, MAX_COMPLETIONS // config.rollout.group_size))
    usual = int(np.median([num for _, num in counts]))
    steps = evenly([step for step, _ in counts], max(1, most // min(usual, PER_STEP)))
    read = [_groups(reader, step, most // len(steps)) for step in steps]
    groups = [group for members, _ in read for group in members]
    algorithm = config.algorithm
    is_shaped = formula.is_shaped(config)
    is_shaped |= algorithm.multi_objective_aggregation == "normalize_then_sum"
    entropy = _series(reader, "train/entropy")
    return Stored(
        groups,
        algorithm.advantage or "zscore",
        is_shaped,
        bool(algorithm.resample_rounds),
        _pushes(reader, dict(counts), groups, entropy),
        entropy,
        _series(reader, "train/learning_rate"),
        sum(odd for _, odd in read),
    )


def evenly(values: list[int], most: int) -> list[int]:
    """At most so many of them, first and last included, evenly."""
    if len(values) <= most:
        return values
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]


def _groups(reader: GroupReader, step: int, most: int) -> tuple[list[StoredGroup], int]:
    """A step's first groups, and how many completions were left out for unusable numbers; those
    without a reward are left out too."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    problems: dict[int, str] = {}
    odd = 0
    for group_id, problem, *row in reader.outcomes(step, most):
        problems[group_id] = str(problem)
        kept = found.setdefault(group_id, [])
        if row[0] is None:
            continue
        if not _is_sound(*row):
            odd += 1
        elif len(kept) < MAX_SIZE:
            kept.append(tuple(row))
    return [_group(step, problems[group_id], rows) for group_id, rows in found.items()], odd


def _group(step: int, problem: str, rows: list[tuple[Any, ...]]) -> StoredGroup:
    # None becomes NaN
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return StoredGroup(step, problem, *table.T.copy())


def _about(stored: Stored, counts: list[tuple[int, int]]) -> str:
    num, total = len(stored.groups), sum(num for _, num in counts)
    steps = sorted({group.step for group in stored.groups})
    rewarded = sum(group.size for group in stored.groups)
    which = f"all {num:,} groups" if num == total else f"{num:,} of {total:,} groups, evenly"
    said = (
        f"Read were {which} over {len(steps):,} of {len(counts):,} steps ({counts[0][0]} to "
        f"{counts[-1][0]}): {rewarded:,} completions with a reward, and the tokens that were kept "
        f"in {len(stored.pushes):,} steps."
    )
    if stored.num_odd:
        which = "1 completion" if stored.num_odd == 1 else f"{stored.num_odd:,} completions"
        said += f" Left out: {which} with stored numbers that make no sense."
    return said


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
    """None where no tokens were kept that can be read. `signal`: groups of the step with an
    advantage."""
    traced = []
    for group, blob in reader.step_blobs(step, most_bytes):
        if not isinstance(blob, bytes):
            continue
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
