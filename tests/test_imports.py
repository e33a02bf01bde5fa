"""Who may import whom: light never imports heavy, the page never loads torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Modules without torch, in the order of the datum; each may import those named with it.
LIGHT = {
    "assets": set(),
    "sections": set(),
    "algorithms": set(),
    "compatibility": set(),
    "objective": set(),
    "algorithm_config": {"algorithms", "compatibility", "objective", "sections"},
    "data_config": {"sections"},
    "config": {"algorithm_config", "algorithms", "compatibility", "data_config", "sections"},
    "records": set(),
    "arithmetic": set(),
    "grading": set(),
    "advantages": set(),
    "traces": {"records"},
    "runs": set(),
    "recipe": {"algorithms", "config", "data_config", "sections"},
    "gold": {"grading"},
    "intervals": set(),
    "estimates": {"grading"},
    "data_files": set(),
    "data_splits": {"data_config", "data_files"},
    "prompts": {"data_config", "records"},
    "tasks": {
        *("arithmetic", "data_config", "data_files", "data_splits", "gold", "prompts", "records"),
    },
    "rewards": {"assets", "config"},
    "programs": set(),
    "sandbox_worker": set(),
    "sandbox_limits": set(),
    "sandbox_lock": set(),
    "sandbox_attacks": set(),
    "sandbox_program": {"sandbox_worker"},
    "sandbox_host": {"sandbox_limits", "sandbox_lock", "sandbox_program"},
    "sandbox_child": {"programs"},
    "sandbox_programs": {"programs", "sandbox_child"},
    "sandbox_process": {"programs", "records", "sandbox_child", "sandbox_programs"},
    "sandbox_calls": {"sandbox_process"},
    "sandbox": {"sandbox_calls", "sandbox_child", "sandbox_process"},
    "verdict": {"grading"},
    "judge": {"grading", "records", "sandbox", "sandbox_process", "verdict"},
    "recorded": {"data_config", "gold", "intervals", "judge", "tasks"},
    "sandbox_probe": {"sandbox", "sandbox_process"},
    "sandbox_seatbelt": set(),
    "scorer": {"records", "rewards", "sandbox", "sandbox_process"},
    "reward_advice": {"advantages", "records", "rewards"},
    "reward_gold": {"records", "reward_advice"},
    "reward_test": {
        *(
            "judge",
            "reader",
            "records",
            "reward_advice",
            "reward_gold",
            "rewards",
            "sandbox_probe",
            "scorer",
        ),
    },
    "shaping": {"advantages", "config", "records"},
    "terms": {"objective"},
    "what_if": {"advantages", "config", "records", "shaping"},
    "trl_settings": {"algorithm_config", "config"},
    "trl_script": {"config", "records", "rewards", "trl_settings"},
    "model_card": {"config", "intervals", "reader", "recipe", "rewards", "runs"},
    "history": {"config", "reader", "recipe"},
    "store": {"records", "traces"},
    "reader": {"records", "traces"},
    "group_reader": {"advantages", "reader"},
    "follow": {"reader"},
    "evaluations": {"config", "runs", "sections"},
    "evaluation_data": {"config", "data_config", "recipe", "records", "tasks"},
    "evaluation_store": {"group_reader", "judge", "records", "store"},
    "evaluation_report": {"estimates", "evaluation_store", "evaluations", "intervals"},
    "evaluation_files": {"evaluation_report", "evaluation_store"},
    "evaluation_pairs": {"evaluation_report", "evaluations", "intervals"},
    # it looks at all places from which a resume takes rewards: database, recipe, folder, inbox
    "trust": {"reader", "recipe", "rewards", "runs", "sandbox_probe"},
}
HEAVY = {"torch", "transformers", "accelerate", "datasets", "pyarrow", "peft"}


def imports(path: Path, everywhere: bool = False) -> set[str]:
    """Modules imported at module level; `everywhere` also inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("grpo_core.")}


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_only_what_it_may(module):
    names = imports(ROOT / "grpo_core" / f"{module}.py")
    assert not {name.split(".")[0] for name in names} & HEAVY
    assert own(names) - {""} <= LIGHT[module] | {module}


@pytest.mark.parametrize("module", ["losses", "advantages", "head", "optim"])
def test_losses_and_advantages_take_numbers_not_the_config(module):
    assert own(imports(ROOT / "grpo_core" / f"{module}.py", everywhere=True)) <= {"objective"}


def test_the_engine_knows_token_ids_only():
    for path in (ROOT / "grpo_core" / "engine").glob("*.py"):
        assert own(imports(path, everywhere=True)) <= {"engine", "head", "records"}, path.name


def test_mathematics_of_a_model_is_worked_out_by_reward_code_alone():
    """SymPy may take for ever on it, or all memory: only a worker with a deadline may."""
    for path in [*(ROOT / "grpo_core").rglob("*.py"), *(ROOT / "studio").rglob("*.py")]:
        if path.name != "symbolic.py":
            names = imports(path, everywhere=True)
            assert not {name.split(".")[0] for name in names} & {"sympy", "math_verify"}, path
            assert "symbolic" not in own(names), path


def test_the_studio_imports_only_the_light_side():
    for path in (ROOT / "studio").rglob("*.py"):
        names = imports(path, everywhere=True)
        assert not {name.split(".")[0] for name in names} & HEAVY, path
        assert own(names) <= set(LIGHT), path


def test_experiments_know_numpy_and_the_advantages_alone():
    """They run in the page's process at every move of a slider, and elsewhere without a page."""
    allowed = {"numpy", "plotly", "yaml", "studio", "grpo_core", *sys.stdlib_module_names}
    for path in (ROOT / "studio" / "theory").rglob("*.py"):
        names = imports(path, everywhere=True)
        assert {name.split(".")[0] for name in names} <= allowed, path.name
        files = {"runs", "__version__"} if path.name == "race_study.py" else set()
        assert own(names) - {""} <= {"advantages", "objective", "terms", *files}, path.name
        others = {name for name in names if name.startswith("studio.")}
        assert all(
            name.startswith(("studio.theory", "studio.theme", "studio.digits")) for name in others
        ), path.name


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout.strip()


def test_the_command_line_and_the_page_load_no_torch():
    heavy = sorted(HEAVY - {"pyarrow"})  # streamlit itself knows pyarrow
    code = (
        "import sys, grpo_core.cli, grpo_core.rewards, grpo_core.tasks, grpo_core.store\n"
        "import studio.app\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert run(code) == "[]"


def test_light_modules_load_in_a_fraction_of_a_second():
    """A generous bound that a stray `import torch` (seconds) would break."""
    code = (
        "import time; t = time.perf_counter()\n"
        "import grpo_core.config, grpo_core.recipe, grpo_core.store, grpo_core.runs\n"
        "print(time.perf_counter() - t)"
    )
    assert min(float(run(code)) for _ in range(2)) < 2.0
