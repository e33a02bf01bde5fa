"""What the editor marks before anything runs."""

from __future__ import annotations

import pytest

from studio.lint import marks


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(completion):\n    return 1.0\n", []),
        ("def f(completion):\n    return (\n", [(2, "error", "'(' was never closed")]),
        ("def f(completion):\n    return len(complete)\n", [(2, "error", "undefined name")]),
        ("import re\ndef f(completion):\n    return 1.0\n", [(1, "warning", "'re' imported but")]),
        (
            "def f(completion):\n    x = 1\n    return x\ndef f(completion):\n    return 2\n",
            [(4, "warning", "redefinition of unused 'f'")],
        ),
        (
            "def f(completion, anwser, level):\n    return 1.0\n",
            [(1, "error", "nothing is passed for anwser: there are prompt, completion, answer")],
        ),
        ("def f(completion, *, other):\n    return 1.0\n", [(1, "error", "for other")]),
        ("def f(completion, other=1, *, more=2, **row):\n    return 1.0\n", []),
        ("def f(completions, prompts, level, trainer_state):\n    return [1.0]\n", []),
        ("def f(completions, prompt):\n    return [1.0]\n", [(1, "error", "for prompt")]),
        ("def f(completion, completions):\n    return 1\n", [(1, "error", "a whole group")]),
        ("def helper(whatever):\n    return 1\n\n\ndef _f(completion, x):\n    return 1\n", []),
        ("def f(completion):\n    return '{} {}'.format(1)\n", [(2, "error", "missing argument")]),
        ("async def f(completion):\n    return 1\n", [(1, "warning", "only a plain def")]),
        ("x = = 1", [(1, "error", "invalid syntax")]),
        ("", []),
    ],
)
def test_marks(text: str, found: list[tuple[int, str, str]]) -> None:
    got = marks(text, ["level"])
    assert [(one["line"], one["severity"]) for one in got] == [one[:2] for one in found]
    assert all(says in one["message"] for one, (_, _, says) in zip(got, found, strict=True))


def test_without_data_parameters_are_not_judged() -> None:
    assert marks("def f(completion, anything):\n    return 1.0\n", None) == []


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000,
        "not " * 200_000 + "1",
        "-" * 3000 + "1",
        "a" + ".a" * 20_000,
        "[" * 90 + "]" * 90,
        "\0",
        "\ud800",
    ],
)
def test_hostile_texts_are_marked_or_fine(text: str) -> None:
    found = marks(text, None)
    assert len(found) <= 1 and all(one["message"] for one in found)


def test_the_text_is_not_executed(tmp_path) -> None:
    target = tmp_path / "executed"
    marks(f"open({str(target)!r}, 'w')\n@open({str(target)!r}, 'w')\ndef f(completion): 1", None)
    assert not target.exists()
