"""What only a CUDA device can show. Skipped without one."""

import pytest
import torch

from grpo_core import launch
from grpo_core.advantages import assign
from grpo_core.cli import find_recipe
from grpo_core.engine import Sampling, make_engine
from grpo_core.policy import load_policy
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.runs import find_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_greedy_tokens_equal_hugging_face_on_the_gpu():
    policy = load_policy("bundled:tiny", torch.device("cuda"))
    prompts = policy.tokenizer(
        ["<|user|>47 + 38 = ?<|assistant|>", "<|user|>7 * 16 = ?<|assistant|>"]
    )
    engines = [make_engine(policy.model, policy.eos_ids, name) for name in ("static", "generate")]
    how = Sampling(60, greedy=True)
    ours, theirs = (engine.generate(prompts["input_ids"], 1, how, 0) for engine in engines)
    assert [group[0].ids for group in ours] == [group[0].ids for group in theirs]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_short_run_on_the_gpu(tmp_path, precision):
    overrides = ["num_steps=10", "evaluation.num_problems=50", f"model.precision={precision}"]
    config = load_recipe(find_recipe("bundled"), overrides)
    assert launch.start(tmp_path, "one", config) == "completed"
    with RunReader(find_run(tmp_path, "one").db_path) as reader:
        assert reader.meta()["device"].startswith("cuda")
        drift = [value for _, value in reader.series("train/logprob_drift")]
        assert max(drift) < (1e-3 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("critic", ["shared", "own"])
def test_ppo_on_the_gpu(tmp_path, critic):
    overrides = ["num_steps=4", "evaluation.num_problems=20", "algorithm.name=ppo"]
    config = load_recipe(find_recipe("bundled"), [*overrides, f"critic.model={critic}"])
    assert launch.start(tmp_path, "one", config) == "completed"
    with RunReader(find_run(tmp_path, "one").db_path) as reader:
        assert len(reader.series("critic/loss")) == 4 and not reader.events(kinds=["nonfinite"])
        assert all(seconds > 0 for _, seconds in reader.series("time/critic_s"))


@pytest.mark.parametrize("row", ["as_written", "dapo", "gspo", "sapo", "prefix_attention"])
def test_the_rows_on_the_gpu(tmp_path, row):
    overrides = ["num_steps=3", "evaluation.num_problems=20", f"algorithm.name={row}"]
    config = load_recipe(find_recipe("bundled"), overrides)
    assert launch.start(tmp_path, "one", config) == "completed"
    with RunReader(find_run(tmp_path, "one").db_path) as reader:
        assert len(reader.series("train/grad_norm")) == 3
        if row == "prefix_attention":  # at the first token all prefixes are equal, in bf16 too
            group = reader.groups(1)[0]
            rewards = [one["reward"] for one in group["rollouts"]]
            for one, expected in zip(group["rollouts"], assign([rewards], "loo")[0], strict=True):
                _, trace = reader.trace(one["id"])
                assert trace.advantage[0] == pytest.approx(expected, abs=1e-6)
        assert not reader.events(kinds=["nonfinite"])
