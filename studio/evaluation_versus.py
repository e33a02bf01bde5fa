"""Two evaluations side by side: what the comparison says in sentences, and the problems that only
one of them solves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpo_core.evaluation_pairs import Pair, Paired, comparison, differences, said_p
from grpo_core.evaluation_report import Answered
from studio import widgets
from studio.evaluation_view import Known, label, problems_of

MAX_PAIRS = 200
"""Problems of one list that the page is given; it says how many there are."""


def comparable(one: Known, known: Sequence[Known]) -> list[Known]:
    """Other evaluations of the same task; first those of the same problems, asked most alike, and
    of them first the one of the same run as it began."""

    def rank(other: Known) -> tuple[bool, int, bool, bool]:
        mine, its = one.settings, other.settings
        is_same = its.run is not None and (its.run, its.began) == (mine.run, mine.began)
        unlike = len(differences(mine, its))
        return (its.problems != mine.problems, unlike, not (is_same and its.step == 0), not is_same)

    alike = [k for k in known if k is not one and k.settings.data.task == one.settings.data.task]
    return sorted(alike, key=rank)


def titles(first: Known, second: Known) -> tuple[str, str]:
    """What the two are called: their models, or their own names where both asked the same one."""
    labels = label(first.settings), label(second.settings)
    if labels[0] != labels[1]:
        return labels
    return first.evaluation.name, second.evaluation.name


def verdict(first: Known, second: Known, both: Paired) -> list[str]:
    """What the comparison says, in sentences."""
    said = comparison(both)
    if not said["num"]:
        return ["They have no problem in common, so they cannot be compared."]
    low, high = (100 * bound for bound in said["interval"])
    one, other = titles(first, second)
    sentences = [
        f"On the {said['num']:,} problems that both were asked, {other} solves "
        f"{said['gained']:,} that {one} does not, and loses {said['lost']:,}: "
        f"{_signed(100 * said['difference'])} points greedily (95 %: {_signed(low)} to "
        f"{_signed(high)}). {_sure(said)}"
    ]
    if said["sampled"] is not None:
        low, high = (100 * bound for bound in said["sampled"]["interval"])
        sentences.append(
            f"The share of their samples that is right differs by "
            f"{_signed(100 * said['sampled']['difference'])} points (95 %: {_signed(low)} to "
            f"{_signed(high)})."
        )
    if said["num"] < max(said["num_first"], said["num_second"]):
        sentences.append(
            f"They were not asked the same: {said['num_first']:,} and {said['num_second']:,} "
            "problems."
        )
    if unlike := differences(first.settings, second.settings):
        sentences.append(
            "Beside the model, this differs too, and the difference may be owed to it: "
            f"{', '.join(unlike)}."
        )
    return sentences


def _sure(said: dict[str, Any]) -> str:
    """McNemar's test in words."""
    size = said_p(said["p_value"])
    if said["p_value"] < 0.05:
        return f"That is more than chance explains (McNemar's exact test, {size})."
    return f"It may be chance: too few problems changed to tell (McNemar's exact test, {size})."


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def pairs(first: Known, second: Known, both: Paired) -> dict[str, Any]:
    """For the component: names, labels and the lists of problems."""
    places = [_places(problems_of(one.evaluation)) for one in (first, second)]
    labels = titles(first, second)
    lists = [
        ("Gained", both.gained, f"{labels[1]} solves none that the other does not."),
        ("Lost", both.lost, f"{labels[1]} solves all that the other does."),
        ("Neither solves", both.neither, "One of them solves each problem."),
    ]
    return {
        "names": [one.evaluation.name for one in (first, second)],
        "labels": list(labels),
        "lists": [
            {
                "label": title,
                "empty": empty,
                "num": len(found),
                "rows": [_pair(pair, places) for pair in found[:MAX_PAIRS]],
            }
            for title, found, empty in lists
        ],
    }


def _places(problems: Sequence[Answered]) -> dict[int, int]:
    """Where each problem stands in its batch, from 1, by group."""
    counts: dict[int, int] = {}
    places = {}
    for problem in problems:
        counts[problem.batch] = counts.get(problem.batch, 0) + 1
        places[problem.group_id] = counts[problem.batch]
    return places


def _pair(pair: Pair, places: Sequence[dict[int, int]]) -> dict[str, Any]:
    sides = (pair.first, pair.second)
    return {
        "question": widgets.cut(pair.first.question),
        "gold": widgets.cut(pair.first.gold)[:200],
        "groups": [side.group_id for side in sides],
        "batches": [side.batch for side in sides],
        "places": [places[i][side.group_id] for i, side in enumerate(sides)],
        "right": [side.is_right for side in sides],
        "answers": [
            {"extracted": side.greedy["extracted"], "rule": side.greedy["rule"]} for side in sides
        ],
    }
