"""What a recipe asks of the loss, in the loss's own terms."""

from __future__ import annotations

from torch import Tensor

from grpo_core.config import RunConfig
from grpo_core.losses import MAX_LOG_RATIO, Objective


def objective_of(config: RunConfig) -> Objective:
    """The loss that a recipe asks for."""
    algorithm = config.algorithm
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


def importance(old_K: Tensor, engine_K: Tensor, cap: float) -> Tensor:
    """min(pi_old / pi_engine, cap): truncated importance sampling between the log-probs of the
    trainer and those of the engine that sampled."""
    log_ratio_K = (old_K - engine_K.to(old_K.dtype)).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return log_ratio_K.exp().clamp(max=cap)
