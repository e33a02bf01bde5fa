"""Whether two answers are equal as mathematics: `1/\\sqrt{2}` and `\\frac{\\sqrt 2}{2}`.

For reward code only: it runs SymPy on what a model wrote, which may take for ever or all memory, so
it belongs where a deadline ends it (`sandbox.py`), never in a trainer or a page.
"""

from __future__ import annotations

import logging

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from grpo_core import grading, verdict

# It warns once that the deadline is ours; as printed output that would stand beside a completion.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
_FORMS = (LatexExtractionConfig(), ExprExtractionConfig())


def grade(text: str, gold: str) -> bool:
    """Whether the completion `text` answers with `gold`; where it looks, see `grading.extract`."""
    answer, _ = grading.extract(text)
    return answer is not None and equal(answer, gold)


def equal(given: str, gold: str) -> bool:
    """Whether two short answers, in LaTeX or plain, say the same.

    What `verdict.decide` can decide stays decided: two numbers are compared exactly, equal texts
    are equal, and arithmetic left undone is no number. The rest is compared by math-verify:
    expressions that simplify to the same, sets, intervals, matrices, equations
    (https://github.com/huggingface/Math-Verify).
    """
    decided = verdict.decide(given, gold)
    if decided is not None:
        return decided
    # its own timeouts work in a main thread only, and turn what took too long into a wrong answer
    wanted, found = (
        parse(f"${text}$", _FORMS, parsing_timeout=None, raise_on_error=False)
        for text in (gold, given)
    )
    return bool(verify(wanted, found, timeout_seconds=None, raise_on_error=False))
