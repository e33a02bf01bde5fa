"""One update of a fixed step in float64, by however many processes this was launched with; the
first writes loss, metrics and gradients down. Run by `test_team.py`:
`accelerate launch … two_processes.py MODEL OUT`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from grpo_core.annotate import annotate
from grpo_core.batch import pack
from grpo_core.credit import assign_credit
from grpo_core.learner import make_learner
from grpo_core.policy import load_policy
from grpo_core.recipe import parse_config
from grpo_core.records import Group, Problem, Rollout
from grpo_core.update import Update

CASES = {
    "deepseekmath": {"algorithm": {"name": "deepseekmath", "entropy_coefficient": 0.01}},
    "as_written": {"algorithm": {"name": "as_written", "kl_coefficient": 0.5}},
    "dapo": {"algorithm": {"name": "dapo", "importance_cap": 1.5}},
    "dr_grpo": {"algorithm": {"name": "dr_grpo", "truncated": "mask"}},
    "gspo": {"algorithm": {"name": "gspo"}, "optim": {"updates_per_rollout": 2}},
    "batch_z": {"algorithm": {"name": "cispo", "advantage": "batch_z"}},
    "prefix_attention": {"algorithm": {"name": "prefix_attention"}},
    "ppo_shared": {"algorithm": {"name": "ppo", "kl_coefficient": 0.1}},
    "ppo_own": {"algorithm": {"name": "ppo"}, "critic": {"model": "own"}},
    "minibatches": {"algorithm": {"name": "ppo"}, "optim": {"minibatches": 2}},
}


def make_groups() -> list[Group]:
    """Five groups of three completions: ragged, one faulty, one empty, some cut off."""
    rng = np.random.default_rng(0)
    groups = []
    for _ in range(5):
        rollouts = []
        for _ in range(3):
            length = int(rng.integers(1, 12))
            ids = rng.integers(3, 200, length).tolist()
            logp = rng.normal(-5, 0.5, length).tolist()
            reward = float(rng.normal())
            finish = "length" if length > 9 else "stop"
            rollouts.append(Rollout(ids, logp, "x", finish, outcome="ok", reward=reward))
        prompt = rng.integers(3, 200, int(rng.integers(1, 6))).tolist()
        groups.append(Group(Problem("p", "q", "a"), "q", prompt, rollouts))
    groups[1].rollouts[0].reward = None
    groups[2].rollouts[1].ids, groups[2].rollouts[1].rollout_logp = [], []
    return groups


def run(accelerator: Accelerator, model: str, recipe: dict) -> tuple[dict, dict]:
    base = {"rollout": {"prompts_per_step": 5, "max_new_tokens": 12}}
    optim = {"max_grad_norm": 1e9, **recipe.get("optim", {})}
    config = parse_config({**base, **recipe, "optim": optim})
    policy = load_policy(model, torch.device("cpu"))
    policy.model.double()
    policy.reference.double()
    with torch.no_grad():  # a policy that has moved, so that the KL pulls
        generator = torch.Generator().manual_seed(1)
        for weight in policy.model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    learner = make_learner(accelerator, policy, config)
    learner.budget.tokens = 40  # several micro-batches
    groups = make_groups()
    share = learner.team.share(len(groups))
    batch = pack(groups, torch.device("cpu"), share, config.optim.minibatches)
    notes = annotate(learner, batch, config)
    credit = assign_credit(groups, batch, notes, config, {}, learner.team)
    result = Update(learner, batch, notes, credit, config).run()
    assert not result.nonfinite
    tensors = {"advantage": credit.advantage_K, "logp": result.logp_K}
    models = {"policy": policy.model, "critic": learner.critic}
    for name, module in models.items():
        for key, weight in module.named_parameters() if module is not None else ():
            tensors[f"{name}/{key}"] = weight.grad.contiguous()
    metrics = {k: v for k, v in result.metrics.items() if not k.startswith("time")}
    return metrics, tensors


def stay_in_float64(self: LlamaRMSNorm, hidden: torch.Tensor) -> torch.Tensor:
    """The library computes norms and eager softmax in float32 whatever the weights are; which rows
    share a forward then shows at 1e-8. Here only our own arithmetic is to be seen."""
    scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * hidden * scale


def main() -> None:
    LlamaRMSNorm.forward = stay_in_float64
    model, out = sys.argv[1], Path(sys.argv[2])
    accelerator = Accelerator(cpu=True)
    for name, recipe in CASES.items():
        metrics, tensors = run(accelerator, model, recipe)
        if accelerator.is_main_process:
            save_file(tensors, out / f"{name}.safetensors")
            metrics["num_processes"] = accelerator.num_processes
            (out / f"{name}.json").write_text(json.dumps(metrics))
    accelerator.end_training()


if __name__ == "__main__":
    main()
