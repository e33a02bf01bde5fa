"""Where the files that ship with the product are."""

from __future__ import annotations

from pathlib import Path


def assets_dir() -> Path:
    """The folder `assets`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    packed = package / "assets"
    folder = packed if packed.is_dir() else package.parent / "assets"
    assert folder.is_dir(), f"the installation is incomplete: {folder} is missing"
    return folder
