"""The share of the row's `tests` that the program in the text passes, run in a process of its own;
does not apply where there are none.

A test is `{"input": "1 2", "output": "3"}` for what is read and printed, spaces at the ends of
lines aside, or `{"call": "add", "args": [1, 2], "returns": 3}`; a column of text is read as JSON.
The program is the last ```python block, or the whole text. Tests behind one that takes longer than
SECONDS are not run and count as failed.
"""

import json
import re
import textwrap

from grpo_core.programs import run

SECONDS = 1.0
SHOWN = 5
_BLOCK = re.compile(
    r"^[ \t]*```py[^\n]*\n(.*?)(?:^[ \t]*```|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)


def passes_tests(completion, tests=None):
    tests = json.loads(tests) if isinstance(tests, str) else tests
    if not tests:
        return None
    blocks = _BLOCK.findall(completion)
    program = textwrap.dedent(blocks[-1]) if blocks else completion
    num_passed = num_failed = 0
    for number, test in enumerate(tests, 1):
        ran, why = _try(program, test)
        num_passed += not why
        num_failed += bool(why)
        if why and num_failed <= SHOWN:
            print(f"test {number}: {why}")
        if ran.outcome == "timeout":
            break
    print(f"{num_passed} of {len(tests)} tests passed")
    return num_passed / len(tests)


def _try(program, test):
    """What became of the program, and why that is not what the test wants."""
    if test.get("call"):
        ran = run(program, call=test["call"], args=test["args"], timeout_s=SECONDS)
        given, wanted = ran.returned, test["returns"]
    else:
        ran = run(program, stdin=test["input"], timeout_s=SECONDS)
        given, wanted = _lines(ran.stdout), _lines(test["output"])
    if ran.outcome != "ok":
        return ran, ran.error
    return ran, "" if given == wanted else f"gave {given!r:.80}, not {wanted!r:.80}"


def _lines(text):
    return [line.rstrip() for line in text.rstrip().split("\n")]
