"""Shorter is better: minus one hundredth for each character, so 200 characters give -2.

Add it to a reward for being right with a weight so small that a right long answer still beats a
wrong short one; with accuracy at weight 1, weight 0.1 keeps that true up to 1,000 characters.
"""

CHARACTERS_PER_POINT = 100


def brevity(completion):
    return -len(completion) / CHARACTERS_PER_POINT
