"""What the metrics of the update and of the machine are; see `explanations.py`."""

from __future__ import annotations

from studio.explained import Explanation

TRAINING: dict[str, Explanation] = {
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
                "or several updates per rollout move it as well, and REINFORCE and CISPO weigh "
                "log-probabilities in place of ratios.",
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
