"""Agreement with TRL 1.16 to 1e-6 in float32: its own `GRPOTrainer`, whose loss is called on random
batches, and which is run for whole steps on the bundled model.

Where the two mean the same, `objective_of`, `AGGREGATIONS` and `ESTIMATORS` say which settings of
TRL are which of ours. Where they do not, a test below shows both numbers (`test_differs_...`):

    completions left out   TRL's means over completions (grpo, sapo, luspo) count those that are
                           masked as a whole; ours do not. token means and dr_grpo agree.
    a reward of None       TRL sets the advantage to 0 and keeps the completion in the loss: it
                           counts in the denominators and feels KL and entropy bonus. Ours is left
                           out. The baseline ignores it on both sides.
    one reward in a group  TRL's `scale_rewards="batch"` takes it into the standard deviation. We
                           leave such a group out altogether.
    equal rewards          TRL's mean, in float32, may be off by a rounding error, and that is
                           divided by little more than 1e-4. Our advantages are exactly 0.
    micro-batches          TRL's bnpo and every entropy bonus are means over the micro-batch, ours
                           over the step.
    several minibatches    TRL's dapo and cispo divide by the mean number of tokens of all
                           minibatches of a rollout, ours by the minibatch's own.
    entropy bonus          TRL's is a token mean whatever the loss; ours has the loss's weights.
    cispo                  TRL's `epsilon_high` is the cap itself, ours is the cap minus 1. Left
                           open, TRL's cap is `epsilon`, 0.2, which scales every token down.
    delta                  below 1 + epsilon_high, TRL's bounds positive advantages in place of
                           negative ones.
    KL                     TRL's default is use_bias_correction_kl, our `k3_is`; ours is `k3`. With
                           one ratio per completion TRL's takes that one, `k3_is` the token's.
    broken ratios          ours stop at e^20, without a gradient; TRL's overflow.
    clip fractions         TRL counts completions where the ratio is theirs, and for cispo positive
                           advantages only; ours are tokens.

TRL's vespo, off-policy mask and entropy quantile have no counterpart here. Plain importance
sampling, REINFORCE, k1, k2, the KL in the reward and the other advantages have none in its
`GRPOTrainer`.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from grpo_core import advantages
from grpo_core.assets import assets_dir
from grpo_core.forward import score_completions
from grpo_core.losses import Objective, importance, policy_loss, token_weights

# TRL names settings that transformers has renamed since
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}
MAX_LENGTH = 10
LENGTHS = (5, 1, 8, 3, 1, 7)

AGGREGATIONS = {
    "grpo": "seq_mean",
    "sapo": "seq_mean",
    "bnpo": "token_mean",
    "dapo": "token_mean",
    "cispo": "token_mean",
    "dr_grpo": "dr_grpo",
    "luspo": "seq_sum",
}
ESTIMATORS = {"group": "zscore", "batch": "batch_std", "none": "mean"}


def objective_of(args):
    """TRL's settings in our words."""
    clipping = args.loss_type if args.loss_type in ("cispo", "sapo") else "ppo"
    high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    return Objective(
        ratio_level=args.importance_sampling_level,
        clipping=clipping,
        clip_low=args.epsilon,
        clip_high=high - 1 if clipping == "cispo" else high,
        dual_clip=args.delta,
        sapo_positive=args.sapo_temperature_pos,
        sapo_negative=args.sapo_temperature_neg,
        kl_estimator="k3_is" if args.use_bias_correction_kl else "k3",
        kl_coefficient=args.beta,
        entropy_coefficient=args.entropy_coef,
    )


def config(**settings):
    defaults = {"use_cpu": True, "bf16": False, "max_completion_length": MAX_LENGTH}
    return GRPOConfig(**{**defaults, **settings})


