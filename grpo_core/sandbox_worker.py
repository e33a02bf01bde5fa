"""The child side of the sandbox: runs reward functions on what the parent (`sandbox.py`) sends.

Started as a plain file with one argument, a JSON object with its pipes and limits. A frame is four
bytes of length and a JSON object. Requests are answered in order, each answer with the nonce of
the first frame:

    {"nonce"}                              no answer
    {"load": {text, filename, functions}}  {} or {fault}
    {"groups", "calls"}                    {} when decoded, then for each call {verdicts, printed}
                                           or {fault, printed}, both with their seconds

Amid a call the worker may ask {"program"}, with the program behind the JSON, and is answered with
{"ran"}, see `programs.py`.

Imports the standard library alone, so that it starts fast and a user's file meets a clean slate.
"""

from __future__ import annotations

import copy
import ctypes
import faulthandler
import inspect
import io
import json
import linecache
import math
import numbers
import os
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_PRINTED = 4000
MAX_TRACE = 2000
MAX_MESSAGE = 300


@dataclass
class Function:
    """A loaded reward function: how to call it and where it stands."""

    call: Any
    batch: bool
    messages: bool
    filename: str
    line: int | None
    parameters: Mapping[str, inspect.Parameter]


class Printed(io.TextIOBase):
    """Keeps the first characters that are printed and counts the others."""

    def __init__(self) -> None:
        self.kept, self.num_dropped = "", 0

    def write(self, text: str) -> int:
        """Keep what there is room for; returns the length of all, as files do."""
        kept = text[: MAX_PRINTED - len(self.kept)]
        self.kept += kept
        self.num_dropped += len(text) - len(kept)
        return len(text)

    def take(self) -> str:
        """What was printed since the last call."""
        more = f"\n… and {self.num_dropped} characters more" if self.num_dropped else ""
        text, self.kept, self.num_dropped = self.kept + more, "", 0
        return text


