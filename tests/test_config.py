"""Recipes: what is accepted, what is refused, and in which words."""

import pytest
import yaml

from grpo_core.assets import assets_dir
from grpo_core.config import ALGORITHMS, RunConfig
from grpo_core.recipe import (
    apply_overrides,
    change_live,
    live_keys,
    load_recipe,
    parse_config,
    to_yaml,
)

RECIPES = sorted((assets_dir() / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_survives_being_written(path, tmp_path):
    config = load_recipe(path)
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load_recipe(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"optim": {"learning_rte": 1}},
            "optim.learning_rte: unknown key; did you mean learning_rate",
        ),
        ({"bogus": 1}, "bogus: unknown key; known here: model, data"),
        ({"rewards": [{"bultin": "x"}]}, "rewards.0.bultin: unknown key; did you mean builtin"),
        (
            {"rollout": {"group_size": 1}},
            "rollout.group_size: input should be greater than or equal to 2",
        ),
        (
            {"algorithm": {"kl_coefficient": -1}},
            "algorithm.kl_coefficient: input should be greater",
        ),
        ({"algorithm": {"clip_low": -0.2}}, "algorithm.clip_low: input should be greater than 0"),
        ({"algorithm": {"name": "foo"}}, "algorithm.name: input should be 'as_written'"),
        ({"algorithm": {"kl_estimator": "k1"}}, "k1 in the loss has zero expected gradient"),
        ({"algorithm": {"name": "as_written", "kl_reference": "old"}}, "kl_reference: old"),
        (
            {"optim": {"learning_rate": float("nan")}},
            "optim.learning_rate: input should be a finite",
        ),
        ({"data": {"task": "file"}}, "path is needed with task: file"),
        ({"data": {"prompt_template": "hi"}}, "prompt_template must contain {question}"),
        ({"rewards": [{"weight": 1}]}, "give either builtin or path"),
        ({"rewards": []}, "rewards: List should have at least 1 item"),
        ([1, 2], "expected a mapping of sections"),
    ],
)
def test_what_is_wrong_is_named(recipe, message):
    with pytest.raises(ValueError) as caught:
        parse_config(recipe)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_fills_what_the_recipe_leaves_open():
    config = parse_config({"algorithm": {"name": "as_written", "kl_coefficient": 0.1}})
    assert config.algorithm.advantage == "mean" and config.algorithm.aggregation == "seq_sum"
    assert (config.algorithm.kl_place, config.algorithm.kl_estimator) == ("reward", "k1")
    overridden = parse_config({"algorithm": {"name": "as_written", "advantage": "loo"}})
    assert overridden.algorithm.advantage == "loo"
    assert RunConfig().algorithm.advantage == ALGORITHMS["deepseekmath"]["advantage"]


def test_overrides_reach_sections_and_list_items():
    values = {"optim": {"learning_rate": 1}, "rewards": [{"builtin": "accuracy"}]}
    got = apply_overrides(values, ["optim.learning_rate=1e-4", "rewards.0.weight=0.5", "seed=3"])
    config = parse_config(got)
    assert (config.optim.learning_rate, config.rewards[0].weight, config.seed) == (1e-4, 0.5, 3)
    assert values == {"optim": {"learning_rate": 1}, "rewards": [{"builtin": "accuracy"}]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nonsense", "write key.path=value"),
        ("rewards.7.weight=1", "expected a number below 1"),
        ("seed.deep=1", "seed"),
        ("optim.learning_rate={", "is not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(tmp_path, override, message):
    (tmp_path / "r.yaml").write_text("seed: 1\nrewards: [{builtin: accuracy}]\n")
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "r.yaml", [override])


@pytest.mark.parametrize("text", ["a: [", "\x00", "just words", "- 1\n- 2"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_paths_of_a_recipe_are_taken_from_its_folder(tmp_path):
    (tmp_path / "short.py").write_text("def short(completion): return 0\n")
    (tmp_path / "r.yaml").write_text("rewards: [{path: short.py}]\n")
    assert load_recipe(tmp_path / "r.yaml").rewards[0].path == str(tmp_path / "short.py")


def test_live_knobs_change_and_fixed_ones_do_not():
    config = change_live(RunConfig(), ["optim.learning_rate=1e-4", "num_steps=7"])
    assert (config.optim.learning_rate, config.num_steps) == (1e-4, 7)
    with pytest.raises(ValueError, match="seed: cannot be changed while the run goes on"):
        change_live(RunConfig(), ["seed=1"])
    with pytest.raises(ValueError, match="greater than 0"):
        change_live(RunConfig(), ["optim.learning_rate=-1"])
    assert "rollout.group_size" not in live_keys()


def test_every_knob_is_described():
    def check(section, prefix=""):
        for name, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                check(inner, f"{prefix}{name}.")
            elif f"{prefix}{name}" != "rewards":
                assert field.description and field.description.endswith("."), f"{prefix}{name}"

    check(RunConfig)
    assert yaml.safe_load(to_yaml(RunConfig()))["num_steps"] == 120
