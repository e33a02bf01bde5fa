"""0 up to a number of tokens, then falling evenly to -1 at the most: long texts are told so before
they are cut off (DAPO, arXiv 2503.14476, equation 13).

Set MOST to what `rollout.max_new_tokens` is.
"""

MOST, SOFT = 512, 128


def soft_overlong(completion, completion_ids):
    return -min(max(len(completion_ids) - (MOST - SOFT), 0) / SOFT, 1.0)
