"""The words of a card, from one Markdown file for each: `texts/KEY.md`, and `texts/pt/KEY.md` in
Portuguese, the language of the text whose questions are answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"
SECTIONS = (
    "Claim",
    "Formula",
    "Assumptions",
    "Limits",
    "In a real run",
    "Knobs",
    "Sources",
    "Derivation",
)
"""The headings of an English file, all of them, in this order."""
PORTUGUESE = ("Claim", "Derivation")
"""The headings of a Portuguese file; what stands under them is in Portuguese."""


@dataclass(frozen=True)
class Words:
    """A title, and Markdown by heading."""

    title: str
    sections: dict[str, str]

    def __getitem__(self, heading: str) -> str:
        return self.sections[heading]

    @property
    def knobs(self) -> list[str]:
        """Dotted paths of the settings that it is about: one a line under `Knobs`."""
        return [line.strip("- `") for line in self["Knobs"].splitlines() if line.strip()]


@cache
def words(key: str, language: str = "en") -> Words:
    """Read once. Raises OSError for a card without words and ValueError for missing headings."""
    path = TEXTS / f"{key}.md" if language == "en" else TEXTS / language / f"{key}.md"
    title, _, rest = path.read_text(encoding="utf-8").partition("\n")
    parts = rest.split("\n## ")[1:]
    sections = {name: body.strip() for name, _, body in (part.partition("\n") for part in parts)}
    expected = SECTIONS if language == "en" else PORTUGUESE
    if not title.startswith("# ") or tuple(sections) != expected or not all(sections.values()):
        raise ValueError(f"{path.name}: a title and the headings {expected}, none of them empty")
    return Words(title.removeprefix("# ").strip(), sections)
