"""The problems of an evaluation: what a run holds out, a test split, or a whole file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from grpo_core.config import DataConfig, RunConfig
from grpo_core.data_config import HUB
from grpo_core.recipe import checked
from grpo_core.records import Problem
from grpo_core.tasks import load_task, load_test, num_shared

NUM_GENERATED = 400
"""Problems of the generated task where nobody says how many."""
ALL = 1_000_000_000


@dataclass(frozen=True)
class Asked:
    """What is asked."""

    data: DataConfig
    problems: list[Problem]
    notes: list[str]
    """What was left out or looks wrong; one sentence each."""

    @property
    def digest(self) -> str:
        """Of all questions and reference answers, in order."""
        return _digest("\n".join(key_of(problem) for problem in self.problems))


def key_of(problem: Problem) -> str:
    """The same for the same question and reference answer, white space aside."""
    return _digest(" ".join(problem.question.split()) + "\0" + problem.answer)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]


def problems_of_run(config: RunConfig, limit: int | None) -> Asked:
    """What a run holds out: all of the test split that its data have, else the part of its file
    that it does not train on."""
    num = config.evaluation.num_problems
    if _is_generated(config.data):
        return _generated(config.data, limit or num)
    task = load_task(config.data, ALL)
    if not task.has_test_split:
        task = load_task(config.data, num)
    return Asked(config.data, limited(list(task.held_out), limit), list(task.notes))


def problems_of_task(data: DataConfig, limit: int | None, config: RunConfig | None) -> Asked:
    """The test split of `data`, or all of its file. `config`: of the run that is asked; that it was
    trained on some of the questions is noted."""
    if _is_generated(data):
        return _generated(data, limit or NUM_GENERATED)
    train: list[Problem] = []
    unknown: list[str] = []
    if config is not None:
        train, unknown = _trained_on(config)
    is_alike = config is not None and config.data.shots == data.shots
    problems, notes = load_test(data, train[0].examples if train and is_alike else ())
    problems = limited(problems, limit)
    return Asked(data, problems, [*notes, *unknown, *_overlap(problems, train)])


def data_for(config: RunConfig | None, task: str | None, path: str | None) -> DataConfig:
    """The data section for another task or file than a run's own; prompts are made as the run
    makes them where it is the same task. ValueError where it cannot be."""
    if path is not None and not path.startswith(HUB):
        path = str(Path(path).resolve())  # it is gone on with from elsewhere too
    if config is not None and task in (None, config.data.task):
        base = config.data.model_dump()
        if path is not None:  # what else is said of a file is said of the run's own
            elsewhere = ("eval_path", "train_split", "eval_split", "max_rows")
            base |= {"path": path, **dict.fromkeys(elsewhere)}
    elif task is None:
        raise ValueError("--task: say which task: arithmetic, gsm8k, math, cmath or file")
    else:
        base = {"task": task, "path": path}
    return checked(DataConfig, base, "--task, --data")


def limited(problems: list[Problem], limit: int | None) -> list[Problem]:
    """At most `limit` problems, shuffled in a way that depends on them alone: the same for every
    model, and any smaller limit is a part of it. Files are often sorted, so that their first
    problems would be no sample; nor would those of an evaluation that was stopped."""
    return sorted(problems, key=key_of)[:limit]


def _generated(data: DataConfig, num: int) -> Asked:
    """The first `num` problems of a generator, which are a sample as they come."""
    return Asked(data, list(load_task(data, num).held_out), [])


def _is_generated(data: DataConfig) -> bool:
    return data.task == "arithmetic"


def _trained_on(config: RunConfig) -> tuple[list[Problem], list[str]]:
    """The training problems of a run; else none and why they are not known."""
    try:
        return list(load_task(config.data, config.evaluation.num_problems).train), []
    except ValueError as error:
        why = f"whether the run was trained on some of these questions is not known: {error}"
        return [], [why]


def _overlap(problems: list[Problem], train: list[Problem]) -> list[str]:
    shared = num_shared(problems, train)
    if not shared:
        return []
    return [
        f"{shared:,} of the {len(problems):,} questions are among those that the run was trained "
        "on: on these it is not tested, it is asked again"
    ]
