"""Does the weight of a token make wrong answers longer?

Shape letters: T steps, U runs, B random problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from studio.theory import length_race, length_weights
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.length_race import STEP_SIZE, Table, start_K
from studio.theory.length_weights import AGGREGATIONS, BASELINES, STILL, Problems
from studio.theory.sampled import FAR, HALF_WIDTH, Estimate, Verdict, mean_of
from studio.theory.toy import Floats, problem

SIZES = (2, 4, 8, 16, 32)
RUNS, GROUPS, NUM_PROBLEMS = 300, 20_000, 300
SHIFT = 0.005
"""A change of the share of long answers below it is none."""
UNBIASED = ("seq_sum", "loo")


@dataclass(frozen=True)
class KnobsOfLength(Knobs):
    """The settings of the experiment."""

    aggregation: str = one_of(
        "seq_mean",
        AGGREGATIONS,
        "Aggregation",
        help="Weight of a token. seq_mean: 1 / (G |o|). seq_sum: 1 / G. token_mean: 1 / all tokens "
        "of the group. dr_grpo: 1 / (G times the longest length).",
    )
    baseline: str = one_of(
        "loo",
        BASELINES,
        "Baseline",
        help="What is taken off the reward. loo: mean of the others. mean: of all. opo: mean "
        "weighted by length. opo_loo: the same of the others.",
    )
    group_size: int = one_of(8, SIZES, "Group size G")
    long: int = number(
        3,
        2,
        10,
        "Length of the long answer",
        step=1,
        help="The short one is 1, the right between. Only in *Long wrong answers*.",
    )
    share: float = number(
        0.5,
        0.1,
        0.9,
        "Share of long wrong answers at first",
        step=0.1,
        help="Of the wrong ones. Only in the figure *Long wrong answers*.",
    )


@dataclass(frozen=True)
class Exact:
    """What is worked out."""

    path_T: Floats
    """Share of the long among the wrong answers, where every update is the expected one."""
    unbiased_T: Floats
    """The same for a sum over tokens and leave-one-out."""
    push: float
    """What the first expected update adds to the log-odds of long against short."""
    off: float
    """Of the expected update on the toy of 40 completions: across the gradient over along it."""
    cosine: float

    @property
    def shift(self) -> float:
        """Of the last share, against the unbiased update."""
        return float(self.path_T[-1] - self.unbiased_T[-1])


@dataclass(frozen=True)
class Paths:
    """Share of the long among the wrong answers over sampled runs, at each step."""

    mean_T: Floats
    se_T: Floats
    num: int

    @classmethod
    def of(cls, path_UT: Floats) -> Paths:
        num = len(path_UT)
        return cls(path_UT.mean(0), path_UT.std(0, ddof=1) / math.sqrt(num), num)

    @property
    def end(self) -> Estimate:
        """After the last step."""
        return Estimate(float(self.mean_T[-1]), float(self.se_T[-1]), self.num)


@dataclass(frozen=True)
class Found:
    """What was sampled."""

    path: Paths
    unbiased: Paths
    push: Estimate
    wrong_B: Floats
    """Change of the mean length of wrong answers, on random problems, for an update of length 1,
    against the gradient's own. Each is exact; the problems are the sample."""
    right_B: Floats

    @property
    def shift(self) -> Estimate:
        """Of the last share, against the unbiased update: two independent means."""
        ours, other = self.path.end, self.unbiased.end
        return Estimate(ours.value - other.value, math.hypot(ours.se, other.se), ours.num)

    @property
    def longer(self) -> Estimate:
        """Share of problems whose wrong answers become longer."""
        return mean_of((self.wrong_B > STILL).astype(float))

    @property
    def shorter(self) -> Estimate:
        """Share of problems whose right answers become shorter."""
        return mean_of((self.right_B < -STILL).astype(float))


def _tables(knobs: KnobsOfLength) -> tuple[Table, Table, Floats, float]:
    """The setting's, the unbiased one's, the first logits, and the setting's step size."""
    given, unbiased = (
        length_race.table(*names, knobs.group_size, knobs.long)
        for names in ((knobs.aggregation, knobs.baseline), UNBIASED)
    )
    logits_K = start_K(knobs.share)
    return given, unbiased, logits_K, STEP_SIZE * length_race.equalise(given, unbiased, logits_K)


def exact(knobs: KnobsOfLength) -> Exact:
    """The path of expected updates, and their direction on the toy."""
    given, unbiased, logits_K, step = _tables(knobs)
    push = step * float(length_race.push(length_race.mean_update(given, logits_K)))
    off, cosine = off_gradient(knobs.aggregation, knobs.baseline, knobs.group_size)
    return Exact(
        length_race.expected_path(given, logits_K, step),
        length_race.expected_path(unbiased, logits_K, STEP_SIZE),
        push,
        off,
        cosine,
    )


