"""The README tells the truth about the tree and the commands."""

import re
from pathlib import Path

import pytest

from grpo_core import cli, cli_look, cli_rewards

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = [p.name for p in (ROOT / "grpo_core").glob("*.py") if p.name != "__init__.py"]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_stands_in_the_tree_with_a_comment(name):
    assert re.search(rf"^  {re.escape(name)} +\S", README, re.MULTILINE)


def test_the_tree_names_no_file_that_is_not_there():
    tree = README.split("## The tree")[1]
    for name in re.findall(r"^  (\w+\.py) ", tree, re.MULTILINE):
        assert any((ROOT / folder / name).is_file() for folder in ("grpo_core", "studio")), name


def test_every_command_is_mentioned():
    apps = (cli.app, cli_look.app, cli_rewards.app)
    commands = [command for app in apps for command in app.registered_commands]
    names = [command.name or command.callback.__name__ for command in commands]
    assert len(names) >= 14
    for name in names:
        assert re.search(rf"\b{re.escape(name.rstrip('_'))}\b", README), name


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
