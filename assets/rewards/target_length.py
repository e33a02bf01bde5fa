"""1 at a wanted number of tokens, falling evenly to 0 at none and at twice as many."""

TOKENS = 100


def target_length(completion, completion_ids):
    return max(0.0, 1.0 - abs(len(completion_ids) - TOKENS) / TOKENS)