@pytest.fixture(autouse=True, scope="module")
def only_here_on_the_cpu():
    """`use_cpu` is remembered by the whole process; tests that follow may want the GPU."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


# --- the loss, on both sides ----------------------------------------------------------------------


@dataclass
class Step:
    """Padded completions `(N, T)` and their advantages `(N,)`, float32."""

    logp: torch.Tensor
    old: torch.Tensor
    ref: torch.Tensor
    entropy: torch.Tensor
    mask: torch.Tensor
    advantage: torch.Tensor

    def __post_init__(self):
        self.logp.requires_grad_()
        self.entropy.requires_grad_()

    def gradients(self, loss):
        leaves = (self.logp, self.entropy)
        return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    def without(self, *rows):
        mask = self.mask.clone()
        mask[list(rows)] = 0
        return replace(self, mask=mask)


def mask_of(lengths):
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def random_step(seed, lengths=LENGTHS):
    """Off-policy, with other numbers in the padding, which must not matter."""
    generator = torch.Generator().manual_seed(seed)

    def normal(scale, *shape):
        return scale * torch.randn(shape, generator=generator)

    mask = mask_of(lengths)
    old = normal(0.5, *mask.shape) - 1
    logp, ref = old + normal(0.5, *mask.shape), old + normal(0.5, *mask.shape)
    entropy = normal(1, *mask.shape).abs()
    signs = torch.tensor([1.0, -1.0]).repeat(len(lengths))[: len(lengths)]
    return Step(logp, old, ref, entropy, mask, signs * normal(1, len(lengths)).abs())


def plain_step(lengths, advantages_N, log_ratio=0.0, logp=-1.0, kl=0.0, entropy=0.0):
    """The same number for all tokens: for sums by hand."""
    mask = mask_of(lengths)
    logps = torch.full(mask.shape, logp)
    return Step(
        logps,
        logps - log_ratio,
        logps + kl,
        torch.full(mask.shape, float(entropy)),
        mask,
        torch.tensor(advantages_N).float(),
    )


def our_loss(step, args, engine_ratio=None):
    keep, lengths_N = step.mask.bool(), step.mask.sum(1)
    sequence_K = torch.arange(len(keep)).repeat_interleave(lengths_N)
    aggregation = AGGREGATIONS[args.loss_type]
    weights_N = token_weights(lengths_N.float(), aggregation, args.max_completion_length)
    advantage_K = step.advantage[sequence_K]
    if engine_ratio is not None:
        advantage_K = advantage_K * engine_ratio[keep]
    return policy_loss(
        objective_of(args),
        step.logp[keep],
        step.old[keep],
        advantage_K,
        weights_N[sequence_K],
        sequence_K,
        ref_K=step.ref[keep],
        entropy_K=step.entropy[keep],
    )


def trl_loss(step, args, **more):
    """TRL's own code, on a trainer that has nothing but what the loss reads. `more` replaces its
    inputs."""
    trainer = SimpleNamespace(
        args=args,
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(
            num_processes=1,
            sync_gradients=True,
            gather=lambda values: values,
            reduce=lambda values, reduction: values,
        ),
        _get_per_token_logps_and_entropies=lambda *_, **__: (step.logp, step.entropy, None),
        _metrics={"train": defaultdict(list)},
        epsilon_low=args.epsilon,
        epsilon_high=args.epsilon if args.epsilon_high is None else args.epsilon_high,
        current_gradient_accumulation_steps=args.gradient_accumulation_steps,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=args.entropy_coef != 0,
        use_vllm="importance_sampling_ratio" in more,
        **{name: getattr(args, name) for name in COPIED},
    )
    inputs = {
        "prompt_ids": torch.zeros(len(step.mask), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(step.mask), 1, dtype=torch.long),
        "completion_ids": torch.zeros_like(step.mask),
        "completion_mask": step.mask,
        "advantages": step.advantage,
        "old_per_token_logps": step.old,
        "ref_per_token_logps": step.ref,
        "num_items_in_batch": step.mask.sum(),
    }
    loss = GRPOTrainer._compute_loss(trainer, None, {**inputs, **more})
    return SimpleNamespace(loss=loss, metrics=trainer._metrics["train"])


# what the trainer takes over from its configuration under the same name
COPIED = (
    "beta",
    "entropy_coef",
    "importance_sampling_level",
    "loss_type",
    "max_completion_length",
    "off_policy_mask_threshold",
    "top_entropy_quantile",
    "use_adaptive_entropy",
    "vllm_importance_sampling_correction",
)


def assert_agree(step, args):
    ours, theirs = our_loss(step, args).loss, trl_loss(step, args).loss
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    for own, their in zip(step.gradients(ours), step.gradients(theirs), strict=True):
        torch.testing.assert_close(own, their, **TOLERANCE)


def both(step, args):
    """Our number and TRL's."""
    return [our_loss(step, args).loss.item(), trl_loss(step, args).loss.item()]


