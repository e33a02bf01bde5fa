"""A model on its way out: it loads like any other and says the same; its card, its TRL script."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import psutil
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from grpo_core import checkpoint, cli
from grpo_core.algorithm_config import objective_of
from grpo_core.algorithms import ALGORITHMS
from grpo_core.export import export
from grpo_core.intervals import wilson
from grpo_core.model_card import Form, History, is_on_hub, model_card
from grpo_core.optim import split
from grpo_core.policy import load_policy, model_folder
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, parse_config
from grpo_core.rewards import RewardFunction
from grpo_core.runs import Run, RunState
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
    assert (done.step, done.form.sentence) == (3, "the whole model, in fp32")
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
    assert export(adapted, tmp_path / "merged").form.sentence.endswith("merged, in fp32")
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


def test_bf16_adapters_are_merged_into_what_they_were_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On whatever machine: `auto` means what it meant where the run was."""
    monkeypatch.setattr("grpo_core.prepare.has_bf16", lambda: True)
    run = trained(tmp_path, "half", "model.lora={rank: 4}", "model.precision=auto", "num_steps=1")
    monkeypatch.setattr("grpo_core.prepare.has_bf16", lambda: False)
    assert export(run, tmp_path / "out").form.half
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(model_folder("bundled:tiny"), dtype=torch.float32)
    halves = {name: split(one.data)[0].float() for name, one in base.named_parameters()}
    name = "model.embed_tokens.weight"
    assert torch.equal(merged.state_dict()[name], halves[name])
    weights = dict(base.named_parameters())
    ties = sum(int((weights[key].bfloat16() != one).sum()) for key, one in halves.items())
    assert ties > 0, "the two roundings differ, by 5e-4 in the logits"
    newest = next(checkpoint.newest_first(run.checkpoints)) / "model"
    lora = load_recipe(run.config_path).model.lora
    policy = load_policy("bundled:tiny", torch.device("cpu"), newest, True, lora).model.float()
    assert (logits(merged) - logits(policy)).abs().max() < 5e-5


def test_the_card_tells_the_run_in_its_own_numbers(whole: Run, tmp_path: Path) -> None:
    export(whole, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "transformers" and "grpo" in front["tags"]
    with RunReader(whole.db_path) as reader:
        stored, rewards = reader.evals(), dict(reader.series("reward/mean"))
    assert [row["step"] for row in stored] == [0, 2, 3]
    since = {0: "", 2: f"{rewards[2]:.3f}", 3: f"{rewards[3]:.3f}"}
    for row in stored:  # of 8 problems
        low, high = (f"{100 * one:.1f}%" for one in wilson(row["num_correct"], 8))
        share = f"{row['num_correct'] / 8:.1%}"
        line = f"| {row['step']} | {share} | {low} to {high} | {since[row['step']]} |"
        assert line in card
    assert f"| 1 |  |  | {rewards[1]:.3f} |" in card
    assert f"before the training it was {stored[0]['num_correct'] / 8:.1%}" in card
    assert "1 × `accuracy`, 0.25 × `short`" in card
    assert "### `short`\n\n````python\n" in card, "a fence that its text cannot close"
    assert parse_config(yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())) == (
        load_recipe(whole.config_path)
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's own
@pytest.mark.parametrize("as_adapter", [False, True])
def test_the_code_on_the_card_runs(
    adapted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_adapter: bool
) -> None:
    export(adapted, tmp_path / "out", as_adapter=as_adapter)
    monkeypatch.chdir(tmp_path / "out")
    code = re.findall(r"^```python\n(.*?)^```", Path("README.md").read_text(), re.M | re.S)[0]
    found: dict[str, Any] = {}
    exec(code, found)
    assert (logits(found["model"]) - of_the_run(adapted)).abs().max() < 1e-4
    assert found["tokenizer"].chat_template


def history(step: int, evals: Any, rewards: Any) -> History:
    rows = [{"step": at, "num_correct": right, "num_problems": 10} for at, right in evals]
    return History(step, {"device": "a|b"}, rows, rewards, 2)


def test_a_long_run_is_a_short_table_and_says_of_which_steps_its_rewards_are() -> None:
    config, form = parse_config({"num_steps": 100}), Form("whole", False)
    one = RewardFunction("r", "def r(completion): return 1.0\n", "r")
    rewards = [(step, float(step)) for step in range(1, 101)]
    many = history(100, [(step, 5) for step in range(101)], rewards)
    rows = re.findall(
        r"^\| (\d+) \|.*\| ([\d.]*) \|$", model_card("n", many, config, [one], form), re.M
    )
    assert len(rows) == 21 and rows[0] == ("0", "") and rows[-1] == ("100", "98.000")
    assert rows[1] == ("5", "3.000"), "the mean of 1 to 5"
    few = model_card("n", history(100, [(0, 1), (100, 5)], rewards), config, [one], form)
    assert "| 100 | 50.0% | 23.7% to 76.3% | 95.500 |" in few and "| 10 |  |  | 5.500 |" in few
    assert "were changed 2 times" in few and "| device | a\\|b |" in few
    none = model_card("n", history(3, [], []), config, [one], form)
    assert "Not measured." in none


def test_names_on_the_card_stay_names() -> None:
    hostile = "a``b`<img src=x>|\n# heading"
    data = {"task": "file", "path": f"/secret/{hostile}.jsonl", "system_prompt": "```\n# out"}
    config = parse_config({"data": data, "model": {"path": "/home/somebody/my model"}})
    reward = RewardFunction(hostile, "def r(completion): return 1.0  # ~~~~ ````\n", "r")
    history_ = history(1, [(0, 1), (1, 2)], [(1, 0.5)])
    card = model_card("n", history_, config, [reward], Form("whole", False))
    before = card.partition("## Recipe")[0]
    assert "``` a``b`<img src=x>| # heading.jsonl ```" in before
    assert "### ``` a``b`<img src=x>| # heading ```\n\n`````python\n" in before
    assert "````text\n```\n# out\n````" in before
    assert (
        "`my model` after 1 step of" in before and "/home" not in before and "/secret" not in before
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gpt2", True), ("Qwen/Qwen3-0.6B", True), ("bundled:tiny", False), ("/a/b", False),
        ("./b", False), ("a/b/c", False), ("my model", False), ("../b", False),
    ],
)  # fmt: skip
def test_only_the_hub_is_named_as_base(path: str, expected: bool) -> None:
    assert is_on_hub(path) is expected


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


