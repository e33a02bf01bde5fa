"""An evaluation from the question to the last stored completion: batch after batch, each whole or
not at all, so that one that was killed goes on with the next and ends with the same completions.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from grpo_core.engine import Engine, Sampling, make_engine
from grpo_core.evaluation_data import Asked, key_of
from grpo_core.evaluation_store import (
    GREEDY,
    SAMPLED,
    EvaluationReader,
    EvaluationWriter,
    Judged,
    Kind,
)
from grpo_core.evaluation_target import find_target, target_of_model, target_of_run
from grpo_core.evaluation_wish import Wish, asked_before, asked_for, fixed_settings, settings_of
from grpo_core.evaluations import (
    Evaluation,
    EvaluationSettings,
    create_evaluation,
    same_evaluation,
)
from grpo_core.generate import sample
from grpo_core.judge import Judge
from grpo_core.launch import logging_to
from grpo_core.machine import keep_freed_memory
from grpo_core.policy import Policy
from grpo_core.records import Event, Group, Problem
from grpo_core.runs import RunState, Status, find_run
from grpo_core.worker import derive_seed, fewer_rows, said_of_undecided

log = logging.getLogger("grpo_core")
OnBatch = Callable[[RunState, float], None]
"""Hears after each batch of the state (step: problems done) and of the seconds it took."""


def evaluate_model(runs_dir: Path, text: str, wish: Wish, on_batch: OnBatch) -> Evaluation:
    """Ask the model that `text` names (see `find_target`) and store what it says.

    An evaluation with the same settings that is there already is gone on with, or returned as it
    is. Raises ValueError, and writes nothing, where the wish cannot be met.
    """
    target = find_target(runs_dir, text)
    asked = asked_for(target, wish)
    fixed = fixed_settings(target, asked, wish)
    known = same_evaluation(runs_dir, fixed, wish.name)
    if known is not None and not _is_open(known):
        return known
    policy = target.load(_device())
    settings = settings_of(fixed, asked, policy)
    known = known or same_evaluation(runs_dir, fixed, wish.name)  # begun while we loaded
    if known is not None and not _is_open(known):
        return known
    evaluation = known or create_evaluation(runs_dir, settings, wish.name)
    return _answer(evaluation, asked, policy, on_batch)


def check(runs_dir: Path, text: str, wish: Wish) -> None:
    """ValueError where the wish cannot be met, as far as that shows without the model."""
    asked_for(find_target(runs_dir, text), wish)


def go_on(evaluation: Evaluation, on_batch: OnBatch) -> Evaluation:
    """Answer what an evaluation has not yet. ValueError where model or problems have changed."""
    settings = evaluation.settings()
    if not _is_open(evaluation):
        return evaluation
    if settings.run is not None:
        target = target_of_run(find_run(evaluation.path.parent, settings.run), settings.step)
    else:
        target = target_of_model(settings.model)
    asked = asked_before(target, settings)
    if (target.fingerprint, asked.digest) != (settings.fingerprint, settings.problems):
        what = "problems" if asked.digest != settings.problems else "model"
        raise ValueError(
            f"{evaluation.name}: its {what} have changed since it began; begin a new evaluation"
        )
    policy = replace(target, model=settings.model).load(_device())
    return _answer(evaluation, asked, policy, on_batch)


def _is_open(evaluation: Evaluation) -> bool:
    """Whether there is something left to answer; ValueError where another process does it now."""
    if evaluation.is_live() and evaluation.state() is not None:
        raise ValueError(
            f"{evaluation.name}: is {evaluation.status()} already, in another process; wait for "
            f"it, or `grpo-studio stop {evaluation.name}`"
        )
    return evaluation.status() != "completed"


# --- answering -----------------------------------------------------------------------------------


def _answer(evaluation: Evaluation, asked: Asked, policy: Policy, on_batch: OnBatch) -> Evaluation:
    """Batch after batch from the first that is not stored, until all are or a stop is asked for."""
    settings = evaluation.settings()
    with _locked(evaluation), logging_to(evaluation.log_path):
        evaluation.forget_wishes()
        writer = EvaluationWriter(evaluation.db_path)
        teller = _Teller(evaluation, len(asked.problems))
        try:
            with EvaluationReader(evaluation.db_path) as reader:
                batches, teller.done = reader.num_done()
            engine = make_engine(policy.model, policy.eos_ids, settings.model.engine)
            if not batches:
                for message in filter(None, [*asked.notes, engine.notice]):
                    writer.write_event(0, Event("notice", {"message": message}))
            teller.tell("running")
            with Judge(is_ordered=settings.data.task != "math", die_with_parent=True) as judge:
                for batch in range(batches + 1, _num_batches(settings) + 1):
                    if _is_stopped(evaluation):
                        teller.tell("stopped")
                        return evaluation
                    began = time.perf_counter()
                    judged, events = _batch(batch, settings, asked, policy, engine, judge)
                    seconds = time.perf_counter() - began
                    writer.write_batch(batch, judged, seconds, events)
                    teller.done += len(judged)
                    on_batch(teller.tell("running"), seconds)
            teller.tell("completed")
            return evaluation
        except KeyboardInterrupt:
            teller.tell("stopped")
            raise
        except Exception as error:
            log.exception("the evaluation failed")
            teller.tell("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            writer.close()


@contextmanager
def _locked(evaluation: Evaluation) -> Iterator[None]:
    """Nobody else answers meanwhile; what the disk refuses becomes a ValueError."""
    try:
        with evaluation.lock(wait_s=10):
            yield
    except sqlite3.Error as error:
        raise ValueError(
            f"{evaluation.name}: {evaluation.db_path} cannot be read or written: {error}; the same "
            "command goes on once it can"
        ) from None


def _num_batches(settings: EvaluationSettings) -> int:
    return -(-settings.num_problems // settings.batch_size)


def _batch(
    batch: int,
    settings: EvaluationSettings,
    asked: Asked,
    policy: Policy,
    engine: Engine,
    judge: Judge,
) -> tuple[list[Judged], list[Event]]:
    """The problems of a batch (from 1), answered and judged. A function of settings and number
    alone: nothing carries over from the batch before."""
    start = (batch - 1) * settings.batch_size
    problems = asked.problems[start : start + settings.batch_size]
    rows_before = engine.rows_at_once
    groups = _sampled(problems, settings, policy, engine, derive_seed(settings.seed, batch))
    events = [] if engine.rows_at_once == rows_before else [fewer_rows(engine)]
    kinds: list[Kind] = [GREEDY, *[SAMPLED] * settings.samples]
    pairs = [(one.text, group.problem.answer) for group in groups for one in group.rollouts]
    grades = judge.grade(pairs)
    judged = []
    for number, group in enumerate(groups):
        given = grades[number * len(kinds) : (number + 1) * len(kinds)]
        for one, grade in zip(group.rollouts, given, strict=True):
            one.outcome, one.correct, one.reward = "ok", grade.correct, float(grade.correct)
            one.parts = {"judge": one.reward}
        judged.append(Judged(group, kinds, given, key_of(group.problem)))
    if undecided := sum(grade.outcome != "ok" for grade in grades):
        events.append(Event("notice", {"message": said_of_undecided(undecided)}))
    return judged, events


def _sampled(
    problems: Sequence[Problem],
    settings: EvaluationSettings,
    policy: Policy,
    engine: Engine,
    seed: int,
) -> list[Group]:
    """The greedy completion of each problem, and after it those that are sampled."""
    length = settings.max_new_tokens
    greedy = Sampling(length, greedy=True)
    groups = sample(engine, policy, settings.data, problems, 1, greedy, seed=0)
    if settings.samples:
        how = Sampling(length, settings.temperature, settings.top_p)
        more = sample(engine, policy, settings.data, problems, settings.samples, how, seed)
        for group, sampled in zip(groups, more, strict=True):
            group.rollouts += sampled.rollouts
    return groups


def _is_stopped(evaluation: Evaluation) -> bool:
    """Whether somebody has asked it to stop; any other wish means nothing to it."""
    stop = False
    for command, file in evaluation.take_commands():
        stop |= command is not None and command.kind == "stop"
        file.unlink(missing_ok=True)
    return stop


class _Teller:
    """Keeps `state.json`, where pages and commands find how far an evaluation is."""

    def __init__(self, evaluation: Evaluation, num_problems: int) -> None:
        self._evaluation, self._num = evaluation, num_problems
        self._process = psutil.Process()
        self.done = 0

    def tell(self, status: Status, message: str = "") -> RunState:
        """How it is, with `self.done` of the problems stored."""
        state = RunState(
            status=status,
            pid=self._process.pid,
            create_time=self._process.create_time(),
            heartbeat=time.time(),
            step=self.done,
            num_steps=self._num,
            phase="answering" if status == "running" else status,
            message=message,
        )
        self._evaluation.write_state(state)
        return state


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    keep_freed_memory()
    return torch.device("cpu")
