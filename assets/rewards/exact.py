"""1 if the text is the answer itself, spaces around it aside; else 0."""


def exact(completion, answer):
    return 1.0 if completion.strip() == str(answer).strip() else 0.0
