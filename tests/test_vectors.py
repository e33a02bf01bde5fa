"""Every case of the published test vectors, in float64, at 1e-10.

The cases are padded, the product is flat: `Case` is the adapter. `GRPO_VECTORS` may name another
file of the same form.
"""

import json
import math
import os
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch

from grpo_core import advantages, critic, losses

FILE = Path(os.environ.get("GRPO_VECTORS", Path(__file__).parent / "data" / "vectors.json"))
CASES = json.loads(FILE.read_text(encoding="utf-8"))["cases"]
ATOL = 1e-10


class Case:
    """A case's inputs as flat float64 tensors over the tokens that its mask keeps."""

    def __init__(self, given: dict) -> None:
        self.given = given
        self.keep = torch.tensor(given["mask"]).bool()
        self.lengths = self.keep.sum(1)
        self.sequence = torch.arange(len(self.keep)).repeat_interleave(self.lengths)

    def flat(self, name: str) -> torch.Tensor:
        values = torch.tensor(self.given[name], dtype=torch.float64)
        return values[self.keep] if values.dim() > 1 else values[self.sequence]

    def leaf(self, name: str) -> torch.Tensor:
        return self.flat(name).requires_grad_()

    def weights(self) -> torch.Tensor:
        lengths = self.lengths.double()
        max_length = self.given.get("Lmax")
        return losses.token_weights(lengths, self.given["agg"], max_length)[self.sequence]

    def padded(self, values_K: torch.Tensor) -> list:
        """Back in the shape of the case, masked positions 0."""
        shape = (*self.keep.shape, *values_K.shape[1:])
        return torch.zeros(shape, dtype=torch.float64).masked_scatter(
            self.keep.reshape(*self.keep.shape, *[1] * (values_K.dim() - 1)), values_K
        )


# variant of a case -> the settings of an Objective that say the same
VARIANTS = {
    "ppo": {},
    "is": {"clipping": "none"},
    "reinforce": {"ratio_level": "none", "clipping": "none"},
    "cispo": {"clipping": "cispo"},
    "gspo": {"ratio_level": "sequence"},
    "sapo": {"clipping": "sapo"},
}


def objective(given: dict) -> losses.Objective:
    low = given["eps_low"]
    high = given["cap"] - 1 if given["cap"] else given["eps_high"] or low
    how = VARIANTS[given["variant"]]
    return losses.Objective(clip_low=low, clip_high=high, dual_clip=given["dual"], **how)


def check_advantages(given, expected):
    """Through `assign`, as the trainer does, except where a case has its own delta or ddof."""
    kind, arrays = given["kind"], [np.array(group) for group in given["R"]]
    how = {"delta": given["delta"], "ddof": given["ddof"]}
    is_standard = how == {"delta": advantages.DELTA, "ddof": 1}
    if is_standard or (kind != "zscore" and kind not in advantages.PER_BATCH):
        found = advantages.assign(given["R"], kind, given.get("lens"))
    elif kind in advantages.PER_BATCH:
        found = advantages.PER_BATCH[kind](arrays, **how)
    else:
        with np.errstate(invalid="ignore"):  # 0 / 0 in a flat group; `assign` never gets there
            found = [advantages.zscore(R, R, **how) for R in arrays]
    if kind in advantages.COMPARES:
        flat = [advantages.is_flat(list(R)) for R in arrays]
        found = [np.zeros(len(A)) if f else A for f, A in zip(flat, found, strict=True)]
    close(found, expected["A"])


def check_advantages_table(given, expected):
    for key, values in expected.items():
        kind, *how = key.split("_")
        if how:
            assert how == ["ddof1", "delta1e6"]
            close(
                [advantages.zscore(np.array(R), np.array(R), 1e-6, 1) for R in given["R"]], values
            )
        else:
            close(advantages.assign(given["R"], kind), values)


def check_kl_in_reward(given, expected):
    case = Case(given)
    sums = case.padded(case.flat("old") - case.flat("ref")).sum(1)
    found = advantages.penalise_kl([given["R"]], [sums.tolist()], given["beta"])
    close(found[0], expected["R2"])


def check_gae(given, expected):
    case = Case(given)
    found = critic.gae(
        case.flat("rew"), case.flat("val"), case.lengths.tolist(), given["gamma"], given["lam"]
    )
    close(case.padded(found[0]), expected["A"])
    close(case.padded(found[1]), expected["returns"])