# --- agreement of the loss ------------------------------------------------------------------------

# clips narrow enough to bite on both sides
LOSSES = {
    "grpo": {"loss_type": "grpo"},
    "clip_higher": {"loss_type": "grpo", "epsilon_high": 0.28},
    "delta": {"loss_type": "grpo", "delta": 1.5},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "luspo": {"loss_type": "luspo"},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.3},
    "sapo": {"loss_type": "sapo"},
    "sapo_temperatures": {
        "loss_type": "sapo",
        "sapo_temperature_pos": 0.7,
        "sapo_temperature_neg": 2.0,
    },
}
LEVELS = {
    "token": {"importance_sampling_level": "token"},
    "sequence": {"importance_sampling_level": "sequence"},
}
KLS = {
    "no_kl": {"beta": 0.0},
    "k3": {"beta": 0.3, "use_bias_correction_kl": False},
    "k3_is": {"beta": 0.3, "use_bias_correction_kl": True},
}
TOKEN_MEANS = [
    name for name, how in LOSSES.items() if AGGREGATIONS[how["loss_type"]] == "token_mean"
]


# not k3_is with one ratio per completion: see test_differs_in_the_ratio_before_the_kl
@pytest.mark.parametrize(
    ("level", "kl"),
    [(level, kl) for level in LEVELS for kl in KLS if (level, kl) != ("sequence", "k3_is")],
)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient(name, level, kl):
    args = config(**LOSSES[name], **LEVELS[level], **KLS[kl])
    for seed in range(3):
        assert_agree(random_step(seed), args)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_on_policy(name):
    """TRL leaves the old log-probs away then; ours are the detached new ones."""
    step, args = random_step(3), config(**LOSSES[name])
    step.old = step.logp.detach()
    theirs = trl_loss(step, args, old_per_token_logps=None).loss
    ours = our_loss(step, args).loss
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    torch.testing.assert_close(step.gradients(ours)[0], step.gradients(theirs)[0], **TOLERANCE)


def test_gspo():
    """With the narrow clip of the paper, and a policy that has moved by about as much."""
    how = {"loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4}
    args = config(**how, **LEVELS["sequence"])
    for seed in range(3):
        step = random_step(seed)
        step.old = step.logp.detach() + 1e-2 * (step.old - step.logp.detach())
        assert our_loss(step, args).num_clipped > 0
        assert_agree(step, args)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TOKEN_MEANS)
def test_entropy_bonus_of_token_means(name, level):
    args = config(**LOSSES[name], **LEVELS[level], **KLS["k3"], entropy_coef=0.2)
    step = random_step(4)
    assert_agree(step, args)
    assert step.gradients(our_loss(step, args).loss)[1].abs().max() > 1e-3


@pytest.mark.parametrize("name", ["grpo", "delta", "dapo"])
def test_clip_fractions_of_tokens(name):
    step, args = random_step(5), config(**LOSSES[name])
    ours, theirs = our_loss(step, args), trl_loss(step, args).metrics
    assert ours.num_high > 0 and ours.num_low > 0
    for number, metric in ((ours.num_high, "high_mean"), (ours.num_low, "low_mean")):
        assert number.item() / sum(LENGTHS) == pytest.approx(theirs[f"clip_ratio/{metric}"][0])


@pytest.mark.parametrize("name", LOSSES)
def test_correction_for_the_engine(name):
    """TRL multiplies the policy term by its truncated ratio, we the advantage; never the KL."""
    step, args = random_step(6), config(**LOSSES[name], beta=0.3)
    ratio = importance(step.old, step.ref, 1.1)
    assert ratio.max() == 1.1 and ratio.min() < 0.7
    theirs = trl_loss(step, args, importance_sampling_ratio=ratio).loss
    ours = our_loss(step, args, engine_ratio=ratio).loss
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    torch.testing.assert_close(step.gradients(ours)[0], step.gradients(theirs)[0], **TOLERANCE)


