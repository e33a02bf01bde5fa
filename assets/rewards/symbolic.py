"""1 for an answer that is equal as mathematics, 0 for any other: `(x+1)^2` is `x^2 + 2x + 1`.

The answer may stand wherever `accuracy` finds it, in LaTeX or plain. SymPy decides, which takes
some hundred times as long as `accuracy` does on numbers; a text that it cannot finish with before
the deadline is left out.
"""

from grpo_core.symbolic import grade


def symbolic(completion, answer):
    return 1.0 if grade(completion, str(answer)) else 0.0
