"""Running a program that a model wrote, from inside a reward function.

    from grpo_core.programs import run
    ran = run("print(int(input()) + 1)", stdin="41")   # ran.stdout == "42\\n"

The program runs in a process of its own, as locked as reward code, and not in the judge's: it can
neither read what is expected of it nor change how that is compared, and only data comes back.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_REQUEST = 4 << 20
"""Bytes of a program with its input and arguments, as JSON."""
MAX_OUTPUT = 1 << 20
"""Bytes of what it prints, and of what the called function returns, as JSON."""


@dataclass(frozen=True)
class Ran:
    """What became of a program. All of it was possibly made up by the program."""

    outcome: Literal["ok", "error", "timeout", "crash"]
    """`error`: it raised, exited with a code or gave out too much; `crash`: its process ended
    without a word, as `os._exit` makes it."""
    stdout: str = ""
    """What it printed, if only before it failed; at most 1 MiB, and more is an error."""
    returned: Any = None
    """JSON value that the called function returned; tuples are lists, keys are text."""
    error: str = ""
    """Why the outcome is not `ok`, with the line of the program where that is known."""
    seconds: float = 0.0
    """From the start of its process to the end."""


relay: Callable[[float, bytes], dict[str, Any]] | None = None
"""How a sandbox worker has its parent run a program; None everywhere else."""


def run(
    program: str,
    stdin: str = "",
    call: str | None = None,
    args: Sequence[Any] = (),
    timeout_s: float = 1.0,
) -> Ran:
    """Run Python text in a fresh process, for at most `timeout_s` seconds; costs about 4 ms.

    It reads `stdin` and may print. With `call` it is a module, its `__name__` not `__main__`, of
    which that function is then called on `args`. While it runs, the deadline of the call of the
    reward function stands still; all programs of one call get ten times that deadline, and then
    time out at once.

    Raises RuntimeError anywhere but in a call of a reward function, ValueError for a time that is
    not positive and for more than 4 MiB of program, input and arguments, TypeError for
    arguments that are not JSON.
    """
    if relay is None:
        raise RuntimeError(
            "a program runs only while the sandbox calls a reward function: put this call into "
            "one and try it in the Reward lab or with `grpo-studio reward-test`"
        )
    if not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s must be a positive number of seconds, not {timeout_s}")
    asked = {"program": str(program), "stdin": str(stdin), "call": call, "args": list(args)}
    data = json.dumps(asked, allow_nan=False).encode()
    if len(data) > MAX_REQUEST:
        raise ValueError(f"program, input and arguments are {len(data)} bytes, over {MAX_REQUEST}")
    return _read(relay(float(timeout_s), data), timeout_s)


def _read(ran: dict[str, Any], timeout_s: float) -> Ran:
    """Judge what the parent passed on; the program may have written `stdout` and `result`."""
    ended, code, stdout, seconds = (ran[key] for key in ("ended", "code", "stdout", "seconds"))
    if ended == "late":
        cut = "" if seconds >= timeout_s else ", all that was left for the programs of this call"
        limit_s = timeout_s if seconds >= timeout_s else seconds
        return Ran("timeout", stdout, None, f"took longer than {limit_s:.3g} s{cut}", seconds)
    if ended == "spent":
        return Ran("timeout", error="not run: the programs of this call have had all their time")
    if ended == "lost":
        return Ran("crash", error="the process that starts programs was lost")
    if ended == "flood":
        return Ran("error", stdout, None, "gave out more than 1 MiB", seconds)
    crash = Ran("crash", stdout, None, f"its process {how_it_ended(code)}", seconds)
    if code:
        return crash
    try:
        said = json.loads(ran["result"], parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return crash
    match said:
        case {"returned": returned, **rest} if not rest:
            return Ran("ok", stdout, returned, "", seconds)
        case {"error": str(error), **rest} if not rest:
            return Ran("error", stdout, None, error, seconds)
    return crash


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def how_it_ended(code: int) -> str:
    """A process's exit code in words; signals are negative."""
    return f"was killed: {signal.strsignal(-code)}" if code < 0 else f"exited with code {code}"
