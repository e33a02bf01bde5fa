"""1 for the right answer, 0 for any other.

The answer may stand in <answer> tags, in \\boxed{}, after "the answer is", or be the last number;
numbers are compared as numbers.
"""

from grpo_core.grading import grade


def accuracy(completion, answer):
    return 1.0 if grade(completion, answer) else 0.0
