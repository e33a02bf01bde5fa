"""Runs of one recipe with different seeds as one line with its band, for the Live page: the same
groups and the same bands as on the Compare page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from grpo_core.runs import Run
from studio import compare, data
from studio.columns import followed
from studio.compare import Line, Recorded
from studio.run_groups import groups_of


def view(runs: list[Run], names: list[str], axis: str) -> dict[str, Any]:
    """`{groups, left_out}`: each group with its label, its runs, runs that repeat a seed, and
    `lines[name]`, `{x, mean, low, high}` of each metric that all its runs have (low and high are
    null for one seed). `left_out` are runs without a readable recipe or without a number.
    """
    known = [(run, _recorded(run, names)) for run in runs]
    groups = groups_of(recorded for _, recorded in known if recorded is not None)
    return {
        "groups": [
            {
                "label": group.label,
                "runs": [run.name for run in group.runs],
                "repeats": list(group.repeats),
                "lines": {
                    name: _drawn(line)
                    for name in names
                    if (line := compare.line(group.runs, name, axis)) is not None
                },
            }
            for group in groups
        ],
        "left_out": [run.name for run, recorded in known if recorded is None],
    }


def _recorded(run: Run, names: list[str]) -> Recorded | None:
    """These metrics, and what places them on the other axes, from memory."""
    config = data.config_of(run)
    if config is None:
        return None
    with followed(run.db_path) as known:
        series = {
            name: (column.steps.tolist(), column.values().tolist())
            for name, column in known.metrics.items()
            if name in names or name == compare.STEP_S
        }
        tokens = (known.steps.steps.tolist(), known.steps.values(1).tolist())
    return Recorded(run.name, config, series, tokens) if series else None


def _drawn(line: Line) -> dict[str, list[float] | None]:
    columns = {"x": line.x, "mean": line.mean, "low": line.low, "high": line.high}
    return {key: None if of is None else np.asarray(of).tolist() for key, of in columns.items()}
