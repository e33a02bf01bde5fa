"""GRPO against PPO on the bundled model, as the Theory page shows it from the start.

    python tests/benchmarks/pair.py RUNS_DIR

trains the pair of recipes and PPO with a critic of its own, three seeds each, one run after another
and the arms in turn (a quarter of an hour on two cores; what else runs meanwhile distorts their
times), and writes their numbers to assets/studies/pair.json. What is trained in RUNS_DIR already is
taken as it is.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from studio import compare_view, data, series

NUM_SEEDS = 3
OUT = Path(__file__).parents[2] / "assets" / "studies" / "pair.json"


def row(name: str) -> dict[str, Any]:
    """A run as the page reads it, with values that a chart can tell apart."""
    run = data.get_run(name)
    recorded = data.recorded(run, compare_view.METRICS) if run else None
    assert recorded is not None, name
    return {
        "name": name,
        "config": recorded.config.model_dump(mode="json"),
        "series": {
            metric: [steps, [float(f"{value:.6g}") for value in values]]
            for metric, (steps, values) in recorded.series.items()
        },
        "tokens": recorded.tokens,
        "device": recorded.device,
        "span": recorded.span,
    }


def main(runs_dir: Path) -> None:
    data.set_runs_dir(runs_dir)
    planned = series.pair(NUM_SEEDS, own_critic=True)
    runs_dir.mkdir(parents=True, exist_ok=True)
    series.begin(runs_dir, planned)
    while series.is_busy(runs_dir):
        time.sleep(1)
    assert not series.problem(runs_dir), series.problem(runs_dir)
    cpu, torch_version = torch.backends.cpu.get_cpu_capability(), torch.__version__.split("+")[0]
    made = (
        f"{NUM_SEEDS} seeds each, one run after another and the arms in turn, on two cores "
        f"({cpu}), PyTorch {torch_version}, Python {platform.python_version()}, "
        f"{time.strftime('%B %Y')}. "
        "Time is that of training steps; evaluations are not counted."
    )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"made": made, "runs": [row(one.name) for one in planned]}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