def one_problem() -> Problems:
    """The toy whose direction is shown: 40 completions of 1 to 3 tokens, 54 % right."""
    model, _, R_N = problem("binary", 3, eos=0)
    logits_CV = np.random.default_rng(0).normal(0, 0.5, (model.C, model.V))
    return Problems(logits_CV[None], R_N[None])


@lru_cache(maxsize=64)
def off_gradient(aggregation: str, baseline: str, size: int) -> tuple[float, float]:
    """Across over along, and the cosine, of the expected update on that toy; exact."""
    given = one_problem()
    update_BP = length_weights.expected_update(given, aggregation, baseline, size)
    found = length_weights.direction(update_BP, length_weights.gradient(given))
    return float(found.off_B[0]), float(found.cosine_B[0])


def estimate(knobs: KnobsOfLength, seed: int) -> Found:
    """Runs with sampled groups, and random problems."""
    given, unbiased, logits_K, step = _tables(knobs)
    rng = np.random.default_rng([seed, 12])
    runs = [
        Paths.of(length_race.sampled_paths(each, logits_K, size, RUNS, rng))
        for each, size in ((given, step), (unbiased, STEP_SIZE))
    ]
    pushes = step * length_race.sampled_pushes(given, logits_K, GROUPS, rng)
    changes = _changes(knobs.aggregation, knobs.baseline, knobs.group_size, seed)
    return Found(runs[0], runs[1], mean_of(pushes), *changes)


@lru_cache(maxsize=16)
def _changes(aggregation: str, baseline: str, size: int, seed: int) -> tuple[Floats, Floats]:
    """Of the mean length of wrong and of right answers, on random problems."""
    given = length_weights.random_problems(seed * NUM_PROBLEMS, NUM_PROBLEMS)
    update_BP = length_weights.expected_update(given, aggregation, baseline, size)
    gradient_BP = length_weights.gradient(given)
    wrong, right = (
        length_weights.lengthening(update_BP, given, kind)
        - length_weights.lengthening(gradient_BP, given, kind)
        for kind in (False, True)
    )
    return wrong, right


def verdict(knobs: KnobsOfLength, exact: Exact, found: Found) -> Verdict:
    """Whether sampled runs shift the share of long wrong answers as the expected updates do."""
    predicted = 0 if abs(exact.shift) < SHIFT else int(np.sign(exact.shift))
    away = abs(found.shift.z(0.0)) >= FAR
    seen = int(np.sign(found.shift.value)) if away else 0
    kind: Literal["holds", "fails", "open"] = "fails"
    if seen == predicted:
        kind = "holds"
    elif seen == 0:
        kind = "open"
    return Verdict(kind, _sentence(exact, found, kind == "open"), RULE, _claim(knobs, predicted))


RULE = (
    f"Holds where {RUNS} sampled runs shift the last share the way that the expected updates do, "
    f"by {FAR:g} standard errors or more, or stay within {FAR:g} where these shift it by less than "
    f"{SHIFT:g}. No verdict where a predicted shift is within {FAR:g}. Else it does not hold. ± is "
    "half of the 95 % interval."
)


def _claim(knobs: KnobsOfLength, predicted: int) -> str:
    given = f"`{knobs.aggregation}` and the baseline `{knobs.baseline}`"
    if predicted:
        what = "more" if predicted > 0 else "less"
        return (
            f"With {given} long wrong answers end up {what} frequent than with the unbiased update."
        )
    return f"With {given} wrong answers become no longer than with the unbiased update."


def _sentence(exact: Exact, found: Found, is_open: bool) -> str:
    half = HALF_WIDTH * found.shift.se
    last, other = (f"{path_T[-1]:.2f}" for path_T in (exact.path_T, exact.unbiased_T))
    ends = f"{last}, as" if last == other else f"{last} instead of {other}"
    text = (
        f"By expected updates the share of long ones among the wrong answers, "
        f"{exact.path_T[0]:.2f} at first, ends at {ends} with the unbiased update: "
        f"a shift of {_signed(exact.shift)}. Sampled runs shift it by "
        f"{_signed(found.shift.value)} ± {half:.3f}."
    )
    if is_open:
        text += f" That is too little for {RUNS} runs to tell it from chance."
    if found.longer.value == found.shorter.value == 0:
        return f"{text} On random problems no length changes other than $\\nabla V$ has it."
    return (
        f"{text} On {100 * found.longer.value:.0f} % of random problems wrong answers are pushed "
        f"to be longer than the gradient of $V$ would have them "
        f"({_signed(found.wrong_B.mean())} tokens on average), on "
        f"{100 * found.shorter.value:.0f} % right ones to be shorter "
        f"({_signed(found.right_B.mean())})."
    )


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return "0" if float(text) == 0 else text.replace("-", "−")