# --- TRL itself, training -------------------------------------------------------------------------


class Recorder(GRPOTrainer):
    """Keeps what TRL computes and beside it our log-probs of the same tokens."""

    def start(self):
        self.advantages, self.micro_batches = [], []
        self.train()
        return self

    def _generate_and_score_completions(self, inputs):
        found = super()._generate_and_score_completions(inputs)
        self.advantages += found["advantages"].tolist()
        return found

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        self.scored = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        return self.scored

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        logp, entropy, _ = (x if x is None else x.detach().clone() for x in self.scored)
        old = inputs.get("old_per_token_logps", logp.detach())
        step = Step(
            logp,
            old,
            inputs.get("ref_per_token_logps", old),
            entropy,
            inputs["completion_mask"],
            inputs["advantages"],
        )
        with torch.no_grad():
            own = score_completions(model, *unpadded(inputs), self.temperature)
        self.micro_batches.append(SimpleNamespace(step=step, loss=loss.item(), own=own))
        return loss


def unpadded(inputs):
    """Ids of the prompts and of the completions."""
    return [
        [
            row[mask.bool()].tolist()
            for row, mask in zip(inputs[f"{part}_ids"], inputs[f"{part}_mask"], strict=True)
        ]
        for part in ("prompt", "completion")
    ]


def run_trl(folder, parts_FPG, **settings):
    """TRL on the bundled model, whose rewards are given: a table for each reward function."""
    tokenizer = AutoTokenizer.from_pretrained(assets_dir() / "tiny")
    model = AutoModelForCausalLM.from_pretrained(assets_dir() / "tiny", dtype=torch.float32)
    prompts, group = len(parts_FPG[0]), len(parts_FPG[0][0])
    questions = [f"What is {7 * i} + {i + 3}?" for i in range(prompts)]
    args = config(
        output_dir=str(folder),
        **{
            "num_generations": group,
            "per_device_train_batch_size": prompts * group,
            "max_steps": 1,
            "report_to": "none",
            "logging_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
            **settings,
        },
    )
    return Recorder(
        model=model,
        reward_funcs=[constant(parts_PG) for parts_PG in parts_FPG],
        args=args,
        train_dataset=Dataset.from_dict(
            {"prompt": [[{"role": "user", "content": q}] for q in questions]}
        ),
        processing_class=tokenizer,
    ).start()


def constant(parts_PG):
    def reward(completions, **_):
        return [part for parts in parts_PG for part in parts]

    return reward


def joined(micro_batches):
    """The completions of several micro-batches as one step."""
    fields = ("logp", "old", "ref", "entropy", "mask", "advantage")
    return Step(
        *(torch.cat([getattr(m.step, name).detach() for m in micro_batches]) for name in fields)
    )


def random_rewards(seed, prompts=4, group=4):
    return np.random.default_rng(seed).normal(size=(prompts, group)).round(3).tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "dapo", **KLS["k3_is"]},
        {"loss_type": "grpo", **LEVELS["sequence"], "epsilon": 0.01},
        {"loss_type": "dr_grpo", **KLS["k3"]},
        {"loss_type": "cispo", "epsilon_high": 1.3},
        {"loss_type": "sapo"},
    ],
    ids=lambda settings: settings["loss_type"],
)
def test_the_loss_of_a_real_run(settings, tmp_path):
    """Two updates on one rollout, each in two micro-batches: ours is that of the whole step."""
    how = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    more = {"num_iterations": 2, "max_steps": 2, "learning_rate": 1e-3, "temperature": 0.8}
    run = run_trl(tmp_path, [random_rewards(0)], **how, **more, **settings)
    assert len(run.micro_batches) == 4
    for index in (0, 2):
        halves = run.micro_batches[index : index + 2]
        theirs = sum(half.loss for half in halves)
        step = joined(halves)
        assert len(set(step.mask.sum(1).tolist())) > 1
        assert our_loss(step, run.args).loss.item() == pytest.approx(theirs, abs=1e-6)
    moved = (step.logp - step.old).abs().max()
    assert moved > 0.1  # the second update is off-policy


