"""Minus the share of runs of words that were there before: 0 where nothing is said twice, close to
-1 for a text that goes round in circles (arXiv 2502.03373, appendix C.2, with words for tokens).
"""

WORDS = 3


def no_repetition(completion):
    words = completion.split()
    runs = [tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
    return len(set(runs)) / len(runs) - 1.0 if runs else 0.0
