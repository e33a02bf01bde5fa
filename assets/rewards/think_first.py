"""1 if the text begins with one <think>…</think>, not empty, and says something after it; else 0.

Where the chat template has already written the opening tag, the text may begin inside it.
"""


def think_first(completion):
    thought, closing, said = completion.partition("</think>")
    thought = thought.strip().removeprefix("<think>")
    one_block = closing and "<think>" not in thought + said and "</think>" not in said
    return 1.0 if one_block and thought.strip() and said.strip() else 0.0