def test_the_log_probabilities_and_entropies_of_a_real_run(tmp_path):
    """At a temperature; the padding is on the left there, on the right here, so they round on
    their own."""
    run = run_trl(tmp_path, [random_rewards(1)], temperature=0.8)
    micro_batch = run.micro_batches[0]
    keep = micro_batch.step.mask.bool()
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(micro_batch.own.logp_K, micro_batch.step.logp[keep], **close)
    torch.testing.assert_close(micro_batch.own.entropy_K, micro_batch.step.entropy[keep], **close)


# --- agreement of the advantages ------------------------------------------------------------------

# groups: any numbers, all equal, one without a reward, right or wrong
REWARDS = [
    [0.3, -1.2, 0.7, 2.5],
    [0.5, 0.5, 0.5, 0.5],
    [0.25, None, 1.5, -0.5],
    [1.0, 0.0, 0.0, 1.0],
]
# a second function: None alone, None beside a None, two left in a group, equal
OTHERS = [
    [None, 0.1, 0.4, -0.3],
    [2.0, 1.0, 4.0, 3.0],
    [0.2, None, 0.6, 0.9],
    [None, None, 0.3, 0.3],
]
WEIGHTS = [1.0, 0.3]


def assert_same_advantages(theirs, ours_PG):
    """Equal; and 0 in TRL where ours is None."""
    ours = [advantage for group in ours_PG for advantage in group]
    expected = [0.0 if advantage is None else advantage for advantage in ours]
    assert theirs == pytest.approx(expected, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("scale", ESTIMATORS)
def test_advantages(scale, tmp_path):
    run = run_trl(tmp_path, [REWARDS], scale_rewards=scale)
    ours = advantages.assign(REWARDS, ESTIMATORS[scale])
    assert ours[2][1] is None and ours[1] == [0.0] * 4
    assert_same_advantages(run.advantages, ours)


@pytest.mark.parametrize("scale", ESTIMATORS)
def test_advantages_of_a_weighted_sum(scale, tmp_path):
    """A function that says None adds nothing to the sum."""
    run = run_trl(tmp_path, [REWARDS, OTHERS], scale_rewards=scale, reward_weights=WEIGHTS)
    ours = advantages.assign(weighted_sums(), ESTIMATORS[scale])
    assert_same_advantages(run.advantages, ours)


def test_advantages_of_each_function_on_its_own(tmp_path):
    """A group with one reward counts here, as 0, on both sides."""
    parts = [[*REWARDS, [9.0, None, None, None]], [*OTHERS, [None] * 4]]
    run = run_trl(
        tmp_path,
        parts,
        multi_objective_aggregation="normalize_then_sum",
        reward_weights=WEIGHTS,
    )
    ours = advantages.normalize_then_sum(parts, WEIGHTS)
    assert ours[2][1] is None and ours[4] == pytest.approx([0, None, None, None], abs=1e-12)
    assert_same_advantages(run.advantages, ours)


def weighted_sums():
    return [
        [
            sum(w * part for w, part in zip(WEIGHTS, parts, strict=True) if part is not None)
            if parts != (None, None)
            else None
            for parts in zip(*groups, strict=True)
        ]
        for groups in zip(REWARDS, OTHERS, strict=True)
    ]


# --- differences of the loss: ours, then TRL's ----------------------------------------------------


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        # -2/2 / (1 completion | 2), -2 / (1 | 2); the others have no number of completions in them
        ("grpo", [-1.0, -0.5]),
        ("luspo", [-2.0, -1.0]),
        ("bnpo", [-1.0, -1.0]),
        ("dr_grpo", [-0.1, -0.1]),
    ],
)
def test_differs_in_counting_completions_that_are_masked(loss_type, expected):
    step = plain_step([2, 2], [1, 1]).without(1)
    assert both(step, config(loss_type=loss_type)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss_type", "expected"), [("grpo", [-1.0, -0.5]), ("bnpo", [-1.0, -0.5])]
)
def test_differs_in_keeping_completions_without_a_reward(loss_type, expected):
    """The second has none: an advantage of 0 there, no tokens in the loss here."""
    step, args = plain_step([2, 2], [1, 0]), config(loss_type=loss_type)
    ours, theirs = our_loss(step.without(1), args).loss, trl_loss(step, args).loss
    assert [ours.item(), theirs.item()] == pytest.approx(expected)
    # KL to a reference that is e times as likely: a slope of 1 - e per token
    args = config(loss_type=loss_type, beta=1.0, use_bias_correction_kl=False)
    step = plain_step([2, 2], [1, 0], kl=1.0)
    ours, theirs = our_loss(step.without(1), args).loss, trl_loss(step, args).loss
    assert step.gradients(ours)[0][1].tolist() == [0, 0]
    assert step.gradients(theirs)[0][1].tolist() == pytest.approx([(1 - math.e) / 4] * 2)


