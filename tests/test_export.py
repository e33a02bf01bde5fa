"""A model on its way out: it loads like any other and says the same; its card, its TRL script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from grpo_core import checkpoint, cli
from grpo_core.algorithm_config import objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.export import export
from grpo_core.policy import load_policy, model_folder
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config
from grpo_core.rewards import RewardFunction
from grpo_core.runs import Run
from grpo_core.tasks import load_task
from grpo_core.trl_script import script_files
from grpo_core.trl_settings import in_trl

SMALL = (
    "num_steps=3", "rollout.prompts_per_step=4", "rollout.group_size=4", "checkpoint.every=2",
    "rollout.max_new_tokens=24", "evaluation.num_problems=8", "evaluation.every=2",
    "optim.learning_rate=1e-3", "model.precision=fp32",
)  # fmt: skip
BATCHED = '''"""Half a point for a short one; ```python is no way out of the card."""


def short(completions, **columns):
    return [0.5 * (len(one) < 40) for one in completions]
'''


def trained(folder: Path, name: str, *more: str) -> Run:
    sets = [part for value in (*SMALL, *more) for part in ("--set", value)]
    words = ["train", "bundled", *sets, "--name", name, "--runs-dir", str(folder)]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return Run(folder / name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "short.py").write_text(BATCHED)
    rewards = f"rewards=[{{builtin: accuracy}}, {{path: {folder / 'short.py'}, weight: 0.25}}]"
    return trained(folder, "whole", rewards)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("adapted"), "adapted", "model.lora={rank: 4, alpha: 8}")


def logits(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, model.config.vocab_size, (3, 40), generator=generator)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def policy_of(run: Run) -> Any:
    config = load_recipe(run.config_path)
    newest = checkpoint.latest(run.checkpoints, lambda *_: None)
    assert newest is not None
    device, lora = torch.device("cpu"), config.model.lora
    return load_policy(config.model.path, device, newest / "model", False, lora).model


def of_the_run(run: Run) -> torch.Tensor:
    return logits(policy_of(run))


def test_the_exported_model_says_what_the_run_says(whole: Run, tmp_path: Path) -> None:
    done = export(whole, tmp_path / "out")
    assert (done.step, done.form) == (3, "whole model, fp32")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert (logits(loaded) - of_the_run(whole)).abs().max() < 1e-6
    began = AutoModelForCausalLM.from_pretrained(model_folder("bundled:tiny"))
    assert (logits(loaded) - logits(began)).abs().max() > 1e-2, "it has learned something"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "1 + 1?"}], tokenize=False)


def test_adapters_merged_or_alone_say_what_the_run_says(adapted: Run, tmp_path: Path) -> None:
    """(W + BA) x and W x + B (A x) round otherwise: merged, the model is as near to what both mean,
    worked out in float64, as the policy itself is."""
    own, exact = of_the_run(adapted), logits(policy_of(adapted).double())
    assert export(adapted, tmp_path / "merged").form == "adapters merged into the model, fp32"
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    off, off_of_own = ((one - exact).abs().max() for one in (logits(merged), own))
    assert off < 4 * off_of_own and off < 5e-6 * exact.abs().max()
    without = AutoModelForCausalLM.from_pretrained(model_folder("bundled:tiny"))
    assert (logits(without) - exact).abs().max() > 1e3 * off, "the adapters say something"
    assert not any("lora" in name for name in merged.state_dict())
    export(adapted, tmp_path / "alone", as_adapter=True)
    settings = json.loads((tmp_path / "alone" / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(
        settings["base_model_name_or_path"], dtype=torch.float32
    )
    alone = peft.PeftModel.from_pretrained(base, str(tmp_path / "alone"))
    assert (logits(alone) - own).abs().max() < 1e-6


def test_the_card_tells_the_run_in_its_own_numbers(whole: Run, tmp_path: Path) -> None:
    export(whole, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "grpo" in front["tags"]
    with RunReader(whole.db_path) as reader:
        stored = reader.evals()
    assert [row["step"] for row in stored] == [0, 2, 3]
    for row in stored:
        assert f"| {row['step']} | {row['num_correct'] / row['num_problems']:.1%} |" in card
    assert "### short, weight 0.25\n\n````python\n" in card, "a fence that its text cannot close"
    assert parse_config(yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())) == (
        load_recipe(whole.config_path)
    )


def test_an_older_checkpoint_can_be_asked_for(whole: Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli.app,
        [
            "export",
            "whole",
            str(tmp_path / "out"),
            "--step",
            "2",
            "--runs-dir",
            str(whole.path.parent),
        ],
    )
    assert done.exit_code == 0 and "step 2 of whole" in done.output
    older = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert (logits(older) - of_the_run(whole)).abs().max() > 1e-4
    card = (tmp_path / "out" / "README.md").read_text()
    assert "after 2 steps" in card and "| 3 |" not in card


@pytest.mark.parametrize(
    ("prepare", "options", "why"),
    [
        (lambda run, out: out.mkdir(), {}, "is there already"),
        (lambda run, out: None, {"step": 7}, "has no checkpoint of step 7; there are: 3, 2"),
        (lambda run, out: None, {"as_adapter": True}, "has no adapters"),
    ],
)
def test_what_cannot_be_exported_is_said(
    whole: Run, tmp_path: Path, prepare: Any, options: dict[str, Any], why: str
) -> None:
    prepare(whole, tmp_path / "out")
    with pytest.raises(ValueError) as caught:
        export(whole, tmp_path / "out", **options)
    assert why in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(ValueError, match="is not a folder"):
        export(whole, tmp_path / "none" / "out")


def test_a_damaged_checkpoint_is_passed_over(whole: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(whole.path, copy.path)
    newest = next(checkpoint.newest_first(copy.checkpoints))
    (newest / "position.json").write_text("{}")
    assert export(copy, tmp_path / "out").step == 2
    with pytest.raises(ValueError, match="no checkpoint is whole; step_000003"):
        export(copy, tmp_path / "again", step=3)


# --- TRL -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL names settings that have new names
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "ppo"])
def test_the_settings_for_trl_mean_the_same_or_it_is_said(name: str) -> None:
    test_trl = pytest.importorskip("test_trl", reason="TRL is not installed")
    config = parse_config({"algorithm": {"name": name}})
    found = in_trl(config)
    args = test_trl.config(**found.settings)
    algorithm, theirs, ours = (
        config.algorithm,
        test_trl.objective_of(args),
        objective_of(config.algorithm),
    )
    said = " ".join(found.lost)
    names = ["ratio_level", "clipping", "kl_coefficient", "dual_clip"]
    names += ["clip_low"] if ours.clip_low is not None else []
    names += ["clip_high"] if ours.clip_high is not None else []
    names += ["sapo_positive", "sapo_negative"] if ours.clipping == "sapo" else []
    names += ["kl_estimator"] if ours.kl_coefficient else []
    known = {"ratio_level": "Without a ratio", "clipping": "without a clip"}
    known |= {"kl_coefficient": "taken off the reward"}
    for one in names:
        same = getattr(theirs, one) == pytest.approx(getattr(ours, one))
        assert same or known.get(one, "!") in said, (one, theirs, ours)
    assert test_trl.AGGREGATIONS[args.loss_type] == algorithm.aggregation
    is_same = test_trl.ESTIMATORS[str(args.scale_rewards)] == algorithm.advantage
    assert is_same or f"advantage: {algorithm.advantage} is not there" in said
    assert args.max_steps == config.num_steps and args.num_generations == 8
    assert args.generation_batch_size == 128


def test_a_run_with_a_critic_has_no_trl_script() -> None:
    with pytest.raises(ValueError, match="no critic"):
        in_trl(parse_config({"algorithm": {"name": "ppo"}}))


def test_held_out_problems_are_not_in_the_training_data(tmp_path: Path) -> None:
    rows = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(12)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"data={{task: file, path: {tmp_path / 'd.jsonl'}}}"
    run = trained(tmp_path, "own", data, "evaluation.num_problems=4", "num_steps=2")
    export(run, tmp_path / "out")
    lines = (tmp_path / "out" / "trl" / "train.jsonl").read_text().splitlines()
    held_out = load_task(load_recipe(run.config_path).data, 4).held_out
    asked = {json.loads(line)["question"] for line in lines}
    assert len(held_out) == 4 and len(lines) == 8
    assert not asked & {problem.question for problem in held_out}
    (tmp_path / "d.jsonl").unlink()
    notes = export(run, tmp_path / "again").notes
    assert notes[0].startswith("no TRL script: data.path") and not (tmp_path / "again/trl").exists()


def test_a_model_whose_base_is_gone_is_exported_all_the_same(tmp_path: Path) -> None:
    shutil.copytree(model_folder("bundled:tiny"), tmp_path / "base")
    run = trained(tmp_path, "moved", f"model.path={tmp_path / 'base'}", "num_steps=2")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    export(run, tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "expected", "why"),
    [
        ({"algorithm": {"name": "reinforce"}, "rollout": {"group_size": 1}}, None, "groups of two"),
        (
            {"algorithm": {"kl_reference": "synced", "reference_sync_every": 10},
             "optim": {"updates_per_rollout": 2, "minibatches": 4}},
            {"ref_model_sync_steps": 80, "ref_model_mixup_alpha": 1.0}, "",
        ),
        (
            {"algorithm": {"kl_reference": "average", "reference_decay": 0.9},
             "optim": {"updates_per_rollout": 2}},
            {"ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.1}, "",
        ),
        (
            {"algorithm": {"kl_reference": "synced", "reference_sync_every": 10},
             "model": {"lora": {}}},
            None, "moves no reference",
        ),
    ],
)  # fmt: skip
def test_what_else_trl_does(more: dict[str, Any], expected: Any, why: str) -> None:
    config = parse_config(more)
    if expected is None:
        with pytest.raises(ValueError, match=why):
            in_trl(config)
    else:
        assert expected.items() <= in_trl(config).settings.items()


REWARDS = """
def plain(completions, answer):
    return [1.0 if one else 0.0 for one in completions]


def stepped(completion, step):
    return float(step >= 0)


def talks(completion, prompt):
    return float(completion[-1]["role"] == "assistant" and prompt[-1]["role"] == "user")
"""


def test_rewards_are_called_in_the_script_as_they_ask_for(tmp_path: Path) -> None:
    functions = [
        RewardFunction("plain", REWARDS, "plain"), RewardFunction("stepped", REWARDS, "stepped"),
        RewardFunction("talks", REWARDS, "talks", 0.5, "messages"),
    ]  # fmt: skip
    config = parse_config({"algorithm": {"truncated": "penalize", "overlong_penalty": 0.5}})
    files = script_files("r", "model", config, in_trl(config), functions)
    script = files["train_trl.py"].partition("args = GRPOConfig(")[0]
    (tmp_path / "reward_file_1.py").write_text(files["reward_file_1.py"])
    calls = re.findall(
        r"^        (.*),$", files["train_trl.py"].partition("reward_funcs=[")[2], re.M
    )
    assert calls[3] == "at_the_limit(64)"
    chat = [{"role": "assistant", "content": "18"}]
    given = {
        "prompts": [[{"role": "user", "content": "?"}]] * 2, "completions": [chat, chat],
        "completion_ids": [[1] * 64, [1]], "answer": ["1", "2"], "trainer_state": None,
    }  # fmt: skip
    program = f"{script}\nprint([f(**{given!r}) for f in ({', '.join(calls[:4])},)])"
    stubs = (
        "import sys, types\nfor n in ('datasets', 'trl', 'torch'):\n    m = types.ModuleType(n)\n"
    )
    stubs += "    m.__getattr__ = lambda name: None\n    sys.modules[n] = m\n"
    done = subprocess.run(
        [sys.executable, "-c", stubs + program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, 0.0]]


def test_several_updates_are_counted_as_trl_counts() -> None:
    optim = {"updates_per_rollout": 2, "minibatches": 4, "warmup_steps": 3}
    found = in_trl(parse_config({"num_steps": 5, "optim": optim})).settings
    assert (found["max_steps"], found["warmup_steps"]) == (40, 24)
    assert (found["per_device_train_batch_size"], found["steps_per_generation"]) == (32, 4)
    uneven = in_trl(parse_config({"optim": {"minibatches": 3}}))
    assert uneven.settings["steps_per_generation"] == 1 and "do not go into 3" in str(uneven.lost)
    even = in_trl(parse_config({"rollout": {"prompts_per_step": 6}, "optim": {"minibatches": 4}}))
    assert even.settings["steps_per_generation"] == 4, "48 completions in 4 parts"


@pytest.mark.slow
def test_trl_trains_two_steps_from_the_export(whole: Run, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    done = export(whole, tmp_path / "out")
    folder = tmp_path / "out" / "trl"
    script = (folder / "train_trl.py").read_text()
    assert all(note in script for note in done.notes)
    script, num = re.subn(
        r"max_steps=\d+,", "max_steps=2, report_to='none', logging_steps=1,", script
    )
    assert num == 1
    (folder / "train_trl.py").write_text(
        f"{script}    print(trainer.state.global_step, trainer.state.log_history)\n"
    )
    ran = subprocess.run(
        [sys.executable, "train_trl.py"], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    done_steps, _, printed = ran.stdout.strip().splitlines()[-1].partition(" ")
    assert done_steps == "2"
    history = eval(printed, {"nan": float("nan")})  # its own printing
    steps = [entry for entry in history if "reward" in entry]
    assert steps, "one rollout is gone over twice: it has its rewards once"
    assert {"rewards/accuracy/mean", "rewards/short/mean"} <= steps[0].keys()
    for entry in steps:
        parts = entry["rewards/accuracy/mean"] + 0.25 * entry["rewards/short/mean"]
        assert entry["reward"] == pytest.approx(parts, abs=1e-4)
