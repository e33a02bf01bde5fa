"""What is marked in the reward editor before anything runs. The text is parsed, never executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

from pyflakes import messages
from pyflakes.checker import Checker

from grpo_core import rewards

CONTRACT = ("prompt", "completion", "answer", "step", "completion_ids")
"""What a function may ask for by name, beside the columns of the data."""
BATCH_CONTRACT = (
    "prompts", "completions", "answer", "step", "completion_ids",
    "trainer_state", "log_extra", "log_metric",
)  # fmt: skip
RAISES = (
    messages.UndefinedName,
    messages.UndefinedLocal,
    messages.DuplicateArgument,
    messages.ReturnOutsideFunction,
    messages.YieldOutsideFunction,
    messages.ContinueOutsideLoop,
    messages.BreakOutsideLoop,
    messages.PercentFormatMissingArgument,
    messages.StringDotFormatMissingArgument,
)
"""Of pyflakes' messages those that an exception will follow when the line runs."""

MAX_MARKS = 100

Mark = dict[str, Any]
"""`line` (from 1), `message`, `severity` (error or warning), as the editor takes it."""


def syntax_error(text: str) -> Mark | None:
    """Why the text is not Python."""
    try:
        rewards.find_functions(text)
    except ValueError as error:
        match = re.match(r"line (\d+): (.*)", str(error), re.DOTALL)
        line, message = (int(match[1]), match[2]) if match else (1, str(error))
        return _mark(line, message, "error")
    return None


def marks(text: str, columns: Collection[str] | None) -> list[Mark]:
    """What pyflakes finds, and parameters that nothing will be passed for, by line.

    `columns`: of the data the reward is for; None where they are not known. Only a syntax error
    keeps a text from running: the other marks may be wrong.
    """
    wrong = syntax_error(text)
    if wrong is not None:
        return [wrong]
    try:
        tree = ast.parse(text)
        found = [_said(message) for message in Checker(tree, filename="reward").messages]
        found += _unknown_parameters(tree, columns)
    except (RecursionError, MemoryError):
        return [_mark(1, "nested too deeply to be checked", "warning")]
    return sorted(found, key=lambda mark: mark["line"])[:MAX_MARKS]


def _said(message: messages.Message) -> Mark:
    sentence = str(message.message % message.message_args)
    return _mark(message.lineno, sentence, "error" if isinstance(message, RAISES) else "warning")


def _unknown_parameters(tree: ast.Module, columns: Collection[str] | None) -> list[Mark]:
    """Parameters without a default that the contract does not know."""
    found: list[Mark] = []
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef):
            said = f"{node.name} is async: only a plain def is called as a reward"
            found.append(_mark(node.lineno, said, "warning"))
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        given = node.args
        everything = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        names = {one.arg for one in everything}
        if not names & {"completion", "completions"}:
            continue
        if {"completion", "completions"} <= names:
            said = "asks for completion and completions: it gets one text, or a whole group"
            found.append(_mark(node.lineno, said, "error"))
            continue
        known = CONTRACT if "completion" in names else BATCH_CONTRACT
        for one in _required(given):
            if columns is not None and one.arg not in known and one.arg not in columns:
                there = ", ".join([*known[:5], *columns])
                said = f"nothing is passed for {one.arg}: there are {there}"
                found.append(_mark(one.lineno, said, "error"))
    return found


def _required(given: ast.arguments) -> list[ast.arg]:
    positional = [*given.posonlyargs, *given.args]
    named = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return [
        *positional[: len(positional) - len(given.defaults)],
        *(one for one, default in named if default is None),
    ]


def _mark(line: int, message: str, severity: str) -> Mark:
    return {"line": line, "message": message, "severity": severity}
