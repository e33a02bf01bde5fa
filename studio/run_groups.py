"""Which runs belong together: those that differ only in their seed, and what a group is called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpo_core.config import RunConfig
from grpo_core.recipe import section_of
from studio.compare import Recorded

IGNORED = ("seed", "num_steps", "checkpoint", "store")
"""Settings that change no step: runs that differ only in these are one group."""
MAX_NAMED = 3
"""Differences that a label names."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of one recipe with different seeds."""

    label: str
    runs: tuple[Recorded, ...]
    """One a seed, by seed."""
    repeats: tuple[str, ...] = ()
    """Names of runs that repeat a seed of the group; they are no further evidence."""


def kind_of(config: RunConfig) -> dict[str, str]:
    """What two runs must share to be compared: in words, and as a text that is equal or not."""
    return {
        "model": config.model.path,
        "task": json.dumps(config.data.model_dump(mode="json")),
        "rewards": json.dumps([reward.model_dump(mode="json") for reward in config.rewards]),
        "number of held-out problems": str(config.evaluation.num_problems),
    }


def differences(runs: Iterable[Recorded]) -> list[str]:
    """In what the runs differ beside what is compared: `["model"]`, or nothing."""
    kinds = [kind_of(run.config) for run in runs]
    return [word for word in (kinds[0] if kinds else ()) if len({k[word] for k in kinds}) > 1]


def groups_of(runs: Iterable[Recorded]) -> list[RunGroup]:
    """The runs as groups, by label. Of two runs with one seed the one that went further counts."""
    members: dict[str, list[Recorded]] = {}
    for run in runs:
        members.setdefault(json.dumps(_identity(run.config), sort_keys=True), []).append(run)
    labels = _labels([group[0] for group in members.values()])
    found = []
    for label, group in zip(labels, members.values(), strict=True):
        by_seed: dict[int, Recorded] = {}
        for run in sorted(group, key=lambda run: run.last_step):
            by_seed[run.config.seed] = run
        kept = tuple(by_seed[seed] for seed in sorted(by_seed))
        repeats = tuple(sorted(run.name for run in group if run not in kept))
        found.append(RunGroup(label, kept, repeats))
    return sorted(found, key=lambda group: group.label)


def _identity(config: RunConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in IGNORED}


def _labels(runs: list[Recorded]) -> list[str]:
    """A name for each: its algorithm, and what sets it apart from others of that algorithm."""
    flat = [_flat(run.config) for run in runs]
    labels = []
    for own in flat:
        name = own["algorithm.name"]
        same = [other for other in flat if other["algorithm.name"] == name]
        known = dict.fromkeys(key for other in same for key in other)
        apart = [key for key in known if len({str(other.get(key)) for other in same}) > 1]
        keys = [key for key in apart if key in own and not _implied(own, key)]
        said = [f"{key.removeprefix('algorithm.')}={_word(own[key])}" for key in keys]
        more = [f"+{len(said) - MAX_NAMED} more"] if len(said) > MAX_NAMED else []
        labels.append(" · ".join([name, *said[:MAX_NAMED], *more]))
    taken = Counter(labels)
    pairs = zip(labels, runs, strict=True)
    return [f"{label} · {run.name}" if taken[label] > 1 else label for label, run in pairs]


def _flat(config: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section, value in _identity(config).items():
        inner = value if isinstance(value, dict) else {"": value}
        if value is not None:
            found |= {f"{section}.{key}".rstrip("."): item for key, item in inner.items()}
    return found


def _implied(flat: dict[str, Any], key: str) -> bool:
    """Whether a setting is what its section would have without saying it."""
    name, _, knob = key.partition(".")
    others = {k.partition(".")[2]: v for k, v in flat.items() if k.startswith(f"{name}.")}
    section = section_of(RunConfig.model_fields[name])
    if section is None:
        return False
    try:
        bare = section.model_validate({k: v for k, v in others.items() if k != knob})
    except ValueError:
        return False
    return bool(getattr(bare, knob) == flat[key])


def _word(value: Any) -> str:
    if isinstance(value, list):  # rewards
        return "+".join(str(one["function"] or one["builtin"] or one["path"]) for one in value)
    if isinstance(value, dict):  # a section inside a section
        return "{" + ", ".join(f"{key}: {_word(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)
