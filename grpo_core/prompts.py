"""What a model is asked: the turns of a chat, and the plain text for one without chat. No torch:
around the turns of a chat goes the tokenizer's own template (`policy.render_prompt`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from grpo_core.data_config import DataConfig
from grpo_core.records import Problem

Turn = dict[str, str]
"""`role` (system, user, assistant) and `content`."""
_CALCULATION = re.compile(r"<<[^<>]{0,200}>>")


def worked(task: str, problem: Problem) -> str:
    """A problem's solution as a worked example shows it: the data set's own where it has one,
    without GSM8K's marks for its calculator, else the answer in a form that the judge reads."""
    if task == "gsm8k":
        return _CALCULATION.sub("", str(problem.row["solution"])).strip()
    if task == "math":
        return str(problem.row["solution"]).strip()
    if task == "cmath":
        return f"答案是{problem.answer}。"
    return f"<answer>{problem.answer}</answer>"


def turns(data: DataConfig, question: str, examples: Iterable[tuple[str, str]] = ()) -> list[Turn]:
    """System turn, where there is one, the worked examples and the question."""
    found = [Turn(role="system", content=data.system_prompt)] if data.system_prompt else []
    for asked, solution in examples:
        found.append(Turn(role="user", content=_user(data, asked)))
        found.append(Turn(role="assistant", content=solution))
    return [*found, Turn(role="user", content=_user(data, question))]


def plain(chat: list[Turn]) -> str:
    """The turns as text, for a tokenizer without chat template: paragraphs, and where there are
    worked examples `Question: …` and `Answer: …`, which a model that only continues text goes on
    with. It may go on with a question of its own after its answer: nothing stops it."""
    is_shown = any(turn["role"] == "assistant" for turn in chat)
    labels = {"user": "Question: ", "assistant": "Answer: "} if is_shown else {}
    text = ""
    for turn in chat:
        gap = "\n" if turn["role"] == "assistant" else "\n\n"
        text += (gap if text else "") + labels.get(turn["role"], "") + turn["content"]
    return f"{text}\nAnswer:" if is_shown else text


def _user(data: DataConfig, question: str) -> str:
    return data.prompt_template.replace("{question}", question)