def test_differs_in_a_token_mean_over_micro_batches():
    """One token with an advantage of 1, then three with 0: -1/4 here, (-1 + 0) / 2 there."""
    parts = [plain_step([1], [1], entropy=4), plain_step([3], [0], entropy=0)]
    whole = plain_step([1, 3], [1, 0])
    args = config(loss_type="bnpo", gradient_accumulation_steps=2)
    assert our_loss(whole, args).loss.item() == -0.25
    assert sum(trl_loss(part, args).loss.item() for part in parts) == -0.5
    # the bonus too, though this loss has one denominator for the step: 4 nats/4 | (4 + 0)/2
    args = config(loss_type="dapo", gradient_accumulation_steps=2, entropy_coef=1.0)
    whole.entropy = torch.tensor([[4.0, 0, 0], [0, 0, 0]])
    assert our_loss(whole, args).loss.item() == -0.25 - 1
    four = torch.tensor(4)
    theirs = [trl_loss(part, args, num_items_in_batch=four).loss.item() for part in parts]
    assert sum(theirs) == -0.25 - 2


@pytest.mark.parametrize("loss_type", ["dapo", "cispo"])
def test_differs_in_the_denominator_of_minibatches(loss_type):
    """Two optimizer steps on a rollout of 1 + 3 tokens: TRL divides both by 2."""
    args = config(loss_type=loss_type, epsilon_high=4.0, steps_per_generation=2)
    for length, expected in ((1, [-1.0, -0.5]), (3, [-1.0, -1.5])):
        step = plain_step([length], [1.0], logp=1.0)
        theirs = trl_loss(step, args, num_items_in_batch=torch.tensor(4)).loss.item()
        assert [our_loss(step, args).loss.item(), theirs] == expected


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        # 3 nats for one token, 1 nat for each of three
        ("grpo", [-(3 + 1) / 2, -6 / 4]),
        ("luspo", [-6 / 2, -6 / 4]),
        ("dr_grpo", [-6 / 20, -6 / 4]),
        ("dapo", [-6 / 4, -6 / 4]),
    ],
)
def test_differs_in_the_weights_of_the_entropy_bonus(loss_type, expected):
    step = plain_step([1, 3], [0, 0])
    step.entropy = torch.tensor([[3.0, 9, 9], [1, 1, 1]])
    assert both(step, config(loss_type=loss_type, entropy_coef=1.0)) == pytest.approx(expected)


def test_differs_in_what_epsilon_high_means_for_cispo():
    """A ratio of 3 with advantage 1 and log pi = -1: the loss is the capped ratio."""
    step, args = plain_step([1], [1], log_ratio=math.log(3)), config
    capped = args(loss_type="cispo", epsilon_high=2.0)
    as_ours = replace(objective_of(capped), clip_high=2.0)
    assert both(step, capped) == pytest.approx([2.0, 2.0])
    assert one_token(step, as_ours) == pytest.approx(3.0)
    # on-policy with nothing said: a cap of 0.2 there, of 1.2 here
    step, silent = plain_step([1], [1]), args(loss_type="cispo")
    assert trl_loss(step, silent).loss.item() == pytest.approx(0.2)
    assert one_token(step, Objective(clipping="cispo")) == pytest.approx(1.0)


def one_token(step, objective):
    numbers = (step.logp[0], step.old[0], step.advantage, torch.ones(1), torch.zeros(1).long())
    return policy_loss(objective, *numbers).loss.item()