def occupied(out: Path) -> None:
    out.mkdir()
    (out / "mine.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "options", "why"),
    [
        (occupied, {}, "is there already; name a folder that is not, or empty it"),
        (Path.touch, {}, "is there already"),
        (lambda out: None, {"step": 7}, "has no checkpoint of step 7; there are: 3, 2"),
        (lambda out: None, {"as_adapter": True}, "leave out --adapter"),
    ],
)
def test_what_cannot_be_exported_is_said(
    whole: Run, tmp_path: Path, prepare: Any, options: dict[str, Any], why: str
) -> None:
    prepare(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as caught:
        export(whole, tmp_path / "out", **options)
    assert why in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match="make it first"):
        export(whole, tmp_path / "none" / "out")


def test_an_empty_folder_is_filled(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    export(whole, Path("./link"))
    assert (tmp_path / "out" / "config.json").is_file() and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["whole", "adapted"])
def test_a_full_disk_leaves_nothing(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # the weights are larger
    try:
        with pytest.raises(ValueError, match=r"cannot be written: .*File too large.*make room"):
            export(run, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_live_run_and_one_without_checkpoints_are_refused(whole: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(whole.path, copy.path)
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(ValueError, match=r"no checkpoint yet \(it is completed\)"):
        export(copy, tmp_path / "out")
    me = psutil.Process()
    copy.write_state(RunState("running", me.pid, me.create_time(), me.create_time(), 1, 3))
    words = ["export", "copy", str(tmp_path / "out"), "--runs-dir", str(tmp_path)]
    done = CliRunner().invoke(cli.app, words)
    assert "copy: is running; stop it first (`grpo-studio stop copy`)" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_what_the_run_has_lost_is_named(whole: Run, adapted: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(whole.path, copy.path)
    for file in copy.path.glob("run.db*"):
        file.write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match=r"run\.db cannot be read .*put back a whole one"):
        export(copy, tmp_path / "out")
    for file in copy.path.glob("run.db*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"run\.db is missing"):
        export(copy, tmp_path / "out")
    shutil.rmtree(copy.rewards)
    copy.rewards.mkdir()
    with pytest.raises(ValueError, match="reward version"):
        export(copy, tmp_path / "out")


def test_adapters_need_the_model_they_were_trained_on(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder("bundled:tiny"), base)
    run = trained(tmp_path, "moved", f"model.path={base}", "model.lora={rank: 4}", "num_steps=1")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"model\.path: {base} cannot be loaded"):
        export(run, tmp_path / "out")
    shutil.copytree(tmp_path / "elsewhere", base)
    config = json.loads((base / "config.json").read_text())
    LlamaForCausalLM(LlamaConfig(**{**config, "intermediate_size": 64})).save_pretrained(base)
    with pytest.raises(ValueError, match="the adapters do not fit"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export(run, tmp_path / "out", as_adapter=True).form.kind == "adapters"


def test_a_damaged_checkpoint_is_passed_over(whole: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "copy")
    shutil.copytree(whole.path, copy.path)
    newest, older = checkpoint.newest_first(copy.checkpoints)
    (newest / "position.json").write_text("{}")
    done = export(copy, tmp_path / "out")
    assert done.step == 2
    assert done.skipped == ["step_000003: position.json is missing or has another size"]
    with pytest.raises(ValueError, match=r"step_000003: .*try another .* \(there are: 3, 2\)"):
        export(copy, tmp_path / "again", step=3)
    (older / "model" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint is whole .*step_000002.*train it again"):
        export(copy, tmp_path / "again")


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
    known = {"ratio_level": "without a ratio", "clipping": "without a clip"}
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
    again = export(run, tmp_path / "again")
    assert not again.has_script and again.lost[0].startswith("data.path")
    assert not (tmp_path / "again/trl").exists()


@pytest.mark.slow
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
    return float(step)


def stateful(completions, trainer_state):
    return [float(trainer_state.global_step) for _ in completions]


def talks(completion, prompt):
    return float(completion[-1]["role"] == "assistant" and prompt[-1]["role"] == "user")
"""


CHAT = [[{"role": "user", "content": "?"}]] * 2, [[{"role": "assistant", "content": "18"}]] * 2


@pytest.mark.parametrize("texts", [CHAT, (["?", "?"], ["18", "18"])], ids=["chat", "plain"])
def test_rewards_are_called_in_the_script_as_they_ask_for(texts: Any, tmp_path: Path) -> None:
    functions = [
        RewardFunction("plain", REWARDS, "plain"), RewardFunction("stepped", REWARDS, "stepped"),
        RewardFunction("talks", REWARDS, "talks", 0.5, "messages"),
        RewardFunction("stateful", REWARDS, "stateful"),
    ]  # fmt: skip
    algorithm = {"truncated": "penalize", "overlong_penalty": 0.5}
    config = parse_config({"algorithm": algorithm, "optim": {"updates_per_rollout": 3}})
    files, _ = script_files("r", "model", config, in_trl(config), functions)
    script = files["train_trl.py"].partition("args = GRPOConfig(")[0]
    (tmp_path / "reward_file_1.py").write_text(files["reward_file_1.py"])
    calls = re.findall(
        r"^        (.*),$", files["train_trl.py"].partition("reward_funcs=[")[2], re.M
    )[:5]
    assert calls[4] == "at_the_limit(64)"
    given = {
        "prompts": texts[0], "completions": texts[1], "completion_ids": [[1] * 64, [1]],
        "answer": ["1", "2"], "trainer_state": SimpleNamespace(global_step=6),
    }  # fmt: skip
    program = f"{script}\nprint([f(**{given!r}) for f in ({', '.join(calls)},)])"
    stubs = (
        "import sys, types\nfrom types import SimpleNamespace as namespace\n"
        "for n in ('datasets', 'trl', 'torch'):\n    m = types.ModuleType(n)\n"
        "    m.__getattr__ = lambda name: None\n    sys.modules[n] = m\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", stubs + program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = [[1.0, 1.0], [3.0, 3.0], [1.0, 1.0], [6.0, 6.0], [-1.0, 0.0]]
    assert eval(done.stdout) == expected, "update 6 of 3 a step is in the third step"


def test_what_few_recipes_meet_is_said_of_them_alone() -> None:
    said = [
        " ".join(in_trl(parse_config({"algorithm": {"advantage": name}})).lost)
        for name in ("batch_std", "zscore")
    ]
    assert ["deviation of the batch" in one for one in said] == [True, False]


def test_several_updates_are_counted_as_trl_counts() -> None:
    optim = {"updates_per_rollout": 2, "minibatches": 4, "warmup_steps": 3}
    found = in_trl(parse_config({"num_steps": 5, "optim": optim})).settings
    assert (found["max_steps"], found["warmup_steps"]) == (40, 24)
    assert (found["save_steps"], found["logging_steps"]) == (160, 8), "a checkpoint in 20 steps"
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
    assert all(sentence in " ".join(script.split()) for sentence in done.lost)
    script, num = re.subn(r"max_steps=\d+,", "max_steps=2,", script)
    assert num == 1 and "logging_steps=2," in script
    (folder / "train_trl.py").write_text(
        f"{script}    print(trainer.state.global_step, trainer.state.log_history)\n"
    )
    ran = subprocess.run(
        [sys.executable, folder / "train_trl.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
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
