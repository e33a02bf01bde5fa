"""Texts that come as a list in one YAML file: every entry has the fields it must have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from studio.theory.words import TEXTS

CARDS = frozenset(path.stem for path in TEXTS.glob("*.md"))
"""Keys of all experiments: each has a file of words. Not from the deck, which draws figures."""


def entries(
    path: Path, needed: Mapping[str, type], optional: Mapping[str, type]
) -> list[tuple[str, dict[str, Any]]]:
    """Each entry with the words that name its place. Texts lose the space around them.

    Raises OSError for a missing file and ValueError, with the file and the number of the entry, for
    one that lacks a field, has another, or holds the wrong type or an empty value.
    """
    try:
        listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(listed, list):
        raise ValueError(f"{path.name}: not a list")
    placed = [(f"{path.name}, item {number}", entry) for number, entry in enumerate(listed, 1)]
    return [(place, _checked(place, entry, needed, optional)) for place, entry in placed]


def _checked(
    place: str, entry: Any, needed: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: not a mapping")
    if missing := sorted(needed.keys() - entry.keys()):
        raise ValueError(f"{place}: lacks {', '.join(missing)}")
    if unknown := sorted(map(str, entry.keys() - needed.keys() - optional.keys())):
        raise ValueError(f"{place}: unknown {', '.join(unknown)}")
    kinds = {**needed, **optional}
    found = {name: v.strip() if isinstance(v, str) else v for name, v in entry.items()}
    for name, value in found.items():
        if value is None and name in optional:
            continue
        if not isinstance(value, kinds[name]) or not value:
            raise ValueError(f"{place}: {name} is empty or no {kinds[name].__name__}")
    return found