def test_differs_in_a_delta_below_the_clip():
    """A ratio of 1.5 and delta = 1.1. At advantage 1 it is clipped at 1.2 here, at delta there; at
    advantage -1 at delta here, at 1.2 there, as the minimum is taken after it."""
    args = config(loss_type="grpo", delta=1.1)
    up, down = (plain_step([1], [a], log_ratio=math.log(1.5)) for a in (1, -1))
    assert both(up, args) == pytest.approx([-1.2, -1.1])
    assert both(down, args) == pytest.approx([1.1, 1.2])


def test_differs_in_the_ratio_before_the_kl():
    """Token ratios 4 and 1, that of the completion 2; both k3 are e - 2."""
    step = plain_step([2], [0], kl=1.0)
    step.old = step.old - torch.tensor([[math.log(4), 0.0]])
    args = config(loss_type="grpo", beta=1.0, use_bias_correction_kl=True, **LEVELS["sequence"])
    k3 = math.e - 2
    assert both(step, args) == pytest.approx([(4 + 1) / 2 * k3, 2 * k3])
    token = config(loss_type="grpo", beta=1.0)  # it is TRL's default
    assert both(step, token) == pytest.approx([(4 + 1) / 2 * k3] * 2)


def test_differs_in_broken_ratios():
    args = config(loss_type="grpo")
    step = plain_step([1], [-1], log_ratio=25.0)
    ours, theirs = our_loss(step, args).loss, trl_loss(step, args).loss
    assert [ours.item(), theirs.item()] == pytest.approx([math.exp(20), math.exp(25)])
    assert step.gradients(ours)[0].item() == 0
    assert step.gradients(theirs)[0].item() == pytest.approx(math.exp(25))
    step = plain_step([1], [-1], log_ratio=100.0)
    assert both(step, args) == pytest.approx([math.exp(20), math.inf])


def test_differs_in_clip_fractions():
    """The completion of one token is beyond the clip, the one of three is not."""
    step = plain_step([1, 3], [1, 1])
    step.old = step.old - torch.tensor([[1.0], [0.0]])
    args = config(loss_type="grpo", **LEVELS["sequence"])
    assert our_loss(step, args).num_clipped / 4 == 0.25
    assert trl_loss(step, args).metrics["clip_ratio/high_mean"] == [0.5]
    # the cap of cispo also acts on a negative advantage
    step.advantage = -step.advantage
    args = config(loss_type="cispo", epsilon_high=2.0)
    assert our_loss(step, args).num_clipped == 1
    assert trl_loss(step, args).metrics["cispo_clip_ratio"] == [0.0]


# --- differences of the advantages ----------------------------------------------------------------


def test_differs_in_a_group_with_one_reward(tmp_path):
    """Its 9 has nothing to be compared with. Rewards 0, 2, 0, 2: deviation sqrt(4/3); with the 9:
    mean 2.6, squares 6.76 + .36 + 6.76 + .36 + 40.96 = 55.2 over 4, deviation sqrt(13.8)."""
    rewards = [[0.0, 2.0, 0.0, 2.0], [9.0, None, None, None]]
    run = run_trl(tmp_path, [rewards], scale_rewards="batch")
    ours, theirs = 1 / (math.sqrt(4 / 3) + 1e-4), 1 / (math.sqrt(13.8) + 1e-4)
    found = advantages.assign(rewards, "batch_std")
    assert found[0] == pytest.approx([-ours, ours, -ours, ours]) and found[1] == [None] * 4
    assert run.advantages == pytest.approx([-theirs, theirs, -theirs, theirs, 0, 0, 0, 0], abs=1e-6)


def test_differs_in_rounding_rewards_that_are_equal(tmp_path):
    """3 x 1000.1 / 3 is not 1000.1 in float32, and 6e-5 is not small beside 1e-4."""
    rewards = [[1000.1] * 3]
    run = run_trl(tmp_path, [rewards], scale_rewards="group")
    assert advantages.assign(rewards, "zscore") == [[0.0] * 3]
    assert [abs(a) for a in run.advantages] == pytest.approx([0.349] * 3, abs=1e-3)
