"""The `data` section of a recipe: where problems come from, and how a prompt is made of one."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from grpo_core.sections import Section

COLUMNS = {"math": ("problem", "solution"), "cmath": ("question", "golden")}
"""Question and answer where a data set calls them otherwise."""
TEMPLATES = {
    "gsm8k": "{question}\n\nReason step by step, and write the final number after ####.",
    "math": "{question}\n\nReason step by step, and put the final answer in \\boxed{}.",
    "cmath": "{question}\n\n请一步一步思考，最后写“答案是”和得数。",
}
"""The user turn of a task; each asks for an answer in a form that the judge reads."""
HUB = "hub:"
"""In front of a path: a data set of the Hugging Face hub."""


def columns_of(task: str) -> tuple[str, str]:
    """Question and answer column of a task's own data."""
    return COLUMNS.get(task, ("question", "answer"))


def own_settings(task: str) -> dict[str, str]:
    """What the task fills in where a recipe says nothing: its columns and its prompt template."""
    question, answer = columns_of(task)
    template = TEMPLATES.get(task, "{question}")
    return {"question_column": question, "answer_column": answer, "prompt_template": template}


TaskName = Literal["arithmetic", "gsm8k", "math", "cmath", "file"]


class DataConfig(Section):
    task: TaskName = Field(
        "arithmetic",
        description="`arithmetic` is generated; `gsm8k` comes from `path` or from the hub; `math` "
        "and `cmath` come from `path`; `file` is your own data.",
    )
    path: str | None = Field(
        None,
        description="A JSONL, CSV or Parquet file with the data set's original columns; a folder "
        "that holds `train.*` and `test.*`, or that `datasets` has saved; or `hub:OWNER/NAME`, "
        "with `:SUBSET` behind it where a data set has several.",
    )
    eval_path: str | None = Field(
        None,
        description="The held-out problems, where they lie elsewhere: a file, folder or "
        "`hub:OWNER/NAME`. Else they are the split `test` beside `train`, or a part of the "
        "training file.",
    )
    train_split: str | None = Field(
        None,
        description="Split of a folder or hub data set to train on, where it is not `train`.",
    )
    eval_split: str | None = Field(
        None,
        description="Split of a folder or hub data set to evaluate on, where it is not `test`.",
    )
    max_rows: int | None = Field(
        None,
        ge=1,
        description="Rows read of each split, from its beginning; all of them where it is empty.",
    )
    question_column: str = Field(
        "question", description="Column with the question; the task's own where it is not given."
    )
    answer_column: str = Field(
        "answer",
        description="Column with the reference answer, or with the solution that ends in it; the "
        "task's own where it is not given.",
    )
    system_prompt: str | None = Field(
        None, description="A system turn before each question, where the chat template allows one."
    )
    prompt_template: str = Field(
        "{question}",
        description="The user turn; `{question}` is replaced by the question. The task's own where "
        "it is not given.",
    )
    shots: int = Field(
        0,
        ge=0,
        le=32,
        description="Worked examples before each question: the same training problems for all "
        "prompts, and not trained on.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_task_has_it(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        own = own_settings(str(values.get("task")))
        given = {key: v for key, v in values.items() if key not in own or v is not None}
        return {**own, **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "{question}" not in self.prompt_template:
            raise ValueError("prompt_template must contain {question}")
        if self.task in ("file", "math", "cmath") and not self.path:
            raise ValueError(
                f"path is needed with task: {self.task}; name a JSONL, CSV or Parquet file, a "
                "folder with train.* and test.*, or hub:OWNER/NAME"
            )
        if self.task == "arithmetic":
            self._refuse_sources()
        for name in ("path", "eval_path"):
            path = getattr(self, name)
            if path and path.startswith(HUB):
                hub_name(path, name)
        return self

    def _refuse_sources(self) -> None:
        for name in ("path", "eval_path", "train_split", "eval_split", "max_rows"):
            if getattr(self, name):
                raise ValueError(f"{name} does not go with task: arithmetic; use task: file")


def hub_name(path: str, knob: str = "path") -> tuple[str, str | None]:
    """Name and subset in `hub:OWNER/NAME:SUBSET`; ValueError where it is none."""
    name, _, subset = path.removeprefix(HUB).partition(":")
    parts = name.split("/")
    if len(parts) > 2 or any(not part or part.startswith(".") for part in parts):
        raise ValueError(
            f"{knob}: {path} names no data set; write hub:OWNER/NAME, or hub:OWNER/NAME:SUBSET"
        )
    return name, subset or None