class Worker:
    """Reads requests and answers them until the parent is gone."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.request, self.answer_to = settings["request"], settings["answer"]
        self.pid, self.nonce = os.getpid(), ""
        self.functions: dict[int, Function] = {}
        self.printed = Printed()
        self.in_call, self.turn = False, threading.Lock()

    def serve(self) -> None:
        """Does not return: the process ends when the parent closes its end of the pipe."""
        self.nonce = self.receive()["nonce"]
        while True:
            request = self.receive()
            if "load" in request:
                self.answer(self.load(request["load"]))
                continue
            self.answer({})
            for index, group, items in request["calls"]:
                self.in_call = True
                said = self.run(self.functions[index], request["groups"][str(group)], items)
                with self.turn:  # a program that a thread still waits for ends with its call
                    self.in_call = False
                    self.answer(said)

    def run_program(self, timeout_s: float, program: bytes) -> dict[str, Any]:
        """Have the parent run a program; what became of it, as `programs.py` reads it."""
        if os.getpid() != self.pid:
            raise RuntimeError("a program cannot run in a copy of the process: call run before")
        with self.turn:
            if not self.in_call:
                raise RuntimeError("a program runs only while a reward function is called")
            try:
                self.answer({"program": {"timeout_s": timeout_s}}, program)
                ran: dict[str, Any] = self.receive()["ran"]
            except BaseException:
                os._exit(1)  # half an exchange, by an alarm perhaps: the next would be out of step
            return ran

    def receive(self) -> dict[str, Any]:
        """The next frame."""
        (size,) = struct.unpack("<I", self._read(4))
        frame: dict[str, Any] = json.loads(self._read(size))
        return frame

    def _read(self, size: int) -> bytes:
        chunks = []
        while size:
            chunk = os.read(self.request, min(size, 1 << 20))
            if not chunk:
                os._exit(0)
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def answer(self, payload: dict[str, Any], body: bytes | None = None) -> None:
        """Send one frame; `body` follows the JSON on a line of its own."""
        if os.getpid() != self.pid:
            os._exit(0)  # a copy that the reward function forked must not answer too
        data = json.dumps({"nonce": self.nonce, **payload}).encode()
        data += b"" if body is None else b"\n" + body
        frame = memoryview(struct.pack("<I", len(data)) + data)
        while frame:
            frame = frame[os.write(self.answer_to, frame) :]

    def load(self, source: dict[str, Any]) -> dict[str, Any]:
        """Run a reward file as a module of its own and look up its functions."""
        text, filename = source["text"], source["filename"]
        # For tracebacks of a file that is on no disk. Its lines end as the compiler sees it.
        lines = io.StringIO(text, newline=None).readlines()
        linecache.cache[filename] = (len(text), None, lines, filename)
        sys.stdout = sys.stderr = self.printed
        try:
            module = types.ModuleType(f"reward_{len(sys.modules)}")
            sys.modules[module.__name__] = module  # dataclasses look their module up there
            exec(compile(text, filename, "exec", dont_inherit=True), module.__dict__)
            for index, name, batch, messages in source["functions"]:
                call = getattr(module, name)
                line = getattr(getattr(call, "__code__", None), "co_firstlineno", None)
                asked = inspect.signature(call).parameters
                self.functions[index] = Function(call, batch, messages, filename, line, asked)
        except BaseException as error:
            return {"fault": describe(error, filename, None), "printed": self.printed.take()}
        return {}  # what the file printed goes with its first call

    def run(self, function: Function, group: dict[str, Any], items: list[int]) -> dict[str, Any]:
        """Call a function on one completion, or on all of `items` in batch form."""
        sys.stdout = sys.stderr = self.printed
        started = time.perf_counter()
        try:
            value = function.call(**arguments(function, group, items))
            verdicts = judge_batch(value, len(items)) if function.batch else [judge(value)]
            said: dict[str, Any] = {"verdicts": verdicts}
        except BaseException as error:
            said = {"fault": describe(error, function.filename, function.line)}
        return {
            **said,
            "printed": self.printed.take(),
            "seconds": time.perf_counter() - started,
        }


def arguments(function: Function, group: dict[str, Any], items: list[int]) -> dict[str, Any]:
    """What the function asks for by name, or all there is for `**`; fresh objects for each call."""
    num, answer, step = len(items), group["answer"], group["step"]
    ids = [list(group["completion_ids"][item]) for item in items]
    prompts: list[Any] = [group["prompt"]] * num
    completions: list[Any] = [group["completions"][item] for item in items]
    if function.messages:
        prompts = [[{"role": "user", "content": group["question"]}] for _ in items]
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    values: dict[str, Any]
    if function.batch:
        values = {
            name: [copy.deepcopy(value) for _ in items]
            for name, value in group["columns"].items()
            if name not in ("prompt", "completion")  # TRL hands over no such columns either
        }
        values |= {"prompts": prompts, "completions": completions, "completion_ids": ids}
        values |= {"answer": [answer] * num, "step": step}
        values |= {"trainer_state": types.SimpleNamespace(global_step=step)}
        values |= {"log_extra": lambda column, values: None, "log_metric": lambda name, value: None}
    else:
        values = copy.deepcopy(group["columns"])
        values |= {"prompt": prompts[0], "completion": completions[0], "completion_ids": ids[0]}
        values |= {"answer": answer, "step": step}
    asked = function.parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked.values())
    return {name: value for name, value in values.items() if takes_all or name in asked}


def judge_batch(values: Any, num: int) -> list[list[Any]]:
    """One verdict a completion; all `badtype` if it is not one value for each of them."""
    if hasattr(values, "tolist"):
        values = values.tolist()  # NumPy arrays and PyTorch tensors
    if not isinstance(values, list | tuple):
        return [["badtype", None, f"returned {type(values).__name__}, not a list"]] * num
    if len(values) != num:
        return [["badtype", None, f"returned {len(values)} values for {num} completions"]] * num
    return [judge(value) for value in values]


def judge(value: Any) -> list[Any]:
    """`[outcome, number or None, why there is no number]`."""
    if value is None:
        return ["abstain", None, ""]
    if getattr(value, "shape", None) == ():
        value = value.item()  # scalars of NumPy and PyTorch
    if not isinstance(value, numbers.Number) or isinstance(value, complex):
        return ["badtype", None, f"returned {type(value).__name__}, not a number or None"]
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return ["nonfinite", None, f"returned {'nan' if math.isnan(number) else 'infinity'}"]
    return ["ok", number, ""]


def describe(error: BaseException, filename: str, line: int | None) -> dict[str, Any]:
    """Message, line in the reward file (else `line`) and a short traceback."""
    fault: dict[str, Any] = {"message": type(error).__name__, "line": line, "trace": ""}
    step = error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == filename:
            fault["line"] = step.tb_lineno
        step = step.tb_next
    try:
        text: object = error
        if isinstance(error, SyntaxError) and error.filename == filename:
            fault["line"], text = error.lineno, error.msg  # as str() it repeats file and line
        fault["message"] = f"{type(error).__name__}: {text}"[:MAX_MESSAGE].removesuffix(": ")
        frames = traceback.extract_tb(error.__traceback__, limit=-8)
        own = [frame for frame in frames if frame.filename != __file__]
        lines = traceback.format_list(own) + traceback.format_exception_only(error)
        fault["trace"] = "".join(lines)[-MAX_TRACE:]
    except BaseException as second:  # out of memory, or a __str__ that raises: name what is known
        fault["trace"] = f"(no traceback: {type(second).__name__})"
    return fault


def restrict(settings: dict[str, Any]) -> None:
    """Limits, and an end that comes with the parent's, before the first line of a user's code."""
    from grpo_core.sandbox_limits import end_with, limit  # noqa: PLC0415  see `main`

    faulthandler.enable(file=settings["trace"])
    # Where the code hangs, without the GIL: the parent asks for it just before it kills.
    faulthandler.register(signal.SIGUSR1, file=settings["trace"], all_threads=False)
    limit(settings["memory_bytes"])
    end_with(settings["trace"])  # elsewhere than on Linux a worker ends after its current call
    if sys.platform == "linux" and settings["parent"]:
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != settings["parent"]:
            os._exit(0)


def main() -> None:
    """Serve until the parent goes; any failure of the worker itself ends it, which is a crash."""
    settings = json.loads(sys.argv[1])
    sys.path.append(settings["root"])
    restrict(settings)
    if settings["lock"]:
        from grpo_core.sandbox_lock import lock  # noqa: PLC0415  found now that the path is known

        lock(settings["trace"])
    # no folder can be written, and a library that looks for one when it is imported must not fail
    tempfile.tempdir = os.sep
    from grpo_core import programs  # noqa: PLC0415

    try:
        worker = Worker(settings)
        programs.relay = worker.run_program
        worker.serve()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