def check_policy_loss(given, expected):
    case, logp = Case(given), Case(given).leaf("logp")
    parts = losses.policy_loss(
        objective(given), logp, case.flat("old"), case.flat("A"), case.weights(), case.sequence
    )
    parts.loss.backward()
    close(parts.loss, expected["loss"])
    close(case.padded(logp.grad), expected["grad"])
    num = max(len(logp), 1)
    found = {"clip_high": int(parts.num_high) / num, "clip_low": int(parts.num_low) / num}
    assert found.keys() == expected["metrics"].keys()
    for name, value in expected["metrics"].items():
        close(found[name], value)


def check_microbatch(given, expected):
    case = Case(given)
    cut = int(case.lengths[: given["split"]].sum())
    arguments = [case.flat("logp"), case.flat("old"), case.flat("A"), case.weights(), case.sequence]

    def loss(part):
        return losses.policy_loss(losses.Objective(), *(x[part] for x in arguments)).loss

    close(loss(slice(None)), expected["full"])
    halves = [loss(slice(0, cut)), loss(slice(cut, None))]
    close(sum(halves), expected["global_denominator_sum"])
    # what a mean over micro-batches would give, from their own denominators
    counts = [cut, len(case.sequence) - cut]
    means = [half * len(case.sequence) / n for half, n in zip(halves, counts, strict=True)]
    close(sum(means) / 2, expected["wrong_mean_of_means"])


def check_kl_loss(given, expected):
    case, logp = Case(given), Case(given).leaf("logp")
    estimator = losses.KL_ESTIMATORS[given["kind"]]
    loss = (estimator(logp, case.flat("ref"), case.flat("old")) * case.weights()).sum()
    loss.backward()
    close(loss, expected["loss"])
    close(case.padded(logp.grad), expected["grad"])


def check_entropy(given, expected):
    logits = torch.tensor(given["logits"], dtype=torch.float64, requires_grad=True)
    found = losses.entropy(logits)
    found.sum().backward()
    close(found, expected["H"])
    close(logits.grad, expected["grad_logits"])


def check_full_objective(given, expected):
    case = Case(given)
    logits = torch.tensor(given["logits"], dtype=torch.float64, requires_grad=True)
    logits_KV, tokens_K = logits[case.keep], torch.tensor(given["tokens"])[case.keep]
    logp = logits_KV.log_softmax(-1).gather(-1, tokens_K[:, None])[:, 0]
    how = losses.Objective(
        clip_low=given["eps"],
        clip_high=given["eps"],
        kl_coefficient=given["beta"],
        entropy_coefficient=given["alpha"],
    )
    parts = losses.policy_loss(
        how,
        logp,
        case.flat("old"),
        case.flat("A"),
        case.weights(),
        case.sequence,
        ref_K=case.flat("ref"),
        entropy_K=losses.entropy(logits_KV),
    )
    parts.loss.backward()
    close(parts.loss, expected["loss"])
    close(logits.grad, expected["grad_logits"])


def check_prefix_attention(given, expected):
    rewards, similarity = np.array(given["R"]), np.array(given["sim"])
    baseline, _ = advantages.prefix_baseline(rewards, similarity, given["tau"])
    close(baseline.T, expected["baseline"])
    close(rewards[:, None] - baseline.T, expected["A"])
    is_loo = np.allclose(rewards - baseline[0], advantages.assign([given["R"]], "loo")[0])
    assert is_loo == expected["first_column_is_loo"]


def check_exact_bandit(given, expected):
    """No product function: this checks the oracle of `test_unbiased.py`."""
    from exact import Bandit

    bandit = Bandit(given["logits"], given["r"], given["ref_logits"])
    for name, value in expected.items():
        if isinstance(value, dict):
            for group, number in value.items():
                close(getattr(bandit, name)(int(group)), number)
        elif name == "boltzmann_beta0_3":
            close(bandit.boltzmann(0.3), value)
        else:
            close(getattr(bandit, name), value)


def check_zscore_weight(given, expected):
    """No product function: w_G(p) as a finite sum against its table."""
    for G in given["G"]:
        for p in given["p"]:
            terms = (
                comb(G, k) * p ** (k - 1) * (1 - p) ** (G - k - 1) * math.sqrt(k * (G - k))
                for k in range(1, G)
            )
            close(sum(terms) / G, expected["w_pop"][f"{G},{p}"])
            close(p**G + (1 - p) ** G, expected["p_zero_variance"][f"{G},{p}"])


CHECKS = {
    name.removeprefix("check_"): check for name, check in globals().items() if "check_" in name
}


def close(found, expected):
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else np.array(found, float)
    expected = np.array(expected, float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0.0) <= ATOL, (found, expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case):
    CHECKS[case["kind"]](case["inputs"], case["outputs"])


def test_there_are_cases_of_every_kind():
    assert {case["kind"] for case in CASES} == set(CHECKS)
