"""The sections of a recipe that say how rewards become an update."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from grpo_core.algorithms import row_of
from grpo_core.compatibility import APPLIES, IMPOSSIBLE
from grpo_core.objective import Objective
from grpo_core.sections import LIVE, Section

Name = Literal[
    "as_written",
    "deepseekmath",
    "dr_grpo",
    "dapo",
    "gspo",
    "cispo",
    "sapo",
    "rloo",
    "reinforce",
    "prefix_attention",
    "ppo",
]
Advantage = Literal[
    "none",
    "mean",
    "loo",
    "zscore",
    "batch_std",
    "mean_whiten",
    "batch_z",
    "opo",
    "opo_loo",
    "prefix_attention",
    "gae",
]


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


class AlgorithmConfig(Section):
    name: Name = Field(
        "deepseekmath", description="A named row; the settings below override it one by one."
    )
    advantage: Advantage | None = Field(
        None,
        description="`mean`: reward minus group mean. `loo`: minus the mean of the others. "
        "`zscore`: also divided by the group's standard deviation. `batch_std`, `mean_whiten`: by "
        "that of the whole step. `batch_z`: the step's mean and deviation, no groups. `opo`, "
        "`opo_loo`: length-weighted baselines. `prefix_attention`: a baseline per token. `gae`: a "
        "critic. `none`: the bare reward.",
    )
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] | None = Field(
        None,
        description="With several rewards: the advantage of their weighted sum, or (GDPO) the "
        "weighted sum of each one's own z-score, normalised once more over the step.",
    )
    ratio_level: Literal["token", "sequence", "none"] | None = Field(
        None,
        description="π / π_old of each token, or the geometric mean over the completion (GSPO), "
        "or no ratio at all (REINFORCE).",
    )
    clipping: Literal["ppo", "cispo", "sapo", "none"] | None = Field(
        None,
        description="`ppo`: a token beyond the clip has no gradient. `cispo`: its ratio is capped. "
        "`sapo`: its gradient fades. `none`: plain importance sampling.",
    )
    clip_low: float | None = Field(
        None, gt=0, lt=1, description="Ratios below 1 − this are clipped.", json_schema_extra=LIVE
    )
    clip_high: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Ratios above 1 + this are clipped, or capped with `cispo`.",
        json_schema_extra=LIVE,
    )
    dual_clip: float | None = Field(
        None,
        gt=1,
        le=1000,
        description="A token with a negative advantage never costs more than this ratio would; "
        "empty is no bound.",
        json_schema_extra=LIVE,
    )
    sapo_positive: float | None = Field(
        None,
        gt=0,
        le=100,
        description="How fast the gradient fades where the advantage is positive.",
        json_schema_extra=LIVE,
    )
    sapo_negative: float | None = Field(
        None,
        gt=0,
        le=100,
        description="How fast the gradient fades where the advantage is negative.",
        json_schema_extra=LIVE,
    )
    aggregation: Literal["seq_sum", "seq_mean", "token_mean", "dr_grpo"] | None = Field(
        None,
        description="`seq_sum`: sum over tokens, mean over completions. `seq_mean`: mean over "
        "tokens, then over completions. `token_mean`: mean over all tokens of the step. "
        "`dr_grpo`: sum over tokens divided by `max_new_tokens`, mean over completions.",
    )
    kl_coefficient: float | None = Field(
        None, ge=0, le=10, description="β: weight of the KL; 0 is none.", json_schema_extra=LIVE
    )
    kl_estimator: Literal["k1", "k2", "k3", "k3_is"] | None = Field(
        None,
        description="Per-token estimate of the KL to the reference. In the loss, `k2` and `k3_is` "
        "follow the gradient of KL(π‖ref), `k3` that of KL(ref‖π).",
    )
    kl_place: Literal["loss", "reward"] | None = Field(
        None, description="Whether the KL is a term of the loss or is taken off the reward."
    )
    kl_reference: Literal["initial", "synced", "average", "old"] | None = Field(
        None,
        description="What the KL is measured against: the policy the run began with, a copy that "
        "is renewed now and then, an exponential average of the policy, or the one that sampled "
        "(then its gradient is zero at the first update).",
    )
    reference_sync_every: int | None = Field(
        None, ge=1, description="Steps after which a `synced` reference becomes the policy."
    )
    reference_decay: float | None = Field(
        None, gt=0, lt=1, description="Share of itself that an `average` reference keeps each step."
    )
    entropy_coefficient: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Weight of the entropy bonus; positive keeps the policy exploring.",
        json_schema_extra=LIVE,
    )
    truncated: Literal["keep", "mask", "penalize"] | None = Field(
        None,
        description="Completions that were cut off: like any other, left out of the loss, or their "
        "reward lowered.",
    )
    overlong_penalty: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="What `penalize` takes off the reward of a completion that was cut off.",
        json_schema_extra=LIVE,
    )
    overlong_buffer: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The penalty grows linearly over this last share of `max_new_tokens`; 0 hits "
        "only what was cut off.",
        json_schema_extra=LIVE,
    )
    resample_rounds: int | None = Field(
        None,
        ge=0,
        le=100,
        description="Dynamic sampling: how often groups with equal rewards are replaced by those "
        "of new prompts; 0 keeps them.",
        json_schema_extra=LIVE,
    )
    importance_cap: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Truncated importance sampling: each token is weighted by π_old / π_engine, at "
        "most this, where engine and trainer differ; empty is no correction.",
        json_schema_extra=LIVE,
    )
    attention_temperature: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Prefix attention: how alike prefixes must be to count; small is strict.",
        json_schema_extra=LIVE,
    )
    attention_min_samples: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Prefix attention: with fewer effective others than this, all count alike.",
        json_schema_extra=LIVE,
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_row(cls, values: Any) -> Any:
        """The row's value for each knob left open; none for a knob that does not apply."""
        if not isinstance(values, dict):
            return values
        row = row_of(values)
        if row is None:
            return values
        given = _given(values)
        filled = {**row.settings, **given}
        for knob, (applies, remedy) in APPLIES.items():
            if applies(filled):
                continue
            if given.get(knob) is not None:
                raise ValueError(f"{knob} does not apply here; {remedy}")
            filled[knob] = None
        return filled

    @model_validator(mode="after")
    def _check(self) -> Self:
        values = dict(self)
        for is_wrong, message in IMPOSSIBLE:
            if is_wrong(values):
                raise ValueError(message)
        return self


