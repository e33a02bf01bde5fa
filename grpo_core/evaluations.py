"""Evaluations as folders: what was asked of which model, and where the answers are.

    <runs>/<name>/  evaluation.yaml  run.db  state.json  inbox/  log.txt  lock

They stand beside the runs, with the same database, state and inbox, so that whatever opens the
completions of a run opens theirs. A step of such a database is a batch of problems.
"""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from grpo_core.config import DataConfig, ModelConfig
from grpo_core.runs import Run, check_free, check_name, free_name, list_runs, write_atomically
from grpo_core.sections import Section

SETTINGS = "evaluation.yaml"


class EvaluationSettings(Section):
    """What makes an evaluation what it is: the same settings, the same completions."""

    run: str | None = Field(None, description="The run whose model is asked.")
    step: int | None = Field(None, description="Of which checkpoint; 0 is as the run began.")
    began: float | None = Field(
        None, description="When the run began: another of the same name is not the same."
    )
    model: ModelConfig
    fingerprint: str = Field(description="Of the weights.")
    data: DataConfig
    num_problems: int = Field(ge=1)
    problems: str = Field(description="Digest of the questions and reference answers.")
    samples: int = Field(
        0, ge=0, le=1024, description="Sampled for each problem, beside the greedy completion."
    )
    temperature: float = Field(1.0, gt=0, le=5, description="Of what is sampled.")
    top_p: float = Field(1.0, gt=0, le=1, description="Of what is sampled.")
    max_new_tokens: int = Field(ge=1, le=32768)
    batch_size: int = Field(ge=1, description="Problems answered together.")
    said: tuple[str, ...] = Field(
        (), description="Which of the last two somebody chose; the others suit the model."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @property
    def model_label(self) -> str:
        """Which model, for people: a run and a step, or the end of a path."""
        if self.run is not None:
            return f"{self.run} {'at the start' if self.step == 0 else f'step {self.step}'}"
        return "/".join(Path(self.model.path).parts[-2:]).lstrip("/") or self.model.path


class Evaluation(Run):
    """A folder with an evaluation; status, inbox and lock are those of a run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.config_path = path / SETTINGS

    def settings(self) -> EvaluationSettings:
        """What it asks of which model. ValueError where the file cannot be read."""
        try:
            values = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
            return EvaluationSettings.model_validate(values)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.config_path}: cannot be read: {reason}") from None


def list_evaluations(runs_dir: Path) -> list[Evaluation]:
    """All evaluations in a folder of runs, the newest first."""
    if not runs_dir.is_dir():
        return []
    found = [
        Evaluation(path)
        for path in runs_dir.iterdir()
        if not path.name.startswith(".") and not path.is_symlink() and (path / SETTINGS).is_file()
    ]
    return sorted(found, key=lambda one: one.config_path.stat().st_mtime, reverse=True)


def find_evaluation(runs_dir: Path, name: str) -> Evaluation:
    """The evaluation called `name`; ValueError with the names there are."""
    path = runs_dir / check_name(name)
    if path.is_symlink() or not (path / SETTINGS).is_file():
        names = ", ".join(one.name for one in list_evaluations(runs_dir)) or "none yet"
        raise ValueError(f"{name}: no such evaluation in {runs_dir} (there: {names})")
    return Evaluation(path)


def find_stored(runs_dir: Path, name: str) -> Run:
    """The run or the evaluation called `name`; ValueError with the names there are."""
    path = runs_dir / check_name(name)
    if not path.is_symlink():
        if (path / SETTINGS).is_file():
            return Evaluation(path)
        if (path / "config.yaml").is_file():
            return Run(path)
    known = [*list_runs(runs_dir), *list_evaluations(runs_dir)]
    names = ", ".join(one.name for one in known) or "none yet"
    raise ValueError(f"{name}: no such run or evaluation in {runs_dir} (there: {names})")


def same_evaluation(
    runs_dir: Path, fixed: dict[str, Any], name: str | None = None
) -> Evaluation | None:
    """The evaluation whose settings hold all of `fixed`: a finished one, else the newest that can
    be gone on with."""
    found = [
        one
        for one in list_evaluations(runs_dir)
        if name in (None, one.name) and _holds(one, fixed) and _is_readable(one.db_path)
    ]
    return next((one for one in found if one.status() == "completed"), next(iter(found), None))


def _holds(one: Evaluation, fixed: dict[str, Any]) -> bool:
    try:
        settings = one.settings()
    except ValueError:
        return False  # cannot be gone on with either
    return all(getattr(settings, key) == value for key, value in fixed.items())


def _is_readable(path: Path) -> bool:
    """Whether a database is none yet or can be read."""
    if not path.exists():
        return True
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("SELECT count(*) FROM steps").fetchone()
    except sqlite3.Error:
        return False
    return True


def create_evaluation(
    runs_dir: Path, settings: EvaluationSettings, name: str | None = None
) -> Evaluation:
    """A new folder with its settings; `name` else one made of task and model. ValueError if the
    name is taken or no name."""
    name = name or free_name(runs_dir, _stem(settings))
    check_free(runs_dir, name)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    made = Evaluation(runs_dir / f".new-{uuid.uuid4().hex[:8]}")  # whole under its name, or absent
    try:
        made.inbox.mkdir(parents=True)
        write_atomically(made.config_path, text)
        made.path.rename(runs_dir / name)
    except OSError as error:
        shutil.rmtree(made.path, ignore_errors=True)
        raise ValueError(f"{runs_dir}: cannot make a folder there: {error.strerror}") from None
    return Evaluation(runs_dir / name)


def _stem(settings: EvaluationSettings) -> str:
    label = "-".join(["eval", settings.data.task, *settings.model_label.split()])
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in label)
    return kept[:56].rstrip("-.")
