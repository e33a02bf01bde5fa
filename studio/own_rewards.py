"""A person's own reward files: the folder `rewards` beside the folder of runs."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from grpo_core.runs import write_atomically
from studio import data

MAX_FILES = 200
MAX_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,59}\.py")


def folder() -> Path:
    """Where they are; it need not exist yet."""
    return data.runs_dir().parent / "rewards"


def names() -> list[str]:
    """Files that can be opened, by name."""
    try:
        found = [path.name for path in folder().glob("*.py") if path.is_file()]
    except OSError:
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))[:MAX_FILES]


def read(name: str) -> str:
    """The text of a file. Raises ValueError that says why it cannot be read."""
    path = folder() / _checked(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: is larger than {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8: {error.reason}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def digest(text: str) -> str:
    """Tells texts apart."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def save(name: str, text: str, known: str | None) -> str:
    """Keep `text` as `name` (`.py` is added); returns the file's name.

    `known` is the `digest` of what the file held when it was last opened or saved here. Raises
    ValueError, and writes nothing, where it holds something else by now.
    """
    name = _checked(name.strip().removesuffix(".py") + ".py")
    path = folder() / name
    if path.exists() and (there := read(name)) != text and digest(there) != known:
        raise ValueError(
            f"{path}: holds another text than the one you opened; save under another name, or "
            "open that file first"
        )
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, text)
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a character; take it out to save it") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
    return name


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        said = repr(name.removesuffix(".py")) if name != ".py" else "no name"
        raise ValueError(f"{said}: name the file with letters, digits, - and _, at most 60 of them")
    return name