class CriticConfig(Section):
    model: Literal["shared", "own"] = Field(
        "shared",
        description="`shared`: a value head on the policy's own hidden states. `own`: a second "
        "model, begun as a copy of the policy.",
    )
    learning_rate: float = Field(
        1e-3, gt=0, le=1, description="AdamW's step size for the critic.", json_schema_extra=LIVE
    )
    value_coefficient: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Weight of the value loss beside the policy's; only for a `shared` critic.",
        json_schema_extra=LIVE,
    )
    value_clip: float | None = Field(
        0.2,
        gt=0,
        le=1000,
        description="Values may move this far in one step's updates; empty is no bound.",
        json_schema_extra=LIVE,
    )
    gamma: float = Field(1.0, gt=0, le=1, description="Discount per token.", json_schema_extra=LIVE)
    gae_lambda: float = Field(
        0.95,
        ge=0,
        le=1,
        description="1 trusts the rewards (unbiased, noisy), 0 trusts the critic.",
        json_schema_extra=LIVE,
    )
    whiten: bool = Field(
        True,
        description="Shift and scale the step's advantages to mean 0 and deviation 1.",
        json_schema_extra=LIVE,
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        own = values.get("model") == "own"
        if own and values.get("value_coefficient") is not None:
            raise ValueError(
                "value_coefficient weighs two losses of one model; it needs model: shared"
            )
        if own or values.get("value_coefficient") is not None:
            return values
        return {**values, "value_coefficient": 0.5}


def objective_of(algorithm: AlgorithmConfig) -> Objective:
    """The loss that an algorithm asks for, as numbers."""
    in_loss = algorithm.kl_place == "loss"
    return Objective(
        ratio_level=algorithm.ratio_level or "token",
        clipping=algorithm.clipping or "ppo",
        clip_low=algorithm.clip_low,
        clip_high=algorithm.clip_high,
        dual_clip=algorithm.dual_clip,
        sapo_positive=algorithm.sapo_positive or 1.0,
        sapo_negative=algorithm.sapo_negative or 1.0,
        kl_estimator=algorithm.kl_estimator or "k3",
        kl_coefficient=(algorithm.kl_coefficient or 0.0) if in_loss else 0.0,
        entropy_coefficient=algorithm.entropy_coefficient,
    )
