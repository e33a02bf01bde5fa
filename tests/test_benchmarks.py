"""The parts of the speed benchmark that are not measurements."""

import json
from statistics import fmean

import pytest
from benchmarks import speed_report, speed_roofline, speed_workloads

from grpo_core.recipe import parse_config

GPU = speed_workloads.GPU_MODELS["qwen2.5-0.5b"]


@pytest.mark.parametrize(("num", "cap"), [(32, 32), (128, 96), (1024, 512)])
def test_ragged_lengths(num, cap):
    lengths = speed_workloads.forced_lengths("ragged", num, cap)
    assert lengths == speed_workloads.forced_lengths("ragged", num, cap)
    assert fmean(lengths) == pytest.approx(0.4 * cap, rel=0.01)
    assert lengths.count(cap) / num == pytest.approx(0.03, abs=0.5 / num + 1e-3)
    assert min(lengths) >= 2 and max(lengths) == cap
    other = speed_workloads.forced_lengths("ragged", num, cap, seed=1)
    assert other != lengths and sorted(other) == sorted(lengths)


def test_fixed_lengths():
    assert speed_workloads.forced_lengths("fixed", 3, 7) == (7, 7, 7)


@pytest.mark.parametrize("model", [*speed_workloads.CPU_MODELS.values(), GPU])
def test_recipes(model, tmp_path):
    config = parse_config(speed_workloads.recipe(model, "bundled:tiny", tmp_path, 3))
    assert config.algorithm.kl_coefficient == 0 and config.optim.updates_per_rollout == 1
    if config.data.path is not None:
        lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
        questions = [json.loads(line)["question"] for line in lines]
        assert len(set(questions)) > 0.99 * len(questions) > model.prompts
    scope = {}
    exec((tmp_path / "reward.py").read_text(), scope)
    texts = ["one", "two", ""]
    rewards = scope["reward"](texts)
    assert rewards == scope["reward"]([[{"content": text}] for text in texts])
    assert len(set(rewards)) == 3 and all(0 <= reward < 1 for reward in rewards)


def test_bootstrap():
    assert speed_report.bootstrap([2.0] * 5) == (2.0, 2.0)
    low, high = speed_report.bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
    # the median of five draws is an end in 0.058 of all lists, so the interval spans them all
    assert (low, high) == (1.0, 5.0)
    low, high = speed_report.bootstrap([float(n) for n in range(101)])
    assert 35 < low < 45 and 55 < high < 65


def test_ratio():
    assert speed_report.ratio([1.0, 2.0, 4.0], [2.0, 4.0, 12.0])["median"] == 2.0


def test_work_of_a_step():
    """The sums for 64 x 16 completions of 512 tokens behind prompts of 128, done by hand."""
    prompts, lengths = [128] * 64, (512,) * 1024
    # 6 x 357.9M x 532,480 + 12 x 21,504 x 201.9M + 8 x 136.1M x 524,288
    flops = speed_roofline.update_flops(GPU.shape, prompts, lengths)
    assert flops == pytest.approx(1.766e15, rel=1e-3)
    # 512 x 0.988 GB of weights, 12,288 B x 384.5 tokens and 607,744 B of logits for each token
    moved = speed_roofline.decode_bytes(GPU.shape, prompts, lengths)
    assert moved == pytest.approx(512 * 0.988e9 + 524288 * (12288 * 384.5 + 607744), rel=1e-3)


def sample(seconds):
    parts = {"rollout": seconds / 2, "update": seconds / 4, "reward": 0.01}
    return {"step_s": seconds, "parts": parts, "peak_bytes": 2e9}


def test_report():
    side = {"settings": {}, "setup_s": 1.0, "first_step_s": 4.0, "warmups": []}
    sides = {
        "ours": {**side, "samples": [sample(1.0), sample(2.0)]},
        "trl_tuned": {**side, "samples": [sample(3.0), sample(6.0)]},
    }
    work = {"decode_bytes": 1e12, "update_flops": 1e14}
    cell = {"model": "tiny", "workload": "ragged", "num_tokens": 300, "sides": sides, "work": work}
    ceilings = {"matmul_tflops": 800.0, "copy_gbs": 4000.0}
    speed_report.summarise(cell, ceilings)
    numbers = sides["ours"]["summary"]
    assert numbers["step_s"] == 1.5 and numbers["tokens_per_s"] == 200
    assert numbers["rest"] == pytest.approx(1.5 / 4) and numbers["first_step_s"] == 5
    assert sides["trl_tuned"]["speedup"]["median"] == 3.0
    result = {"machine": {"gpu": "H"}, "ceilings": ceilings, "cells": [cell], "caveats": ["A."]}
    text = speed_report.markdown(result)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert "3.00x (3.00–3.00), 2 pairs" in text and "- A." in text
    # without a GPU there are no such columns
    speed_report.summarise(replaced := {**cell, "work": None}, None)
    assert "GB/s" not in speed_report.markdown({**result, "ceilings": None, "cells": [replaced]})


def test_models_fit_their_context():
    for model in speed_workloads.GPU_MODELS.values():
        assert model.tokens + 160 <= model.shape["max_position_embeddings"]
