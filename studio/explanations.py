"""What each metric is, in one sentence, and honest answers to what people ask about it.

A text says only what holds for every recipe, or names the recipes it holds for.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Explanation:
    """Of one metric."""

    about: str
    questions: tuple[tuple[str, str], ...] = ()
    """Each with its answer."""
    form: str = "number"
    """How its numbers look (see `charts.number`)."""


PART = "reward/*/mean"
"""Stands for the mean of any reward function."""

_NOISE = (
    "Why is it so jagged?",
    "Each point is the mean over one step's completions, of other problems each time. Smooth it, "
    "and watch the held-out accuracy, which asks the same problems each time.",
)

EXPLANATIONS: dict[str, Explanation] = {
    "eval/accuracy": Explanation(
        "Share of the held-out problems that are answered correctly, one greedy completion each.",
        (
            (
                "How far can I trust a difference?",
                "Of N problems with accuracy p, one standard error is √(p(1−p)/N): with 400 "
                "problems at 80 % that is 2 points. The same problems are asked each time, so a "
                "difference between two steps is somewhat surer than that.",
            ),
            (
                "The reward rises, but this does not?",
                "Then the reward pays for something else than being right (length, format, a "
                "loophole), or the policy fits the training problems. Open the completions with "
                "the highest reward and read them.",
            ),
            (
                "Why is it not the sampled accuracy?",
                "That one is measured on training problems and at the sampling temperature; this "
                "one on problems never trained on, taking the likeliest token each time.",
            ),
        ),
        "percent",
    ),
    "train/accuracy": Explanation(
        "Share of the step's sampled completions whose answer is correct, whatever their reward.",
        (_NOISE,),
        "percent",
    ),
    "reward/mean": Explanation(
        "Mean reward of the step's completions that have one: the weighted sum of all functions.",
        (
            (
                "The reward rises, but held-out accuracy does not?",
                "The policy has found what the reward pays for, and it is not the answer. Look at "
                "the reward's parts and at the completions with the highest reward.",
            ),
            (
                "Why does it jump at a mark?",
                "From there on other reward code counts: rewards of different versions do not "
                "compare. Accuracy still does.",
            ),
            _NOISE,
        ),
    ),
    "reward/std": Explanation(
        "Standard deviation of the rewards inside a group, averaged over groups.",
        (
            (
                "It falls to 0: what now?",
                "Where all completions of a prompt earn the same, there is nothing to compare and "
                "so no policy gradient. The problems are too easy or too hard, or the policy no "
                "longer explores: see the entropy and the share of flat groups.",
            ),
        ),
    ),
    "reward/zero_variance_fraction": Explanation(
        "Share of groups whose rewards are all equal: they give no policy gradient.",
        (
            (
                "How much is normal?",
                "If a problem is solved with probability p, a group of G is flat with probability "
                "p^G + (1−p)^G: 66 % at p = 5 % and G = 8. It is high at the start of a hard task "
                "and at the end of an easy one. Larger groups or dynamic sampling help.",
            ),
        ),
        "percent",
    ),
    "reward/error_fraction": Explanation(
        "Share of completions for which a reward function failed, ran out of time or gave no "
        "number. They are left out of the step; a fault never counts as 0.",
        (
            (
                "It is not 0: where is the fault?",
                "The list of events names function, line and message; the Reward lab runs the "
                "function on these very completions.",
            ),
        ),
        "percent",
    ),
    PART: Explanation(
        "Mean of this reward function over the step's completions, before its weight.",
        (
            (
                "Why does the line stop or begin?",
                "The function was taken out of the reward, or put in, at that step.",
            ),
        ),
    ),
    "completion/length_mean": Explanation(
        "Mean number of tokens in a completion, its end token included.",
        (
            (
                "Why do the answers get longer and longer?",
                "Perhaps because thinking helps. But a mean over each completion's own tokens "
                "(DeepSeekMath) also punishes each token of a long wrong answer less, so that "
                "wrong answers grow for no good reason; Dr. GRPO's sum has no such bias.",
            ),
        ),
        "count",
    ),
    "completion/truncated_fraction": Explanation(
        "Share of completions that were cut off at the length limit before they ended.",
        (
            (
                "Why does that matter?",
                "A cut completion has rarely come to its answer, so it is judged wrong whatever "
                "it was about to say. Raise the limit, or reward brevity.",
            ),
        ),
        "percent",
    ),
    "train/kl": Explanation(
        "How far the policy has moved from where the run began: mean over the sampled tokens of "
        "log π_old − log π_initial, in nats.",
        (
            (
                "Why is it negative?",
                "A KL divergence is never negative, but this is an estimate of it from sampled "
                "tokens (k1). Each token's term may have either sign, and where the two policies "
                "are close the mean of a step may fall below 0. It is right on average.",
            ),
            (
                "Is this the KL in the loss?",
                "No. It is measured against the policy the run began with, in every recipe, also "
                "where no KL is trained on or where the reference moves.",
            ),
            (
                "How much is too much?",
                "There is no limit that holds everywhere. Look for a sudden rise, and whether "
                "accuracy still rises with it.",
            ),
        ),
    ),
    "train/loss": Explanation(
        "The policy loss that was minimised, its KL term included where the recipe has one.",
        (
            (
                "Why does it not fall?",
                "It is no measure of success. Each step has new samples with advantages of its "
                "own, centred within their groups, so the loss starts anew around the same "
                "value. Watch accuracy and reward.",
            ),
            (
                "Why is it about 0?",
                "With one update per rollout every ratio is exactly 1, and the loss is minus the "
                "weighted mean of the advantages. Advantages of a group add up to 0; with a mean "
                "over each completion first it is therefore 0 up to rounding at every step. Its "
                "gradient is not 0: the loss is flat in value, not in slope.",
            ),
            (
                "Why is it not exactly 0, then?",
                "With weights by length (a sum, or a mean over all tokens) long and short "
                "completions count differently. A KL term, an entropy bonus, no baseline, a critic "
                "or several updates per rollout move it as well.",
            ),
        ),
    ),
    "train/entropy": Explanation(
        "How undecided the policy is about the next token: mean entropy of its distribution over "
        "the sampled positions, in nats.",
        (
            (
                "It falls to 0: what now?",
                "The policy is sure of every token and no longer tries anything else; groups "
                "become flat and learning stops. A higher upper clip, a KL term, an entropy "
                "bonus, larger groups or a smaller learning rate slow this down. Resume from an "
                "earlier checkpoint: what is gone does not come back by itself.",
            ),
            (
                "Should it fall at all?",
                "Somewhat: learning what is right means being surer of it. Beside a rising "
                "accuracy a slow fall is normal.",
            ),
        ),
    ),
    "train/clip_fraction": Explanation(
        "Share of the tokens with a weight whose ratio was clipped so that they gave no gradient "
        "(or a capped one).",
        (
            (
                "It is 0: is that wrong?",
                "No. With one update per rollout the policy that is updated is the one that "
                "sampled, every ratio is 1, and nothing can be clipped. It rises with several "
                "mini-batches or passes over a rollout.",
            ),
            (
                "It is high: what now?",
                "The policy runs away from its samples within one step: fewer updates per rollout "
                "or a smaller learning rate.",
            ),
        ),
        "percent",
    ),
    "train/grad_norm": Explanation(
        "Length of the gradient before it is clipped, mean over the step's updates.",
        (
            (
                "It spikes: is that bad?",
                "Single spikes are cut to the recipe's limit. Spikes that come more and more "
                "often, with a falling reward, ask for a smaller learning rate.",
            ),
            (
                "It is 0?",
                "All groups were flat, so that no completion had an advantage.",
            ),
        ),
    ),
    "train/learning_rate": Explanation(
        "The learning rate of the step's updates, warm-up included.",
    ),
    "train/logprob_drift": Explanation(
        "Mean absolute difference, in nats, between what the sampling engine and the trainer say "
        "about the log-probability of the same sampled tokens under the same weights.",
        (
            (
                "Should it be 0?",
                "Nearly: only rounding differs. In bf16 some hundredths are common. A large or "
                "growing one means that what is trained is not what sampled; the run warns above "
                "the recipe's bound.",
            ),
        ),
    ),
    "rollout/importance_ratio_mean": Explanation(
        "Mean over tokens of π_old / π_engine, capped: how the trainer's view of the samples "
        "differs from the engine's.",
        (("What should it be?", "Close to 1. Far from it the two do not compute the same model."),),
    ),
    "rollout/resampled_groups": Explanation(
        "Dynamic sampling: how many flat groups of the step were replaced by new prompts.",
        (
            (
                "What does it cost?",
                "Every replaced group was sampled for nothing. And prompts that are rarely flat "
                "count for more than their share.",
            ),
        ),
        "count",
    ),
    "advantage/effective_samples": Explanation(
        "Prefix attention: how many of the other completions carry a token's baseline, on average.",
        (),
        "count",
    ),
    "critic/loss": Explanation(
        "Half of the squared error of the critic's values against the returns.",
        (
            (
                "Why does it not fall to 0?",
                "The returns depend on what is sampled later, which no critic can foresee, and "
                "they move on as the policy does. Watch the explained variance.",
            ),
        ),
    ),
    "critic/explained_variance": Explanation(
        "How much of the variance of the returns the critic foresees: 1 all of it, 0 no more than "
        "their mean would, below 0 less than that.",
        (
            (
                "It is negative: is that wrong?",
                "At the start it may well be: an untrained critic is worse than a constant. It "
                "should rise above 0 within some dozens of steps.",
            ),
        ),
    ),
    "critic/value_mean": Explanation("What the critic expects, mean over tokens."),
    "critic/clip_fraction": Explanation(
        "Share of tokens whose value the value clip held back.", (), "percent"
    ),
    "critic/memory_gb": Explanation(
        "Memory of the critic's weights and of its optimizer (GB): what the group baseline saves."
    ),
    "time/step_s": Explanation(
        "Seconds of the whole step: sampling, rewards, update; evaluations and checkpoints are "
        "not part of it."
    ),
    "time/rollout_s": Explanation("Seconds spent sampling completions."),
    "time/reward_s": Explanation("Seconds spent in reward functions."),
    "time/update_s": Explanation("Seconds spent scoring the samples and updating the weights."),
    "time/critic_s": Explanation("Seconds of the step that the critic took."),
    "perf/tokens_per_s": Explanation(
        "Sampled tokens divided by the time of the whole step.",
        (
            (
                "Why does it fall while training?",
                "Longer completions cost more for each token, and a few long ones keep the whole "
                "batch waiting. Other runs on the machine slow it down too.",
            ),
        ),
        "rate",
    ),
    "perf/memory_gb": Explanation(
        "Peak memory of the GPU so far, or what this process holds where there is none (GB)."
    ),
}


def explanation(name: str) -> Explanation | None:
    """Of a metric; None where nobody knows it."""
    found = EXPLANATIONS.get(name)
    return found or (EXPLANATIONS[PART] if re.fullmatch(r"reward/.+/mean", name) else None)


def payload() -> dict[str, dict[str, Any]]:
    """All of them, for the page."""
    return {name: asdict(one) for name, one in EXPLANATIONS.items()}
