"""The Compare page in words: what lines and bands are, what to beware of, and the verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from studio import charts, compare
from studio.compare import Contrast, Figures, Recorded
from studio.run_groups import RunGroup, differences

# --- the lines -----------------------------------------------------------------------------------


def note(groups: list[RunGroup]) -> str:
    """What lines and bands are, for the numbers of seeds that there are."""
    sizes = {min(len(group.runs), 3) for group in groups}
    if sizes == {1}:
        return "Each line is one run; bands appear with two seeds or more."
    bands = {
        3: f"± {compare.STANDARD_ERRORS} standard errors",
        2: "from the lower to the higher of two seeds",
        1: "none for a single seed",
    }
    said = ", ".join(bands[size] for size in sorted(sizes, reverse=True))
    return f"Lines are means over seeds, drawn as far as all seeds have come. Bands: {said}."


def warnings(runs: list[Recorded]) -> list[str]:
    """What makes the picture say less than it seems to."""
    said = [
        f"These runs differ in {word}: the lines compare more than algorithms."
        for word in differences(runs)
    ]
    changed = ", ".join(run.name for run in runs if run.was_changed)
    if changed:
        said.append(f"Settings or rewards were changed while training: {changed}.")
    obstacle = time_obstacle(runs)
    return [*said, obstacle] if obstacle else said


def time_obstacle(runs: list[Recorded]) -> str:
    """Why times cannot be compared; empty where they can."""
    devices = sorted({run.device for run in runs})
    if len(devices) > 1:
        return f"These runs differ in device ({', '.join(devices)}): their times do not compare."
    together = ", ".join(compare.simultaneous(runs))
    if together:
        return f"Trained at the same time, so their times do not compare: {together}."
    return ""


def omissions(groups: list[RunGroup], empty: Sequence[str]) -> list[str]:
    """What is not in the picture, and what would make it one."""
    said = [f"Without a number yet: {', '.join(empty)}."] if empty else []
    said += [
        f"Left out, as another run of {group.label} has the same seed: {', '.join(group.repeats)}."
        for group in groups
        if group.repeats
    ]
    if len(groups) == 1 and len(groups[0].runs) == 1:
        said.append("One run alone: choose another, of another algorithm or with another seed.")
    elif len(groups) == 1:
        said.append("One algorithm alone: choose runs of a second one for a verdict.")
    elif len(groups) > 2:
        said.append("A verdict compares two: leave the runs of two algorithms only.")
    return said


def seeds(num: int) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{num} seed{'s' if num != 1 else ''}"


# --- the verdicts --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    label: str
    num: int


def verdicts(rows: list[tuple[RunGroup, Figures]]) -> list[dict[str, str]]:
    """By iteration, by time and by memory, where exactly two groups are chosen that compare."""
    runs = [run for group, _ in rows for run in group.runs]
    if len(rows) != 2 or differences(runs):
        return []
    (first, figures), (second, others) = rows
    sides = _Side(first.label, len(first.runs)), _Side(second.label, len(second.runs))
    found = []
    for title, axis in (("By iteration", "step"), ("By time", "time")):
        contrast = compare.contrast(first.runs, second.runs, axis)
        verdict, text = learning(contrast, sides, axis)
        obstacle = time_obstacle(runs) if axis == "time" else ""
        if obstacle:
            verdict, text = "Cannot tell", obstacle
        found.append({"title": title, "verdict": verdict, "text": text})
    verdict, text = memory((first.label, figures), (second.label, others))
    return [*found, {"title": "By memory", "verdict": verdict, "text": text}]


def learning(contrast: Contrast | None, sides: tuple[_Side, _Side], axis: str) -> tuple[str, str]:
    """Who learns faster, in a few words, and what they rest on."""
    if contrast is None:
        return "Nothing to compare yet", "Both need held-out accuracies over a common stretch."
    stretch = f"{contrast.low:,.0f} to {contrast.high:,.0f}"
    over = f"steps {stretch}" if axis == "step" else f"seconds {stretch} of training"
    points = f"{abs(100 * contrast.difference):.1f}"
    better = sides[0 if contrast.difference > 0 else 1].label
    if contrast.error is None:
        lone = [side.label for side in sides if side.num < 2]
        said = "One seed each" if len(lone) == 2 else f"One seed of {lone[0]}"
        return f"{said} cannot tell", (
            f"Over {over} the mean held-out accuracy of {better} was {points} points higher. "
            "Seeds alone differ, too: give both at least two, better five."
        )
    error = f"± {100 * contrast.error:.1f} points (difference ± its standard error; "
    error += f"{sides[0].num} and {sides[1].num} seeds)"
    few = min(side.num for side in sides) < 3
    caution = " Two seeds are few: the error itself is a rough guess." if few else ""
    mean = f"Over {over} the mean held-out accuracy of {better} was higher by {points} {error}"
    if contrast.is_distinct:
        return f"{better} learns faster", f"{mean}, more than two standard errors.{caution}"
    return "Not distinguishable", f"{mean}, less than two standard errors.{caution}"


def memory(first: tuple[str, Figures], second: tuple[str, Figures]) -> tuple[str, str]:
    """Who needs more memory, if it is more than seeds differ, and how much is the critic's."""
    own, other = first[1].memory_gb, second[1].memory_gb
    if own is None or other is None:
        return "Not measured", "One of them wrote down no memory."
    said = f"Peak of {first[0]} {charts.memory(own)}, of {second[0]} {charts.memory(other)}"
    errors = first[1].memory_error, second[1].memory_error
    if errors[0] is None or errors[1] is None:
        verdict, said = "One seed cannot tell", f"{said}; runs of one recipe differ, too."
    else:
        error = math.hypot(errors[0], errors[1])
        said += f" (means over seeds; difference {charts.memory(abs(own - other))}"
        said += f" ± {charts.memory(error)}, its standard error)."
        verdict = "Not distinguishable"
        if abs(own - other) > compare.DECIDES * error:
            more = first[0] if own > other else second[0]
            verdict = f"{more} needs {charts.memory(abs(own - other))} more"
    for label, figures in (first, second):
        if figures.critic_gb:
            said += (
                f" The critic of {label} holds {charts.memory(figures.critic_gb)}: weights, "
                "gradients and optimizer state."
            )
    return verdict, said
