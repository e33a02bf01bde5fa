"""A recipe in the words of TRL's GRPOTrainer (https://huggingface.co/docs/trl/grpo_trainer), and
what it has no word for. `tests/test_trl.py` holds which settings mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grpo_core.algorithm_config import AlgorithmConfig
from grpo_core.config import RunConfig

_LOSSES = {
    ("ppo", "seq_mean"): "grpo",
    ("ppo", "token_mean"): "dapo",
    ("ppo", "dr_grpo"): "dr_grpo",
    ("ppo", "seq_sum"): "luspo",
    ("cispo", "token_mean"): "cispo",
    ("sapo", "seq_mean"): "sapo",
}
_SCALES = {"zscore": "group", "batch_std": "batch", "mean": "none"}


@dataclass(frozen=True)
class InTrl:
    """A recipe as TRL's `GRPOConfig` takes it."""

    settings: dict[str, Any]
    lora: dict[str, Any] | None
    """For `peft.LoraConfig`."""
    lost: list[str]
    """What TRL cannot express, or means otherwise; one sentence each."""


def in_trl(config: RunConfig) -> InTrl:
    """Raises ValueError for a recipe that TRL's GRPOTrainer cannot come near: one with a critic."""
    if config.algorithm.advantage == "gae":
        raise ValueError("TRL's GRPOTrainer has no critic (advantage: gae)")
    if config.rollout.group_size == 1:
        raise ValueError("TRL's GRPOTrainer wants groups of two completions or more")
    moves = config.algorithm.kl_reference in ("synced", "average")
    if config.model.lora and moves and config.algorithm.kl_coefficient:
        raise ValueError("TRL moves no reference of a model with adapters (kl_reference)")
    lost: list[str] = []
    settings = {
        **_loss(config.algorithm, lost),
        **_clip(config.algorithm, lost),
        **_kl(config, lost),
        **_advantage(config.algorithm, lost),
        **_batches(config, lost),
        **_optimizer(config, lost),
    }
    _others(config, lost)
    lora = config.model.lora
    peft = (
        {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": "all-linear"} if lora else None
    )
    return InTrl(settings, peft, lost)


def _loss(algorithm: AlgorithmConfig, lost: list[str]) -> dict[str, Any]:
    clipping, aggregation = algorithm.clipping or "ppo", algorithm.aggregation or "seq_mean"
    level = _level(algorithm)
    if level == "none":
        lost.append(
            "A loss without a ratio is not there (ratio_level: none); on policy it is the same."
        )
    if clipping == "none":
        lost.append("A loss without a clip is not there; the ratio is clipped as by default.")
    known = _LOSSES.get((clipping, aggregation))
    if known is None and clipping in ("cispo", "sapo"):
        lost.append(f"{clipping} with aggregation: {aggregation} is not there.")
    loss = known or _LOSSES.get(("ppo", aggregation)) or "grpo"
    loss = clipping if clipping in ("cispo", "sapo") else loss
    if loss in ("dapo", "cispo"):
        lost.append(
            "With several minibatches this loss divides by the mean number of tokens of all of "
            "them, here by the minibatch's own."
        )
    return {"loss_type": loss, "importance_sampling_level": "token" if level == "none" else level}


def _level(algorithm: AlgorithmConfig) -> str:
    return algorithm.ratio_level or "token"


def _clip(algorithm: AlgorithmConfig, lost: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if algorithm.clip_low is not None:
        found["epsilon"] = algorithm.clip_low
    if algorithm.clip_high is not None:
        is_cap = algorithm.clipping == "cispo"
        found["epsilon_high"] = algorithm.clip_high + is_cap  # there it is the cap itself
    if algorithm.dual_clip is not None:
        found["delta"] = algorithm.dual_clip
    if algorithm.clipping == "sapo":
        found["sapo_temperature_pos"] = algorithm.sapo_positive
        found["sapo_temperature_neg"] = algorithm.sapo_negative
    if _level(algorithm) != "none":
        lost.append("A ratio beyond e^20 has no gradient here; in TRL nothing bounds it.")
    if algorithm.importance_cap is not None:
        lost.append("importance_cap: TRL corrects for its engine with vLLM only.")
    return found


def _kl(config: RunConfig, lost: list[str]) -> dict[str, Any]:
    algorithm, updates = config.algorithm, _updates(config)
    beta = algorithm.kl_coefficient or 0.0
    found: dict[str, Any] = {"beta": beta, "use_bias_correction_kl": False}
    if algorithm.entropy_coefficient:
        found["entropy_coef"] = algorithm.entropy_coefficient
        lost.append("TRL's entropy bonus is a mean over tokens, whatever the loss.")
    if not beta:
        return found
    if algorithm.kl_place == "reward":
        lost.append("A KL that is taken off the reward is not there; it is a term of the loss.")
    if algorithm.kl_estimator == "k3_is" and algorithm.ratio_level == "sequence":
        lost.append("TRL's corrected KL takes the ratio of the completion; here the token's.")
    if algorithm.kl_estimator in ("k1", "k2"):
        lost.append(f"The estimator {algorithm.kl_estimator} is not there; k3 stands for it.")
    found["use_bias_correction_kl"] = algorithm.kl_estimator == "k3_is"
    if algorithm.kl_reference == "synced":
        found |= {"sync_ref_model": True, "ref_model_mixup_alpha": 1.0}
        found["ref_model_sync_steps"] = (algorithm.reference_sync_every or 1) * updates
    elif algorithm.kl_reference == "average" and algorithm.reference_decay is not None:
        found |= {"sync_ref_model": True, "ref_model_sync_steps": updates}
        found["ref_model_mixup_alpha"] = round(1 - algorithm.reference_decay, 12)
    elif algorithm.kl_reference == "old":
        lost.append("kl_reference: old is not there; the reference stays as the run began.")
    return found


def _advantage(algorithm: AlgorithmConfig, lost: list[str]) -> dict[str, Any]:
    name = algorithm.advantage or "zscore"
    if name not in _SCALES:
        lost.append(
            f"advantage: {name} is not there; `mean` (the reward less its group's mean) is."
        )
    if name == "batch_std":
        lost.append("A group with one reward counts in TRL's deviation of the batch, not here.")
    found: dict[str, Any] = {"scale_rewards": _SCALES.get(name, "none")}
    if algorithm.multi_objective_aggregation == "normalize_then_sum":
        found["multi_objective_aggregation"] = "normalize_then_sum"
    if algorithm.truncated == "mask":
        found["mask_truncated_completions"] = True
        lost.append("TRL's means over completions count those that are masked; here they do not.")
    if algorithm.resample_rounds:
        lost.append("Dynamic sampling (resample_rounds) is not there; flat groups stay.")
    lost.append("A reward of None keeps a completion in TRL's loss; here it is left out.")
    return found


def _batches(config: RunConfig, lost: list[str]) -> dict[str, Any]:
    rollout, optim = config.rollout, config.optim
    parts = optim.minibatches
    num = rollout.prompts_per_step * rollout.group_size
    if num % parts:
        lost.append(f"{num} completions do not go into {parts} minibatches; all are in one.")
        parts = 1
    if parts > 1:
        lost.append("TRL shuffles completions over minibatches; here groups stay whole.")
    passes = optim.updates_per_rollout
    return {
        "num_generations": rollout.group_size,
        "per_device_train_batch_size": num // parts,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": parts,
        "num_iterations": passes,
        "max_steps": config.num_steps * parts * passes,  # TRL counts optimizer steps
        "disable_dropout": True,
        "max_completion_length": rollout.max_new_tokens,
        "temperature": rollout.temperature,
        "top_p": rollout.top_p,
    }


def _optimizer(config: RunConfig, lost: list[str]) -> dict[str, Any]:
    optim, updates = config.optim, _updates(config)
    if optim.weight_decay:
        lost.append("TRL decays no biases and norms; here all parameters are.")
    if optim.state_bits == 8:
        lost.append("Moments in 8 bits: TRL takes them from bitsandbytes (optim: adamw_8bit).")
    if optim.warmup_steps:
        lost.append("TRL's warm-up begins with a step of size 0; here the first has its share.")
    return {
        "learning_rate": optim.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if optim.warmup_steps else "constant",
        "warmup_steps": optim.warmup_steps * updates,
        "weight_decay": optim.weight_decay,
        "max_grad_norm": optim.max_grad_norm,
        "seed": config.seed,
        "logging_steps": updates,
        "save_steps": config.checkpoint.every * updates,
        "save_total_limit": config.checkpoint.keep,
    }


def _updates(config: RunConfig) -> int:
    return config.optim.updates_per_rollout * config.optim.minibatches


def _others(config: RunConfig, lost: list[str]) -> None:
    lost.append(
        "All completions of a minibatch are in one forward on one GPU: lower "
        "per_device_train_batch_size and raise gradient_accumulation_steps where memory is short."
    )
    if config.model.precision != "fp32":
        lost.append("In bf16 TRL keeps fp32 weights and casts; here weights are bf16 with masters.")
    lost.append("A reward that raises ends TRL's training; here it costs its completion.")
    lost.append("A reward's prompt is the user's turn; here it is the whole rendered prompt.")
    lost.append("Which prompts a step draws, and what is sampled for them, differ.")
    lost.append("The greedy evaluation on held-out problems is not there.")
    lost.append("Rewards run in the trainer's own process, without a sandbox or a deadline.")
