"""The built wheel holds everything it needs and works in an empty folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's content, laid out as an installation; its dependencies are the test's own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed, folder, *arguments):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import grpo_core.cli as c; "
        "assert c.__file__.startswith(sys.path[0]), c.__file__; c.main()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code, str(installed), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_the_wheel_is_small_and_complete(installed):
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*")}
    assert "grpo_core/assets/tiny/model.safetensors" in names
    assert "grpo_core/assets/recipes/bundled.yaml" in names
    assert "grpo_core/assets/rewards/accuracy.py" in names
    assert "grpo_core/assets/studies/pair.json" in names
    assert "studio/theory/texts/pt/gradient.md" in names
    assert not [name for name in names if "node_modules" in name or name.startswith("tests")]
    size = sum(path.stat().st_size for path in installed.rglob("*") if path.is_file())
    assert size < 15_000_000


@pytest.mark.slow
def test_a_run_from_the_wheel_in_an_empty_folder(installed, tmp_path):
    short = ["num_steps=1", "evaluation.num_problems=10", "rollout.prompts_per_step=2"]
    settings = [part for value in short for part in ("--set", value)]
    done = run(installed, tmp_path, "train", "bundled", *settings)
    assert done.returncode == 0, done.stderr
    facts = json.loads(run(installed, tmp_path, "show", "bundled-1", "--json").stdout)
    assert facts["status"] == "completed"
    assert json.loads(run(installed, tmp_path, "check", "--json").stdout)[
        "bundled_model"
    ].startswith(str(installed))
