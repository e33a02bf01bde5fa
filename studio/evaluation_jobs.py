"""Evaluations that the page has begun and that have no folder yet, and what they said if they gave
up; from then on the folder alone says how they are doing.
"""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from grpo_core.evaluations import Evaluation
from studio import jobs


@dataclass
class Begun:
    """A process that the page has started."""

    arguments: tuple[str, ...]
    targets: tuple[str, ...]
    process: jobs.Process
    log: Path


_begun: list[Begun] = []


@dataclass(frozen=True)
class Question:
    """What a person asks of which models."""

    targets: tuple[str, ...]
    options: tuple[str, ...] = ()
    """As on the command line, `--samples 8`."""

    def arguments(self, runs_dir: Path | None) -> tuple[str, ...]:
        """What follows `grpo-studio` on the command line."""
        folder = ("--runs-dir", str(runs_dir)) if runs_dir else ()
        return ("evaluate", *self.targets, *self.options, *folder)


def command_line(question: Question, runs_dir: Path) -> str:
    """The question as a line to paste into a terminal opened where the studio was started."""
    folder = None if runs_dir == Path("runs").resolve() else runs_dir
    return shlex.join(["grpo-studio", *question.arguments(folder)])


def ask(runs_dir: Path, question: Question) -> None:
    """Begin; nothing happens where the same question is under way. ValueError where the disk
    refuses."""
    arguments = question.arguments(runs_dir)
    if any(one.arguments == arguments and one.process.poll() is None for one in _begun):
        return
    log = runs_dir / ".studio" / f"evaluate-{secrets.token_hex(4)}.log"
    with jobs.locked(log.parent):
        process = jobs.spawn([*arguments], log)
    _begun.append(Begun(arguments, question.targets, process, log))


def go_on(evaluation: Evaluation) -> None:
    """Answer what it has not yet."""
    ask(evaluation.path.parent, Question((evaluation.name,)))


def loading(known: list[Evaluation]) -> list[str]:
    """What is asked of models that are still being loaded, in words."""
    live = [one.state() for one in known if one.is_live()]
    pids = {state.pid for state in live if state is not None}
    waiting = [one for one in _begun if one.process.poll() is None and one.process.pid not in pids]
    return [", ".join(one.targets) for one in waiting]


def refusals() -> list[str]:
    """What those that gave up had to say, each once."""
    ended = [one for one in _begun if one.process.poll() is not None]
    for one in ended:
        _begun.remove(one)
    return [
        f"{', '.join(one.targets)}: {jobs.said(one.log) or 'it ended at once, without a word'}"
        for one in ended
        if one.process.returncode not in (0, -15)
    ]
