"""The carriers of one step, in the order in which their fields are filled. Data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Finish = Literal["stop", "length"]
Outcome = Literal["ok", "abstain", "error", "timeout", "crash", "nonfinite", "badtype"]


@dataclass
class Problem:
    """One question of a data set."""

    id: str
    question: str
    """What the user turn says, before the prompt template."""
    answer: str
    """The reference answer as a short string, as the grader compares it."""
    row: dict[str, Any] = field(default_factory=dict)
    """All columns of the data set's row; reward functions may ask for any of them by name."""
    examples: tuple[tuple[str, str], ...] = ()
    """Worked examples that stand before the question: `(question, solution)`; all problems of a
    task share them."""


@dataclass
class TokenPass:
    """What one more pass of the update used, one entry a token; NaN where it did not look, because
    the token had no gradient or the update was broken off."""

    logp: list[float] = field(default_factory=list)
    old: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)


@dataclass
class TokenTrace:
    """Numbers of one completion, one entry a token, exactly those that the update used."""

    pieces: list[str] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    """log-probability under the policy at the first forward of the update (nats)."""
    old: list[float] = field(default_factory=list)
    """that of the policy that sampled, as the first pass used it."""
    ref: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    """share of the step's loss: mask and denominator in one number."""
    later: list[TokenPass] = field(default_factory=list)
    """The passes after the first, where a rollout is gone over more than once."""


@dataclass
class Rollout:
    """One sampled completion."""

    # filled by generate.sample
    ids: list[int]
    """Completion token ids, the end-of-sequence token included when it was sampled."""
    rollout_logp: list[float]
    """log-probability of each token as the engine saw it (nats, temperature applied)."""
    text: str
    finish: Finish
    # filled by rewards.score
    outcome: Outcome | None = None
    reward: float | None = None
    """The weighted sum; None when the completion is left out of baseline and loss."""
    parts: dict[str, float | None] = field(default_factory=dict)
    error: str = ""
    error_line: int | None = None
    """Line of the reward file, where it is known."""
    printed: str = ""
    reward_s: float = 0.0
    """Seconds that its reward took."""
    correct: bool = False
    """What the task's grader says, whatever the reward says."""
    # filled by advantages.assign
    advantage: float | None = None
    # filled by the update, for the groups that keep their tokens
    trace: TokenTrace | None = None


@dataclass
class Group:
    """A prompt with its `group_size` completions."""

    problem: Problem
    prompt: str
    """The rendered prompt, chat template included."""
    prompt_ids: list[int]
    rollouts: list[Rollout] = field(default_factory=list)


@dataclass
class EvalResult:
    """Greedy accuracy on held-out problems."""

    step: int
    num_problems: int
    num_correct: int
    length_mean: float
    truncated_fraction: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of problems answered correctly, 0..1."""
        return self.num_correct / self.num_problems


@dataclass
class Event:
    """Something a person should be able to find later."""

    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class StepStats:
    """What one step leaves behind beside its groups."""

    step: int
    num_tokens: int
    reward_version: str
    metrics: dict[str, float]
    events: list[Event] = field(default_factory=list)
