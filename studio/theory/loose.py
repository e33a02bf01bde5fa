"""What is often said loosely of GRPO: each statement with its correction and the number that shows
it, from `texts/loose.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from studio.theory.listed import CARDS, entries
from studio.theory.words import TEXTS

VERDICTS = ("wrong", "loose", "missing", "unsupported", "contradictory")
HERE = "worked out here"
"""The text of the one source that has no address."""


@dataclass(frozen=True)
class Source:
    """Where a correction can be checked."""

    text: str
    url: str | None
    """None for what is worked out here."""


@dataclass(frozen=True)
class Loose:
    """One statement. All texts but the verdict are Markdown with formulas."""

    said: str
    """As texts on GRPO make it."""
    said_pt: str
    """The same in Portuguese."""
    verdict: str
    """One of `VERDICTS`."""
    right: str
    card: str | None
    """Key of the experiment that shows it; None where there is none."""
    seen: str
    """The number that shows it."""
    sources: tuple[Source, ...]
    no_experiment: str | None = None
    """Why no experiment can show it, or not all of it."""


@cache
def items() -> tuple[Loose, ...]:
    """All statements, read once. Raises what `read` raises."""
    return read(TEXTS / "loose.yaml")


def read(path: Path) -> tuple[Loose, ...]:
    """The statements in a file. Raises OSError, and ValueError (with the file's name and the item's
    number) for one that is malformed."""
    texts = dict.fromkeys(("said", "said_pt", "verdict", "right", "seen"), str)
    needed = {**texts, "sources": list}
    optional = {"card": str, "no_experiment": str}
    return tuple(_item(place, entry) for place, entry in entries(path, needed, optional))


def _item(place: str, entry: dict[str, Any]) -> Loose:
    sources = tuple(_source(place, each) for each in entry.pop("sources"))
    item = Loose(**{"card": None, **entry}, sources=sources)
    if item.verdict not in VERDICTS:
        raise ValueError(f"{place}: verdict {item.verdict!r} is none of {', '.join(VERDICTS)}")
    if item.card is not None and item.card not in CARDS:
        raise ValueError(f"{place}: there is no experiment {item.card!r}")
    if item.card is None and item.no_experiment is None:
        raise ValueError(f"{place}: neither an experiment nor the reason why there is none")
    return item


def _source(place: str, entry: Any) -> Source:
    if not isinstance(entry, dict) or entry.keys() != {"text", "url"} or not entry["text"]:
        raise ValueError(f"{place}: a source has a text and a url")
    text, url = str(entry["text"]).strip(), entry["url"]
    if not str(url).startswith("https://") and (text, url) != (HERE, None):
        raise ValueError(f"{place}: the url {url!r} of {text!r} is no https address")
    return Source(text, url)
