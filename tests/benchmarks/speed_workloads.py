"""What the speed benchmark runs: models, prompts, forced lengths, and the recipe that both sides
are made from. No torch here: the process that drives the sides stays small.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

MEAN_SHARE, CAP_SHARE = 0.4, 0.03
"""Of ragged lengths: mean over cap, and the share of completions at the cap."""
REWARD = '''"""A number in [0, 1) that depends on every character and costs next to nothing."""

import zlib


def reward(completions, **_):
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [zlib.crc32(text.encode()) / 2**32 for text in texts]
'''


@dataclass(frozen=True)
class Model:
    """A model with the geometry of its step."""

    source: str
    """`bundled`, `smollm2` (the real one where it is installed) or `random`."""
    shape: dict[str, Any] = field(default_factory=dict)
    """Hugging Face configuration of random weights."""
    prompts: int = 16
    group: int = 8
    tokens: int = 96
    """Cap of a completion; `fixed` completions all have it."""
    learning_rate: float = 1e-6
    micro_batch_tokens: int = 16384
    """Of our side; TRL's micro-batch is a number of completions (see `speed_trl.py`)."""
    warmups: int = 2
    """Rounds that are not counted, for each workload."""
    pairs: int = 5
    baselines: tuple[str, ...] = ("trl_tuned", "trl_default", "trl_bf16_load")
    workloads: tuple[str, ...] = ("ragged", "fixed")
    """Those of a run that names none."""
    alternate: bool = True
    """False where the GPU does not hold both sides: then one runs after the other."""


def _shape(kind: str, hidden: int, inner: int, layers: int, heads: int, **more: Any) -> dict:
    vocabulary = more.get("vocab_size", 151936)
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "max_position_embeddings": 32768,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 2,
        "bos_token_id": None,
        **more,
    }


# As in the config.json that is published with each model.
_SMOLLM2 = _shape(
    "llama",
    *(576, 1536, 30, 9),
    num_key_value_heads=3,
    vocab_size=49152,
    rms_norm_eps=1e-5,
    rope_parameters={"rope_type": "default", "rope_theta": 1e5},
    max_position_embeddings=8192,
)
_QWEN25_HALF = _shape("qwen2", 896, 4864, 24, 14, num_key_value_heads=2)
_QWEN25 = _shape("qwen2", 1536, 8960, 28, 12, num_key_value_heads=2)
_QWEN3 = _shape(
    "qwen3", 1024, 3072, 28, 16, num_key_value_heads=8, head_dim=128, max_position_embeddings=40960
)
_GPU: dict[str, Any] = {
    **{"prompts": 64, "group": 16, "tokens": 512},
    **{"warmups": 1, "pairs": 3, "baselines": ("trl_tuned",)},
}

CPU_MODELS = {
    "bundled": Model("bundled", learning_rate=3e-4, micro_batch_tokens=8192),
    # a step takes TRL a minute and a half on two cores
    "smollm2": Model(
        *("smollm2", _SMOLLM2),
        **{"tokens": 32, "micro_batch_tokens": 4096, "workloads": ("ragged",)},
        **{"warmups": 1, "pairs": 2, "baselines": ("trl_tuned",)},
    ),
}
GPU_MODELS = {
    "qwen2.5-0.5b": Model("random", _QWEN25_HALF, **_GPU),
    "smollm2-135m": Model("random", _SMOLLM2, **_GPU),
    "qwen2.5-1.5b": Model("random", _QWEN25, **_GPU),
    # 112 KiB of keys and values a token: 75 GB for a whole step
    "qwen3-0.6b": Model("random", _QWEN3, alternate=False, **_GPU),
}
WORKLOADS = ("ragged", "fixed")


# --- lengths --------------------------------------------------------------------------------------


