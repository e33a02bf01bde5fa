"""What the metrics of rewards, answers and completions are; see `explanations.py`."""

from __future__ import annotations

from studio.explained import PART, Explanation

_NOISE = (
    "Why is it so jagged?",
    "Each point is the mean over one step's completions, of other problems each time. Smooth it, "
    "and watch the held-out accuracy, which asks the same problems each time.",
)

OUTCOME: dict[str, Explanation] = {
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
}
