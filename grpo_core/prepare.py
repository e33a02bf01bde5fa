"""Everything about a recipe that can be checked before a run folder is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from grpo_core.config import RunConfig
from grpo_core.engine import Engine, make_engine
from grpo_core.generate import check_prompts
from grpo_core.machine import has_bf16, keep_freed_memory
from grpo_core.policy import Policy, load_policy
from grpo_core.tasks import Task, load_task


@dataclass
class Prepared:
    """A recipe with its model, engine and problems loaded."""

    config: RunConfig
    accelerator: Accelerator
    policy: Policy
    engine: Engine
    task: Task


def prepare(config: RunConfig, weights: Path | None = None) -> Prepared:
    """Load and check model, data and prompts; ValueError says what to change in the recipe."""
    task = load_task(config.data, config.evaluation.num_problems)
    # CUDA or the CPU: Apple's GPU lacks the float64 that sampling counts on
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        keep_freed_memory()
    # a paused run keeps the other processes waiting, for as long as a person likes
    patience = InitProcessGroupKwargs(timeout=timedelta(days=30))
    accelerator = Accelerator(mixed_precision="no", cpu=not on_gpu, kwargs_handlers=[patience])
    if accelerator.num_processes > config.rollout.prompts_per_step:
        raise ValueError(
            f"rollout.prompts_per_step: {config.rollout.prompts_per_step} groups cannot be shared "
            f"by {accelerator.num_processes} processes; use at least as many prompts"
        )
    half = wants_half(config.model.precision)
    lora, device = config.model.lora, accelerator.device
    policy = load_policy(config.model.path, device, weights, half, lora, config.seed)
    for problems in (task.train, task.held_out):
        check_prompts(policy, config.data, problems, config.rollout.max_new_tokens)
    engine = make_engine(policy.model, policy.eos_ids, config.model.engine)
    return Prepared(config, accelerator, policy, engine, task)


def wants_half(precision: str) -> bool:
    """Whether the weights are in bf16: where it is asked for, or where it is fast."""
    return precision == "bf16" or (precision == "auto" and has_bf16())
