"""1 for a number within a tolerance of the answer, 0 for any other or none; does not apply where
the answer is no number.

The number may stand wherever `accuracy` finds it.
"""

from fractions import Fraction

from grpo_core.grading import extract, number

TOLERANCE = Fraction("0.01")
"""As a share of the answer; numbers are exact here."""


def close_number(completion, answer):
    wanted = number(str(answer))
    if wanted is None:
        return None
    given, _ = extract(completion)
    found = number(given or "")
    if found is None:
        return 0.0
    return 1.0 if abs(found - wanted) <= TOLERANCE * abs(wanted) else 0.0