def forced_lengths(workload: str, num: int, cap: int, seed: int = 0) -> tuple[int, ...]:
    """Tokens of each of `num` completions, the end token included.

    `ragged`: the quantiles of a lognormal distribution clipped at `cap`, in a seeded order: no
    sample of it, so that even a short list has the mean and the share at the cap that are wanted.
    """
    if workload == "fixed":
        return (cap,) * num
    low, high = 0.0, 4.0
    for _ in range(50):  # the wider the distribution, the lower its mean below the same cap
        sigma = (low + high) / 2
        low, high = (
            (sigma, high) if fmean(_quantiles(num, cap, sigma)) > MEAN_SHARE * cap else (low, sigma)
        )
    lengths = _quantiles(num, cap, sigma)
    random.Random(seed).shuffle(lengths)
    return tuple(lengths)


def _quantiles(num: int, cap: int, sigma: float) -> list[int]:
    normal = NormalDist()
    mu = math.log(cap) - sigma * normal.inv_cdf(1 - CAP_SHARE)
    draws = (math.exp(mu + sigma * normal.inv_cdf((i + 0.5) / num)) for i in range(num))
    return [min(cap, max(2, round(draw))) for draw in draws]


# --- prompts --------------------------------------------------------------------------------------

_NAMES = ("Maya", "Tom", "Priya", "Diego", "Hana", "Lukas", "Amara", "Ben")
_THINGS = ("muffins", "notebooks", "candles", "marbles", "apples", "postcards", "tickets")
_STORIES = (
    "{name} sells {a} {things} in the morning and {b} {things} in the afternoon. Each one costs "
    "{c} dollars. After paying {d} dollars for supplies, how many dollars does {name} have left?",
    "{name} packs {a} {things} into each of {b} boxes and finds that {c} of the {things} are "
    "broken. If {d} friends share the good ones equally, how many does each friend get, and how "
    "many remain?",
    "A shop has {a} {things} on Monday. {name} buys {b} of them on Tuesday and twice as many on "
    "Wednesday. Then {c} more are delivered. How many {things} does the shop have now?",
)


def stories(num: int, seed: int = 0) -> list[str]:
    """Short word problems of 40 to 60 tokens."""
    draw = random.Random(seed)
    found = []
    for index in range(num):
        numbers = {letter: draw.randint(2, 99) for letter in "abcd"}
        story = _STORIES[index % len(_STORIES)]
        found.append(story.format(name=draw.choice(_NAMES), things=draw.choice(_THINGS), **numbers))
    return found


def digits(num: int, seed: int = 0) -> list[str]:
    """Prompts of 96 to 160 digits, each a token of the generated tokenizer (`speed_models.py`)."""
    draw = random.Random(seed)
    return ["".join(draw.choices("0123456789", k=draw.randint(96, 160))) for _ in range(num)]


# --- recipe ---------------------------------------------------------------------------------------


def recipe(model: Model, path: str, folder: Path, num_steps: int) -> dict[str, Any]:
    """Our recipe of plain GRPO steps, none with the prompts of another: no KL in the loss, one
    update on a rollout.

    Writes the reward and the prompts into `folder`. The loss is TRL's `grpo`.
    """
    reward = folder / "reward.py"
    reward.write_text(REWARD, encoding="utf-8")
    data: dict[str, Any] = {"task": "arithmetic"}
    if model.source != "bundled":
        num = model.prompts * num_steps + 1  # one is held out
        questions = stories(num) if model.source == "smollm2" else digits(num)
        lines = [json.dumps({"question": one, "answer": "0"}) for one in questions]
        (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        data = {"task": "file", "path": str(folder / "prompts.jsonl")}
    return {
        "model": {"path": path},
        "data": data,
        "rewards": [{"path": str(reward)}],
        "rollout": {
            "prompts_per_step": model.prompts,
            "group_size": model.group,
            "max_new_tokens": model.tokens,
        },
        "algorithm": {"name": "deepseekmath", "kl_coefficient": 0.0},
        "optim": {
            "learning_rate": model.learning_rate,
            "micro_batch_tokens": model.micro_batch_tokens,
        },
        "evaluation": {"num_problems": 1},
        "seed": 0,
    }
