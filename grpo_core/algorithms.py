"""Algorithms are rows: which advantage, ratio, clip, aggregation and KL a paper used.

A row says what differs from `BASE`; a recipe may override any knob of its row one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BASE: dict[str, Any] = {
    "advantage": "zscore",
    "multi_objective_aggregation": "sum_then_normalize",
    "ratio_level": "token",
    "clipping": "ppo",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dual_clip": None,
    "sapo_positive": 1.0,
    "sapo_negative": 1.05,
    "aggregation": "seq_mean",
    "kl_coefficient": 0.0,
    "kl_estimator": "k3",
    "kl_place": "loss",
    "kl_reference": "initial",
    "reference_sync_every": 100,
    "reference_decay": 0.99,
    "truncated": "keep",
    "overlong_penalty": 1.0,
    "overlong_buffer": 0,
    "resample_rounds": 0,
    "attention_temperature": 0.1,
    "attention_min_samples": 2.0,
}
"""What a row need not say."""


@dataclass(frozen=True)
class Row:
    """One algorithm: where it is from, and its settings where they differ from `BASE`."""

    about: str
    differs: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the row."""
        return {**BASE, **self.differs}


def row_of(algorithm: dict[str, Any]) -> Row | None:
    """The row that an `algorithm` section names; None where there is no such row."""
    name = algorithm.get("name", "deepseekmath")
    return ALGORITHMS.get(name) if isinstance(name, str) else None


ALGORITHMS: dict[str, Row] = {
    "as_written": Row(
        "GRPO as the text this product follows writes it: reward minus group mean, sum over "
        "tokens, mean over the group, symmetric clip. Its KL to the initial policy stands outside "
        "the token sum, which only a k1 in the reward estimates without bias. (With its literal "
        "`kl_reference: old`, offered for a KL in the loss, the KL's gradient is zero at the "
        "first update on a rollout.)",
        {
            "advantage": "mean",
            "aggregation": "seq_sum",
            "kl_coefficient": 0.04,
            "kl_estimator": "k1",
            "kl_place": "reward",
        },
    ),
    "deepseekmath": Row(
        "GRPO as published: DeepSeekMath, arXiv 2402.03300. Group z-score, mean over the tokens "
        "of a completion, k3 in the loss.",
        {"kl_coefficient": 0.04},
    ),
    "dr_grpo": Row(
        "Dr. GRPO, arXiv 2503.20783: no division by the group's standard deviation nor by the "
        "length, both of which bias the update; no KL.",
        {"advantage": "mean", "aggregation": "dr_grpo"},
    ),
    "dapo": Row(
        "DAPO, arXiv 2503.14476: a higher upper clip, mean over all tokens, no KL, groups with "
        "equal rewards sampled anew, a soft punishment of the last fifth of the length.",
        {
            "clip_high": 0.28,
            "aggregation": "token_mean",
            "resample_rounds": 4,
            "truncated": "penalize",
            "overlong_buffer": 0.2,
        },
    ),
    "gspo": Row(
        "GSPO, arXiv 2507.18071: one ratio per completion, length-normalised, with its very "
        "narrow clip; no KL.",
        {"ratio_level": "sequence", "clip_low": 3e-4, "clip_high": 4e-4},
    ),
    "cispo": Row(
        "CISPO (MiniMax-M1), arXiv 2506.13585: the ratio is capped as a constant weight, so no "
        "token's gradient is lost; mean over all tokens, no KL. The cap of 5 is that of ScaleRL, "
        "arXiv 2510.13786.",
        {"clipping": "cispo", "clip_high": 4.0, "aggregation": "token_mean"},
    ),
    "sapo": Row(
        "SAPO, arXiv 2511.20347: a smooth gate in place of the clip, steeper for negative "
        "advantages; no KL.",
        {"clipping": "sapo"},
    ),
    "rloo": Row(
        "RLOO, arXiv 2402.14740: REINFORCE with the mean of the other completions as baseline and "
        "the KL in the reward; one update on a rollout.",
        {
            "advantage": "loo",
            "ratio_level": "none",
            "clipping": "none",
            "aggregation": "seq_sum",
            "kl_coefficient": 0.05,
            "kl_estimator": "k1",
            "kl_place": "reward",
        },
    ),
    "reinforce": Row(
        "REINFORCE (Williams 1992): no baseline, no ratio, no KL. The noisy ancestor of all rows; "
        "one update on a rollout.",
        {
            "advantage": "none",
            "ratio_level": "none",
            "clipping": "none",
            "aggregation": "seq_sum",
        },
    ),
    "prefix_attention": Row(
        "A baseline for each token from the other completions of the group whose prefixes look "
        "alike to the policy (cosine of hidden states): unbiased, because only what was written "
        "before a token decides its baseline.",
        {"advantage": "prefix_attention", "aggregation": "token_mean"},
    ),
    "ppo": Row(
        "PPO, arXiv 1707.06347, as it is used on language models: a critic, generalised advantage "
        "estimation (arXiv 1506.02438), whitened advantages, clipped value loss.",
        {"advantage": "gae", "aggregation": "token_mean"},
    ),
}
