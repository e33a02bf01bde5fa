"""The recipe of a run. Each knob is declared once: its description and bounds feed the form, the
command line's errors and the documentation. An unknown key is an error. No torch.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

Advantage = Literal["mean", "loo", "zscore"]
Aggregation = Literal["seq_sum", "seq_mean", "token_mean"]
KlEstimator = Literal["k1", "k2", "k3"]

LIVE: JsonDict = {"live": True}
"""Marks a knob that `grpo-studio set` may change while the run goes on."""

# A row fixes what an algorithm's paper fixes. `as_written` is the text this product follows:
# R - mean, sum over tokens, mean over the group, symmetric clip, and a KL to the initial policy
# outside the token sum, which only a k1 in the reward estimates without bias.
# `deepseekmath`: arXiv 2402.03300, equations 3 and 4 (per-sequence mean, z-score, k3 in the loss).
ALGORITHMS: dict[str, dict[str, Any]] = {
    "as_written": {
        "advantage": "mean",
        "aggregation": "seq_sum",
        "kl_estimator": "k1",
        "kl_place": "reward",
    },
    "deepseekmath": {
        "advantage": "zscore",
        "aggregation": "seq_mean",
        "kl_estimator": "k3",
        "kl_place": "loss",
    },
}


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change behind one's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    path: str = Field(
        "bundled:tiny",
        description="`bundled:tiny`, a folder in Hugging Face format, or a hub id.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Arithmetic of forward and backward; weights and optimizer stay in fp32. "
        "`auto` is bf16 on a GPU and fp32 on a CPU.",
    )
    engine: Literal["auto", "static", "generate"] = Field(
        "auto",
        description="Who samples: `static` is our engine with a static KV cache, `generate` is "
        "Hugging Face's. `auto` takes ours for the architectures it knows.",
    )


class DataConfig(Section):
    task: Literal["arithmetic", "gsm8k", "file"] = Field(
        "arithmetic",
        description="`arithmetic` is generated; `gsm8k` comes from `path` or from the hub; `file` "
        "is your own data.",
    )
    path: str | None = Field(
        None,
        description="A JSONL, CSV or Parquet file with the data set's original columns, or a "
        "folder that holds `train.*` and `test.*`.",
    )
    eval_path: str | None = Field(
        None,
        description="A file with the held-out problems. Without it, `test.*` beside `train.*` or "
        "a part of the training file is held out.",
    )
    question_column: str = Field("question", description="Column with the question.")
    answer_column: str = Field("answer", description="Column with the reference answer.")
    system_prompt: str | None = Field(
        None, description="A system turn before each question, where the chat template allows one."
    )
    prompt_template: str = Field(
        "{question}", description="The user turn; `{question}` is replaced by the question."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "{question}" not in self.prompt_template:
            raise ValueError("prompt_template must contain {question}")
        if self.task == "file" and not self.path:
            raise ValueError("path is needed with task: file; name a JSONL, CSV or Parquet file")
        if self.task == "arithmetic" and (self.path or self.eval_path):
            raise ValueError("path does not go with task: arithmetic; use task: file")
        return self


class RewardConfig(Section):
    builtin: str | None = Field(
        None, description="Name of a shipped reward, for example `accuracy`."
    )
    path: str | None = Field(None, description="A Python file with one or more reward functions.")
    function: str | None = Field(
        None, description="Which function of the file; needed when it has more than one."
    )
    weight: float = Field(1.0, description="Factor of this part in the sum.")
    completion_format: Literal["text", "messages"] = Field(
        "text",
        description="`messages` hands over TRL's conversational form, so that functions written "
        "for it run unchanged.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.builtin is None) == (self.path is None):
            raise ValueError("give either builtin or path")
        return self


class RolloutConfig(Section):
    prompts_per_step: int = Field(16, ge=1, le=4096, description="Prompts drawn for each step.")
    group_size: int = Field(
        8, ge=2, le=1024, description="Completions sampled for each prompt; they are compared."
    )
    max_new_tokens: int = Field(
        64, ge=1, le=32768, description="A completion that has not ended by then is cut off."
    )
    temperature: float = Field(
        1.0, gt=0, le=5, description="Divides the logits when sampling.", json_schema_extra=LIVE
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Sample from the smallest set of tokens with this much probability; 1 is all.",
        json_schema_extra=LIVE,
    )


class AlgorithmConfig(Section):
    name: Literal["as_written", "deepseekmath"] = Field(
        "deepseekmath", description="A named row; the settings below override it one by one."
    )
    advantage: Advantage | None = Field(
        None,
        description="`mean`: reward minus group mean. `loo`: minus the mean of the others. "
        "`zscore`: also divided by the group's standard deviation.",
    )
    aggregation: Aggregation | None = Field(
        None,
        description="`seq_sum`: sum over tokens, mean over completions. `seq_mean`: mean over "
        "tokens, then over completions. `token_mean`: mean over all tokens of the step.",
    )
    kl_estimator: KlEstimator | None = Field(
        None, description="Per-token estimate of the KL to the reference: k1, k2 or k3."
    )
    kl_place: Literal["loss", "reward"] | None = Field(
        None, description="Whether the KL is a term of the loss or is taken off the reward."
    )
    kl_reference: Literal["initial", "old"] = Field(
        "initial",
        description="What the KL is measured against: the policy the run began with, or the one "
        "that sampled (then its gradient is zero at the first update).",
    )
    kl_coefficient: float = Field(
        0.04, ge=0, le=10, description="β: weight of the KL.", json_schema_extra=LIVE
    )
    clip_low: float = Field(
        0.2, gt=0, lt=1, description="Ratios below 1 − this are clipped.", json_schema_extra=LIVE
    )
    clip_high: float = Field(
        0.2, gt=0, le=100, description="Ratios above 1 + this are clipped.", json_schema_extra=LIVE
    )
    entropy_coefficient: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Weight of the entropy bonus; positive keeps the policy exploring.",
        json_schema_extra=LIVE,
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_row(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        row = ALGORITHMS.get(values.get("name", "deepseekmath"), {})
        return {**row, **{key: value for key, value in values.items() if value is not None}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kl_place == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator: k1 in the loss has zero expected gradient; "
                "use k2 or k3, or kl_place: reward"
            )
        if self.kl_place == "reward" and self.kl_estimator != "k1":
            raise ValueError("kl_place: reward takes kl_estimator: k1")
        if self.kl_place == "reward" and self.kl_reference == "old":
            raise ValueError(
                "kl_reference: old is zero in the reward; use kl_place: loss with k2 or k3"
            )
        return self


class OptimConfig(Section):
    learning_rate: float = Field(
        1e-5, gt=0, le=1, description="AdamW's step size after warm-up.", json_schema_extra=LIVE
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the step size rises from 0.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    updates_per_rollout: int = Field(
        1, ge=1, le=64, description="μ: optimizer steps on the same completions."
    )
    max_grad_norm: float = Field(
        1.0, gt=0, description="Gradients longer than this are scaled down.", json_schema_extra=LIVE
    )
    micro_batch_tokens: int = Field(
        16384,
        ge=64,
        description="Tokens in one forward and backward; fewer need less memory. The loss does not "
        "depend on it.",
    )


class EvaluationConfig(Section):
    every: int = Field(
        10,
        ge=1,
        description="Steps between evaluations; also at step 0 and after the last step.",
        json_schema_extra=LIVE,
    )
    num_problems: int = Field(400, ge=1, description="Held-out problems, answered greedily.")
    batch_size: int = Field(400, ge=1, description="Problems answered at the same time.")


class CheckpointConfig(Section):
    every: int = Field(20, ge=1, description="Steps between checkpoints.", json_schema_extra=LIVE)
    keep: int = Field(
        2, ge=2, description="Complete checkpoints kept; at least 2.", json_schema_extra=LIVE
    )


class SandboxConfig(Section):
    timeout_s: float = Field(
        2.0, gt=0, le=600, description="A reward call that takes longer is stopped (seconds)."
    )
    num_workers: int = Field(1, ge=1, le=64, description="Processes that run reward code.")


class StoreConfig(Section):
    token_groups: int = Field(
        4, ge=0, description="Groups per step whose token-level numbers are kept."
    )


class RunConfig(Section):
    """A complete recipe; `RunConfig()` is the bundled model on the bundled task."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rewards: list[RewardConfig] = Field([RewardConfig(builtin="accuracy")], min_length=1)
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = Field(default_factory=lambda: AlgorithmConfig())
    optim: OptimConfig = OptimConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sandbox: SandboxConfig = SandboxConfig()
    store: StoreConfig = StoreConfig()
    num_steps: int = Field(120, ge=1, description="Steps of the run.", json_schema_extra=LIVE)
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same seed, same machine: same run.")
