"""The process of one program: runs it as Python would, then says what became of it.

What it says is one JSON object, `{"returned"}` or `{"error"}`. The program is in this process and
could write another one, which gains it nothing: it may return and print what it likes anyway, and
what was expected of it is not here. Only the standard library, see `sandbox_host.py`.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import tempfile
import threading
import types
from contextlib import suppress
from typing import Any

from grpo_core.sandbox_worker import describe

FILENAME = "program.py"


def main(asked: dict[str, Any], result: int) -> None:
    """Run `asked`, write to the pipe `result`, end the process."""
    # left open until the process ends
    sys.stdin = open(0, encoding="utf-8", errors="surrogatepass", closefd=False)  # noqa: SIM115
    stdout = open(  # noqa: SIM115
        1, "w", encoding="utf-8", errors="surrogateescape", closefd=False
    )
    sys.stdout = stdout
    vars(sys).update(__stdin__=sys.stdin, __stdout__=stdout)
    # no folder can be written, and a library that looks for one when it is imported must not fail
    tempfile.tempdir = os.sep
    said = _text(execute(asked["program"], asked["call"], asked["args"]))
    _wind_up()
    try:
        with suppress(ValueError):  # the program has closed it, after what it printed
            stdout.flush()
    except OSError as error:
        said = _text({"error": f"what it printed was lost: {error}"})
    left = memoryview(said.encode())
    while left:
        left = left[os.write(result, left) :]
    os._exit(0)


def execute(text: str, name: str | None, args: list[Any]) -> dict[str, Any]:
    """Run a program, with `name` as a module of which that function is then called."""
    module = types.ModuleType("__main__" if name is None else "program")
    sys.modules["__main__"] = sys.modules[module.__name__] = module
    try:
        exec(compile(text, FILENAME, "exec", dont_inherit=True), module.__dict__)
        if name is None:
            return {"returned": None}
        if name not in module.__dict__:
            return {"error": f"NameError: the program has no {name}"}
        return {"returned": module.__dict__[name](*args)}
    except SystemExit as error:
        if name is None and not error.code:
            return {"returned": None}
        return {"error": _message(error)}
    except BaseException as error:
        return {"error": _message(error)}


def _message(error: BaseException) -> str:
    fault = describe(error, FILENAME, None)
    message = fault["message"]
    return f"{message} (line {fault['line']})" if fault["line"] else str(message)


def _text(said: dict[str, Any]) -> str:
    try:
        return json.dumps(said, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        kind = type(said["returned"]).__name__
        return json.dumps({"error": f"returned {kind}, which is not JSON: {error}"[:300]})


def _wind_up() -> None:
    """What Python does at its end: wait for threads, call what was registered."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
