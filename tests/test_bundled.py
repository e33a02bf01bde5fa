"""The bundled model: what it was taught is true, and it is what its card says."""

import importlib.util
import random
import re
from fractions import Fraction
from itertools import islice

import pytest
import torch

from grpo_core import launch
from grpo_core.arithmetic import questions
from grpo_core.assets import assets_dir
from grpo_core.cli import find_recipe
from grpo_core.config import DataConfig
from grpo_core.engine import Sampling, make_engine
from grpo_core.evaluate import evaluate
from grpo_core.generate import sample
from grpo_core.judge import Judge
from grpo_core.policy import load_policy
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.runs import find_run
from grpo_core.tasks import load_task

TINY = assets_dir() / "tiny"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_tiny", TINY / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def policy():
    return load_policy("bundled:tiny", torch.device("cpu"))


def test_every_equation_that_was_taught_is_true(make):
    rng, equation = random.Random(0), re.compile(r"(\d+(?:[+*-]\d+)+)=(\d+)")
    checked = 0
    for expression, _ in islice(questions("train", 1), 2000):
        for style in ("brief", "verbose"):
            text = make.response(expression, style, True, rng)
            assert text.endswith(f"<answer>{expression.value}</answer>")
            for left, right in equation.findall(text):
                assert eval(left) == int(right), text  # digits and operators only, by the pattern
                checked += 1
            for a, sign, b in re.findall(r"(\d+)([<>])(\d+)", text):
                assert (int(a) > int(b)) == (sign == ">"), text
                checked += 1
    assert checked > 5_000


def test_size_and_format(policy):
    num = sum(parameter.numel() for parameter in policy.model.parameters())
    assert num <= 4_000_000
    assert sum(file.stat().st_size for file in TINY.iterdir() if file.is_file()) <= 10_000_000
    assert policy.model.config.model_type in ("llama", "qwen3")
    assert policy.tokenizer.is_fast and policy.tokenizer.chat_template


def test_any_text_survives_the_tokenizer_and_digits_stand_alone(policy):
    for text in ("48 + 5?", "Grüße, 你好 \U0001f600", "<think>7+8=15</think>"):
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert policy.tokenizer.decode(ids) == text
    assert len(policy.tokenizer("12345", add_special_tokens=False)["input_ids"]) == 5


@pytest.mark.slow
def test_the_base_is_often_wrong_in_one_go_and_nearly_always_right_when_it_thinks(policy):
    engine = make_engine(policy.model, policy.eos_ids)
    config = load_recipe(find_recipe("bundled"))
    task = load_task(config.data, 400)
    with Judge() as judge:
        greedy, _ = evaluate(engine, policy, config, task.held_out, 0, judge)
    assert 0.30 <= greedy.accuracy <= 0.45
    groups = sample(
        engine, policy, DataConfig(), task.held_out, 4, Sampling(config.rollout.max_new_tokens), 1
    )
    sampled = [(g.problem, r) for g in groups for r in g.rollouts]
    thinking = [(p, r) for p, r in sampled if "<think>" in r.text]
    assert 0.15 < len(thinking) / len(sampled) < 0.5
    right = sum(r.text.split("</think>")[-1].strip("</answer>") == p.answer for p, r in thinking)
    assert Fraction(right, len(thinking)) > Fraction(9, 10)
    # something to choose from for a reward about length or format
    lengths = sorted(len(r.ids) for _, r in thinking)
    assert lengths[-len(lengths) // 10] > 1.5 * lengths[len(lengths) // 10]
    tagged = sum("<answer>" in r.text for _, r in sampled) / len(sampled)
    assert 0.5 < tagged < 0.95


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_the_bundled_recipe_learns_to_think(tmp_path):
    config = load_recipe(find_recipe("bundled"), ["seed=11"])
    assert config.num_steps <= 120 and config.evaluation.num_problems >= 400
    assert launch.start(tmp_path, "one", config) == "completed"
    with RunReader(find_run(tmp_path, "one").db_path) as reader:
        accuracy = [row["num_correct"] / row["num_problems"] for row in reader.evals()]
        assert accuracy[0] < 0.45 and max(accuracy) >= 0.90
        lengths = [value for _, value in reader.series("completion/length_mean")]
    assert lengths[-1] > 2 * lengths[0]
