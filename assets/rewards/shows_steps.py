"""How many steps the text shows, against a wanted number; 1 from there on.

A step is a line that begins with `Step 1`, `2.` or `3)`, with a dash or a star, or with First,
Second, Next, Then or Finally and a comma.
"""

import re

STEPS = 3
_STEP = re.compile(
    r"^[ \t]*(?:step \d+|\d{1,3}[.)][ \t]|[-*•][ \t]|(?:first|second|third|next|then|finally),)",
    re.IGNORECASE | re.MULTILINE,
)


def shows_steps(completion):
    return min(len(_STEP.findall(completion)) / STEPS, 1.0)
