"""Learning parity: the bundled model on its task by us and by TRL's `GRPOTrainer`, the same recipe.

    python tests/benchmarks/parity.py learn DIR [--seeds 0 1 2 3 4] [--steps 30]
    python tests/benchmarks/parity.py table DIR

`learn` writes DIR/<side>-<seed>.json: the mean reward (the share of right answers) of each step's
128 completions. Same problems in the same order, same learning rate, loss and optimizer; the random
numbers of sampling differ, so curves agree as two seeds do, not number by number. `table` prints
the curves and, by a bootstrap over the seeds, the interval of their difference.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

RECIPE: dict[str, Any] = {
    "model": {"path": "bundled:tiny"},
    "data": {"task": "arithmetic"},
    "rewards": [{"builtin": "accuracy"}],
    "rollout": {"prompts_per_step": 16, "group_size": 8, "max_new_tokens": 160},
    "algorithm": {"name": "deepseekmath", "kl_coefficient": 0.0},
    "optim": {"learning_rate": 3e-4, "micro_batch_tokens": 8192},
    "evaluation": {"num_problems": 1},
}


def ours(seed: int, steps: int, folder: Path) -> list[float]:
    """Rewards of our steps."""
    from grpo_core.prepare import prepare
    from grpo_core.recipe import parse_config
    from grpo_core.rewards import resolve
    from grpo_core.worker import Worker

    config = parse_config({**RECIPE, "seed": seed, "num_steps": steps})
    worker = Worker(prepare(config), resolve(config.rewards))
    try:
        done = [worker.step(step, config, lambda _: None) for step in range(1, steps + 1)]
    finally:
        worker.close()
    return [step.metrics["reward/mean"] for step in done]


def theirs(seed: int, steps: int, folder: Path) -> list[float]:
    """Rewards of TRL's steps."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from grpo_core.grading import grade
    from grpo_core.policy import model_folder
    from grpo_core.recipe import parse_config
    from grpo_core.tasks import load_task

    config = parse_config({**RECIPE, "seed": seed})
    task = load_task(config.data, 1)
    problems = [one for step in range(1, steps + 1) for one in task.draw(step, 16, seed)]
    rows = [
        {"prompt": [{"role": "user", "content": one.question}], "gold": one.answer}
        for one in problems
    ]
    means: list[float] = []

    def reward(completions: list, gold: list[str], **_: Any) -> list[float]:
        texts = [one[0]["content"] for one in completions]
        rewards = [float(grade(text, answer)) for text, answer in zip(texts, gold, strict=True)]
        means.append(fmean(rewards))
        return rewards

    model = model_folder("bundled:tiny")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            max_steps=steps,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=4,
            num_generations=8,
            max_completion_length=160,
            temperature=1.0,
            learning_rate=3e-4,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            loss_type="grpo",
            beta=0.0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            shuffle_dataset=False,
            seed=seed,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    return means


SIDES: dict[str, Callable[[int, int, Path], list[float]]] = {"ours": ours, "trl": theirs}


def learn(folder: Path, seeds: list[int], steps: int) -> None:
    """Runs that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for side, run in SIDES.items():
            target = folder / f"{side}-{seed}.json"
            if not target.exists():
                target.write_text(json.dumps(run(seed, steps, folder)), encoding="utf-8")


def curves(folder: Path, side: str) -> list[list[float]]:
    """A side's curves, one a seed."""
    files = sorted(folder.glob(f"{side}-*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def difference(a: list[float], b: list[float], rounds: int = 10_000) -> tuple[float, float, float]:
    """mean(a) - mean(b) and its 95 % bootstrap interval, both resampled."""
    draw = random.Random(0)
    found = sorted(
        fmean(draw.choices(a, k=len(a))) - fmean(draw.choices(b, k=len(b))) for _ in range(rounds)
    )
    return fmean(a) - fmean(b), found[int(0.025 * rounds)], found[int(0.975 * rounds) - 1]


def table(folder: Path, width: int = 5) -> str:
    """Mean reward in windows of `width` steps, and of the whole run, in Markdown."""
    both = [curves(folder, side) for side in SIDES]
    steps = len(both[0][0])
    spans = [(first, first + width) for first in range(0, steps, width)]
    lines = ["| steps | ours | TRL | difference (95 %) |", "| --- | --- | --- | --- |"]
    for first, last in [*spans, (0, steps)]:
        a, b = ([fmean(curve[first:last]) for curve in side] for side in both)
        middle, low, high = difference(a, b)
        name = f"{first + 1} to {last}" if (first, last) != (0, steps) else "**all**"
        lines.append(
            f"| {name} | {fmean(a):.3f} | {fmean(b):.3f} | {middle:+.3f} ({low:+.3f} to "
            f"{high:+.3f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["learn", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    if given.what == "learn":
        learn(given.folder, given.seeds, given.steps)
    print(table(given.folder))


if __name__ == "__main__":
    main()
