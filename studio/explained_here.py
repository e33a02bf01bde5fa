"""What the settings of one run make of a metric: a sentence beside its explanation."""

from __future__ import annotations

import math
from collections.abc import Callable

from grpo_core.config import RunConfig
from grpo_core.history import config_at
from grpo_core.runs import Run
from studio import data

_KL_AGAINST = {
    "initial": "the policy the run began with",
    "synced": "a copy of the policy that is renewed now and then",
    "average": "an average of the policy",
    "old": "the policy that sampled",
}


def of_run(run: Run) -> dict[str, str]:
    """`here` for the recipe in force at the newest step; empty where it cannot be read."""
    began = data.config_of(run)
    if began is None:
        return {}
    config = data.read(run, lambda reader: config_at(reader, began, reader.last_step() or 0), began)
    return here(config)


def here(config: RunConfig) -> dict[str, str]:
    """By metric; `config` is the recipe in force."""
    return {name: say(config) for name, say in _SAYINGS.items()}


def _clip_fraction(config: RunConfig) -> str:
    algorithm, updates = config.algorithm, _updates(config)
    if algorithm.ratio_level == "none":
        return f"{algorithm.name} has no ratio, so that nothing is clipped."
    if algorithm.clipping in ("none", "sapo"):
        gate = "lets the gradient fade" if algorithm.clipping == "sapo" else "weighs by the ratio"
        return f"{algorithm.name} {gate} and clips nothing."
    if updates == 1:
        return "One update follows each rollout: every ratio is 1, and this is 0 at every step."
    assert algorithm.clip_high is not None
    above = f"{1 + algorithm.clip_high:.6g}"
    if algorithm.clip_low is None:
        return f"{_rounds(config)}; ratios are capped at {above}."
    between = f"{1 - algorithm.clip_low:.6g} and {above}"
    return f"{_rounds(config)}; ratios are clipped outside of {between}."


def _loss(config: RunConfig) -> str:
    algorithm = config.algorithm
    parts = [_rounds(config)]
    is_ratio = algorithm.ratio_level != "none" and algorithm.clipping in ("ppo", "none")
    if algorithm.kl_place == "loss" and algorithm.kl_coefficient:
        parts.append(f"the KL ({algorithm.kl_estimator}) counts {algorithm.kl_coefficient:g} times")
    else:
        parts.append("it holds no KL")
    if algorithm.entropy_coefficient:
        parts.append(f"the entropy bonus counts {algorithm.entropy_coefficient:g} times")
    centred = ("mean", "zscore", "mean_whiten", "loo", "batch_std")
    is_centred = algorithm.aggregation == "seq_mean" and algorithm.advantage in centred
    is_alone = parts[1:] == ["it holds no KL"] and algorithm.importance_cap is None
    if _updates(config) == 1 and is_ratio and is_centred and is_alone:
        parts.append("so it is 0 up to rounding where all completions count")
    return "; ".join(parts) + "."


def _kl(config: RunConfig) -> str:
    algorithm = config.algorithm
    if not algorithm.kl_coefficient:
        return "Nothing trains on a KL: it is only measured."
    against = _KL_AGAINST[algorithm.kl_reference or "initial"]
    beta, estimator = f"{algorithm.kl_coefficient:g}", algorithm.kl_estimator
    if algorithm.kl_place == "reward":
        return f"{beta} times a KL ({estimator}) against {against} is taken off the reward."
    return f"The loss holds a KL of its own: {beta} times {estimator} against {against}."


def _accuracy(config: RunConfig) -> str:
    num, every = config.evaluation.num_problems, config.evaluation.every
    error = 100 * math.sqrt(0.25 / num)
    return (
        f"Up to {num:,} problems are asked every {every} steps: with all of them one standard "
        f"error is {error:.2g} points at most."
    )


def _flat(config: RunConfig) -> str:
    size = config.rollout.group_size
    if size == 1:
        return "Groups have one completion: there are none to be equal."
    share = 0.9**size + 0.1**size
    rounds = config.algorithm.resample_rounds
    again = f" Flat groups are replaced up to {rounds} times." if rounds else ""
    return (
        f"Groups have {size} completions. Where a reward is only right or wrong, a prompt that is "
        f"solved 9 times in 10 is flat in {share:.0%} of the draws.{again}"
    )


def _completions(config: RunConfig) -> str:
    prompts, size = config.rollout.prompts_per_step, config.rollout.group_size
    more = (
        ", and groups that were replaced count as well" if config.algorithm.resample_rounds else ""
    )
    return f"{prompts} prompts with {size} completions each make {prompts * size:,} a step{more}."


def _limit(config: RunConfig) -> str:
    treated = {
        "mask": ", and what was cut off is left out of the loss",
        "penalize": ", and what was cut off loses reward",
    }.get(config.algorithm.truncated or "keep", "")
    return f"A completion is cut off at {config.rollout.max_new_tokens:,} tokens{treated}."


def _learning_rate(config: RunConfig) -> str:
    optim = config.optim
    warm = f", reached after {optim.warmup_steps} steps" if optim.warmup_steps else ""
    return f"It is {optim.learning_rate:g}{warm}."


def _grad_norm(config: RunConfig) -> str:
    return f"Longer gradients are scaled down to {config.optim.max_grad_norm:g}."


def _updates(config: RunConfig) -> int:
    return config.optim.updates_per_rollout * config.optim.minibatches


def _rounds(config: RunConfig) -> str:
    passes, parts = config.optim.updates_per_rollout, config.optim.minibatches
    if passes * parts == 1:
        return "One update follows each rollout"
    said = f"{passes} pass{'es' if passes > 1 else ''} in {parts} mini-batch"
    return f"{said}{'es' if parts > 1 else ''} make {passes * parts} updates a rollout"


_SAYINGS: dict[str, Callable[[RunConfig], str]] = {
    "train/clip_fraction": _clip_fraction,
    "train/loss": _loss,
    "train/kl": _kl,
    "train/learning_rate": _learning_rate,
    "train/grad_norm": _grad_norm,
    "train/accuracy": _completions,
    "eval/accuracy": _accuracy,
    "reward/mean": _completions,
    "reward/zero_variance_fraction": _flat,
    "completion/length_mean": _limit,
    "completion/truncated_fraction": _limit,
}
