"""1 if the text contains what a regular expression describes, else 0.

One that takes too long on a text costs that completion and no other: it is left out.
"""

import re

PATTERN = r"####\s*-?\d+\s*$"


def matches(completion):
    return 1.0 if re.search(PATTERN, completion) else 0.0
