"""What a run has stored, as far as the theory speaks of it, and what a comparison with it is.

Shape letters: M groups, G completions of a group that have a reward.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from studio.theory.card import Row
from studio.theory.plots import Palette
from studio.theory.sampled import Verdict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SEED = 20
"""Of every bootstrap: the same run gives the same numbers."""
LARGE = 1e12
"""Stored numbers beyond it are damage; the fourth powers of smaller ones are still finite."""
FEW_GROUPS = 20
"""With fewer groups no law is judged: their deviation is known too badly."""


@dataclass(frozen=True, eq=False)
class StoredGroup:
    """A group as it was stored, its completions in the order in which they were sampled. Those
    without a reward are left out; all arrays are `(G,)`."""

    step: int
    problem: str
    R_G: Floats
    right_G: Floats
    """1 where the task's grader says so."""
    length_G: Floats
    """Tokens."""
    advantage_G: Floats
    """As the trainer stored it (where it is one number a token, their mean); NaN for none."""

    @property
    def size(self) -> int:
        return len(self.R_G)


@dataclass(frozen=True)
class StepPush:
    """What a step's stored tokens say of its push on the entropy; see `in_run_entropy.push_of`."""

    step: int
    natural: float
    """Covariance of log-probability and advantage."""
    num_tokens: int


@dataclass(frozen=True, eq=False)
class Stored:
    """What was read of a run."""

    groups: list[StoredGroup]
    estimator: str = "mean"
    """`algorithm.advantage` of the recipe."""
    is_shaped: bool = False
    """Whether the advantages are of more than the stored rewards: a KL or a penalty is taken off,
    or each reward is normalised on its own."""
    is_filtered: bool = False
    """Whether groups with equal rewards were replaced, and are not stored."""
    pushes: list[StepPush] = field(default_factory=list)
    entropy: dict[int, float] = field(default_factory=dict)
    """`train/entropy` by step (nats a token)."""
    learning_rate: dict[int, float] = field(default_factory=dict)
    num_odd: int = 0
    """Completions that were left out because a stored number of theirs is none, or not finite."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """One claim of the theory beside a run's own numbers."""

    key: str
    title: str
    says: str
    """What the theory says (Markdown)."""
    shows: str
    """What this run shows (Markdown)."""
    verdict: Verdict
    apart: str
    """Where theory and run part, and the usual reasons (Markdown)."""
    rows: tuple[Row, ...] = ()
    """`exact` is what the theory predicts from the run's own moments, `found` what is seen."""
    draw: Callable[[Palette], go.Figure] | None = None
    """None where there is nothing to draw."""


VAGUE = 0.25
"""A band that is wider, on one side, than this share of what it is about confirms nothing."""
NO_GROUPS = "Fewer than two groups have two completions with a reward."


def undecided(sentence: str, rule: str) -> Verdict:
    """The verdict where the run cannot tell."""
    return Verdict("open", sentence, rule)


def told(value: float, digits: int = 3) -> str:
    """A number inside dollars: significant digits, a real minus, powers of ten written out."""
    if not math.isfinite(value):
        return "\\infty" if value > 0 else "−\\infty" if value < 0 else "—"
    size = abs(value)
    if size and not 1e-4 <= size < 1e5:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}\\cdot10^{{{int(power)}}}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
    return f"{value:.{places}f}".replace("-", "−")


def percent(share: float) -> str:
    """One digit behind the point, as text."""
    return f"{100 * share:.1f} %".replace("-", "−")


# --- tables of groups ----------------------------------------------------------------------------


def usual_size(groups: Sequence[StoredGroup]) -> int:
    """The commonest number of rewarded completions of a group, the largest of equally common ones;
    0 of none."""
    counts = Counter(group.size for group in groups)
    return max(counts, key=lambda size: (counts[size], size), default=0)


def of_usual_size(groups: Sequence[StoredGroup]) -> tuple[list[StoredGroup], int]:
    """Those groups that have at least the usual number of rewards, and that number; of larger ones
    the first that many completions count."""
    size = usual_size(groups)
    return [group for group in groups if group.size >= size > 0], size


def table(groups: Sequence[StoredGroup], name: str, size: int) -> Floats:
    """One field of groups that have `size` completions or more, `(M, size)`."""
    rows = [getattr(group, name)[:size] for group in groups]
    return np.array(rows, dtype=float).reshape(len(rows), size)


# --- right or wrong ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Successes:
    """Which completions of each group are right."""

    hits: list[Floats]
    """1 or 0 for each completion of a group, in sampling order."""
    step_M: Ints
    problems: list[str]
    by_rewards: bool
    """Whether these are the rewards themselves, which take two values; else what the task's grader
    says of each completion."""

    @property
    def right_M(self) -> Ints:
        """Right ones of each group."""
        return np.array([int(one.sum()) for one in self.hits], dtype=np.int64)

    @property
    def size_M(self) -> Ints:
        """Completions of each group."""
        return np.array([len(one) for one in self.hits], dtype=np.int64)

    @property
    def whose(self) -> str:
        """What right is here, in words."""
        if self.by_rewards:
            return "Rewards take two values here; right is the higher one."
        return "Rewards take more than two values here; right is what the task's grader says."


def successes_of(groups: Sequence[StoredGroup]) -> Successes:
    """Right ones by reward where all rewards are one of two values, else by correctness."""
    values = sorted({value for group in groups for value in group.R_G.tolist()})
    high = 1.0 if set(values) <= {0.0, 1.0} else values[-1] if len(values) == 2 else None
    return Successes(
        [
            (group.right_G > 0.5 if high is None else high <= group.R_G).astype(float)
            for group in groups
        ],
        np.array([group.step for group in groups], dtype=np.int64),
        [group.problem for group in groups],
        high is not None,
    )
