"""1 if exactly one well-formed <answer>…</answer>, not empty, closes the text; else 0."""


def answer_tag(completion):
    text = completion.rstrip()
    one_each = text.count("<answer>") == text.count("</answer>") == 1
    inside = text.partition("<answer>")[2].removesuffix("</answer>")
    closes = text.endswith("</answer>")
    return 1.0 if one_each and closes and inside.strip() else 0.0
