"""The recipe of a run. Each knob is declared once: its description and bounds feed the form, the
command line's errors and the documentation. An unknown key is an error. No torch.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from grpo_core.algorithm_config import AlgorithmConfig, CriticConfig
from grpo_core.algorithms import row_of
from grpo_core.compatibility import NEEDS_NO_GROUP
from grpo_core.data_config import COLUMNS as COLUMNS
from grpo_core.data_config import DataConfig as DataConfig
from grpo_core.data_config import columns_of as columns_of
from grpo_core.sections import LIVE, Section


class LoraConfig(Section):
    rank: int = Field(16, ge=1, le=1024, description="Width of the low-rank adapters.")
    alpha: int = Field(32, ge=1, description="The adapters' product is multiplied by alpha / rank.")


class ModelConfig(Section):
    path: str = Field(
        "bundled:tiny",
        description="`bundled:tiny`, a folder in Hugging Face format, or a hub id.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Of weights and arithmetic; the optimizer always keeps exact fp32 masters. "
        "`auto` is bf16 where the GPU or CPU multiplies it fast, else fp32.",
    )
    lora: LoraConfig | None = Field(
        None,
        description="Train low-rank adapters of all linear layers instead of the weights: far less "
        "memory, and the model without them is the reference.",
    )
    engine: Literal["auto", "static", "modules", "generate"] = Field(
        "auto",
        description="Who samples: `static` is our engine with a static KV cache, `modules` runs "
        "the model's own modules with one, `generate` is Hugging Face's. `auto` takes the first "
        "of them that can sample the model.",
    )


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
        8, ge=1, le=1024, description="Completions sampled for each prompt; they are compared."
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


class OptimConfig(Section):
    learning_rate: float = Field(
        1e-5, gt=0, le=1, description="AdamW's step size after warm-up.", json_schema_extra=LIVE
    )
    warmup_steps: int = Field(0, ge=0, description="Steps over which the step size rises from 0.")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW's decoupled weight decay.")
    updates_per_rollout: int = Field(
        1, ge=1, le=64, description="μ: how often the same completions are gone over."
    )
    minibatches: int = Field(
        1,
        ge=1,
        le=1024,
        description="Optimizer steps in one pass over the completions, each on its share of the "
        "groups.",
    )
    max_grad_norm: float = Field(
        1.0, gt=0, description="Gradients longer than this are scaled down.", json_schema_extra=LIVE
    )
    micro_batch_tokens: int = Field(
        16384,
        ge=64,
        description="Most tokens in one forward and backward, prompts counted once a group. The "
        "loss does not depend on it; on a GPU that runs out of memory it halves itself.",
    )
    state_bits: Literal[32, 8] = Field(
        32,
        description="Of each of AdamW's two moments: 8 saves 6 bytes a parameter and is an "
        "approximation.",
    )


class EvaluationConfig(Section):
    every: int = Field(
        10,
        ge=1,
        description="Steps between evaluations; also at step 0 and after the last step.",
        json_schema_extra=LIVE,
    )
    num_problems: int = Field(
        400, ge=1, le=1_000_000, description="Held-out problems, answered greedily."
    )
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
    kl_groups: int = Field(
        4,
        ge=1,
        description="Groups per step on which `train/kl` is measured where the loss and the reward "
        "hold no KL; all of them where one does.",
    )
    token_groups: int = Field(
        4,
        ge=0,
        description="Groups per step whose token-level numbers are kept; those whose rewards "
        "differ come first.",
    )


class RunConfig(Section):
    """A complete recipe; `RunConfig()` is the bundled model on the bundled task."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    rewards: list[RewardConfig] = Field([RewardConfig(builtin="accuracy")], min_length=1)
    rollout: RolloutConfig = RolloutConfig()
    algorithm: AlgorithmConfig = Field(default_factory=lambda: AlgorithmConfig())
    critic: CriticConfig | None = Field(
        None, description="Only with `advantage: gae`, which it is made for."
    )
    optim: OptimConfig = OptimConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sandbox: SandboxConfig = SandboxConfig()
    store: StoreConfig = StoreConfig()
    num_steps: int = Field(120, ge=1, description="Steps of the run.", json_schema_extra=LIVE)
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same seed, same machine: same run.")

    @model_validator(mode="before")
    @classmethod
    def _critic_for_gae(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if needs_critic(values.get("algorithm")) and values.get("critic") is None:
            return {**values, "critic": {}}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        algorithm, optim, rollout = self.algorithm, self.optim, self.rollout
        if self.critic is not None and algorithm.advantage != "gae":
            raise ValueError("critic: needs algorithm.advantage: gae (algorithm.name: ppo)")
        if rollout.group_size == 1 and algorithm.advantage not in NEEDS_NO_GROUP:
            raise ValueError(
                f"rollout.group_size: 1 leaves algorithm.advantage: {algorithm.advantage} nothing "
                "to compare; use 2 or more, or advantage: none, batch_z or gae"
            )
        if algorithm.ratio_level == "none" and optim.updates_per_rollout * optim.minibatches > 1:
            raise ValueError(
                "optim.updates_per_rollout: without a ratio (algorithm.ratio_level: none) only the "
                "first update on a rollout is right; set updates_per_rollout: 1 and "
                "minibatches: 1, or ratio_level: token with clipping: ppo"
            )
        if optim.minibatches > rollout.prompts_per_step:
            raise ValueError(
                f"optim.minibatches: {optim.minibatches} is more than the "
                f"{rollout.prompts_per_step} groups of a step; groups are not split"
            )
        return self


def needs_critic(algorithm: Any) -> bool:
    """Whether an `algorithm` section, checked or not, asks for a critic."""
    if isinstance(algorithm, AlgorithmConfig):
        return algorithm.advantage == "gae"
    if not isinstance(algorithm, dict):
        return False
    row = row_of(algorithm)
    return (algorithm.get("advantage") or (row and row.settings["advantage"])) == "gae"
