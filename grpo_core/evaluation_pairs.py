"""Two evaluations on the same problems: what the second gained and lost, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from grpo_core.evaluation_report import Answered
from grpo_core.evaluations import EvaluationSettings
from grpo_core.intervals import mcnemar, of_difference, of_mean_difference


@dataclass(frozen=True)
class Pair:
    """A problem that both were asked."""

    first: Answered
    second: Answered


@dataclass(frozen=True)
class Paired:
    """The problems that two evaluations share."""

    pairs: list[Pair]
    num_first: int
    num_second: int
    """Problems of each, shared or not."""

    @property
    def gained(self) -> list[Pair]:
        """Right in the second only (greedy)."""
        return [one for one in self.pairs if one.second.is_right and not one.first.is_right]

    @property
    def lost(self) -> list[Pair]:
        """Right in the first only (greedy)."""
        return [one for one in self.pairs if one.first.is_right and not one.second.is_right]

    @property
    def neither(self) -> list[Pair]:
        """Right in none of them (greedy)."""
        return [one for one in self.pairs if not one.first.is_right and not one.second.is_right]


def paired(first: Sequence[Answered], second: Sequence[Answered]) -> Paired:
    """The problems with the same question and reference answer, in the first one's order."""
    known = {problem.key: problem for problem in second}
    pairs = [Pair(problem, known[problem.key]) for problem in first if problem.key in known]
    return Paired(pairs, len(first), len(second))


def comparison(both: Paired) -> dict[str, Any]:
    """Counts, the difference of the greedy accuracies with its 95 % interval (Tango's), the exact
    p-value of McNemar's test, and the mean difference of the sampled ones."""
    num, gained, lost = len(both.pairs), len(both.gained), len(both.lost)
    return {
        "num": num,
        "num_first": both.num_first,
        "num_second": both.num_second,
        "both_right": sum(p.first.is_right and p.second.is_right for p in both.pairs),
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / num if num else None,
        "interval": list(of_difference(lost, gained, num)),
        "p_value": mcnemar(lost, gained),
        "sampled": _sampled(both.pairs),
    }


def _sampled(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """The difference of the shares of right samples, problem by problem; None without samples."""
    if not pairs or not all(one.first.sampled and one.second.sampled for one in pairs):
        return None
    differences = [_share(one.second) - _share(one.first) for one in pairs]
    return {"difference": fmean(differences), "interval": list(of_mean_difference(differences))}


def _share(problem: Answered) -> float:
    return problem.num_right / len(problem.sampled)


def said_p(value: float) -> str:
    """A p-value in words, with as many digits as mean something."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


ASKED_ALIKE = ("max_new_tokens", "samples", "temperature", "top_p")
PROMPTED_ALIKE = ("system_prompt", "prompt_template", "shots")


def differences(first: EvaluationSettings, second: EvaluationSettings) -> list[str]:
    """What beside the model is not the same, so that a difference may be owed to it."""
    found = [
        f"{key} ({getattr(first, key):g} and {getattr(second, key):g})"
        for key in ASKED_ALIKE
        if getattr(first, key) != getattr(second, key)
    ]
    mine, its = first.data.model_dump(), second.data.model_dump()
    if first.model.precision != second.model.precision:
        found.append(f"precision ({first.model.precision} and {second.model.precision})")
    return found + [key for key in PROMPTED_ALIKE if mine[key] != its[key]]
