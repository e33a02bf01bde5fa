"""What a model is asked, as text: chat templates, plain text, worked examples, and their length."""

import json

import pytest

from grpo_core.config import DataConfig
from grpo_core.records import Problem

CHATML = (
    "{% for m in messages %}{% if m.role == 'system' and no_system %}{{ raise_exception('System "
    "role not supported') }}{% endif %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
EXAMPLES = (("a", "1"), ("b", "2"))


@pytest.fixture(scope="module")
def tokenizer():
    from grpo_core.policy import load_tokenizer

    return load_tokenizer("bundled:tiny")


def test_examples_are_turns_of_the_chat_template(tokenizer, monkeypatch):
    from grpo_core.policy import render_prompt

    data = DataConfig(prompt_template="Q: {question}", system_prompt="Be brief.")
    monkeypatch.setattr(tokenizer, "chat_template", CHATML)
    assert render_prompt(tokenizer, data, "c") == ("<system>Be brief.</><user>Q: c</><assistant>")
    assert render_prompt(tokenizer, data, "c", EXAMPLES) == (
        "<system>Be brief.</><user>Q: a</><assistant>1</><user>Q: b</><assistant>2</>"
        "<user>Q: c</><assistant>"
    )
    monkeypatch.setattr(tokenizer, "chat_template", "{% set no_system = true %}" + CHATML)
    assert render_prompt(tokenizer, DataConfig(), "c") == "<user>c</><assistant>"
    with pytest.raises(ValueError, match=r"template refuses .*System role not supported.*system_p"):
        render_prompt(tokenizer, data, "c")
    monkeypatch.setattr(tokenizer, "chat_template", None)
    assert render_prompt(tokenizer, DataConfig(), "c", EXAMPLES) == (
        "Question: a\nAnswer: 1\n\nQuestion: b\nAnswer: 2\n\nQuestion: c\nAnswer:"
    )


def test_groups_hold_the_examples_and_a_prompt_too_long_is_refused(random_model):
    import torch

    from grpo_core.engine import Sampling, make_engine
    from grpo_core.generate import check_prompts, sample
    from grpo_core.policy import load_policy

    policy = load_policy(str(random_model), torch.device("cpu"))
    engine = make_engine(policy.model, policy.eos_ids, "auto")
    data = DataConfig(shots=2)
    problems = [Problem(f"p-{i}", "What is 1 + 1?", "2", examples=EXAMPLES) for i in range(600)]
    check_prompts(policy, data, problems, 64)
    (group,) = sample(engine, policy, data, problems[:1], 1, Sampling(2), 0)
    assert group.prompt.index("a") < group.prompt.index("What is 1 + 1?")
    bare = Problem("p", "What is 1 + 1?", "2")
    (alone,) = sample(engine, policy, data, [bare], 1, Sampling(2), 0)
    assert len(group.prompt_ids) > len(alone.prompt_ids)
    problems[-1].examples = (("a " * 200, "1"),)
    with pytest.raises(
        ValueError, match=r"prompt of p-599 has .* room for 64; lower data\.shots, "
    ):
        check_prompts(policy, data, problems, 64)


def test_a_run_with_examples_trains_and_stores_what_it_asked(random_model, tmp_path):
    from grpo_core import launch
    from grpo_core.reader import RunReader
    from grpo_core.recipe import parse_config
    from grpo_core.runs import find_run

    rows = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(9)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = parse_config(
        {
            "model": {"path": str(random_model), "precision": "fp32"},
            "data": {"task": "file", "path": str(tmp_path / "d.jsonl"), "shots": 2},
            "rollout": {"prompts_per_step": 2, "group_size": 2, "max_new_tokens": 4},
            "evaluation": {"num_problems": 2},
            "num_steps": 1,
        }
    )
    assert launch.start(tmp_path / "runs", "one", config) == "completed"
    with RunReader(find_run(tmp_path / "runs", "one").db_path) as reader:
        stored = reader.groups(1)
    assert len(stored) == 2
    for group in stored:
        assert group["prompt"].count("<answer>") == 2 and group["prompt"].count(" + 1?") == 3


@pytest.mark.slow
def test_the_command_prints_what_the_model_will_see(tmp_path, random_model):
    import subprocess
    import sys

    rows = [{"question": f"\x1b[31m{i}?\r", "answer": f"{i}"} for i in range(6)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (*rows, rows[0])))
    (tmp_path / "r.yaml").write_text(
        f"model: {{path: {random_model}}}\ndata: {{task: file, path: d.jsonl}}\n"
    )
    command = [sys.executable, "-m", "grpo_core.cli", "prompts", str(tmp_path / "r.yaml")]
    command += [
        "--set",
        "data.prompt_template=Say {question}",
        "--set",
        "evaluation.num_problems=1",
    ]
    shown = subprocess.run([*command, "--num", "2"], capture_output=True, text=True, check=True)
    assert "\x1b" not in shown.stdout and "Say \\x1b[31m" in shown.stdout
    assert shown.stdout.startswith(
        "5 training problems, 1 held out\n1 rows of train ask what one before them asks: left out\n"
    )
    assert shown.stdout.count(" tokens, answer ") == 2
