"""Recipes: what is accepted, what is refused, and in which words."""

import pytest
import yaml

from grpo_core.algorithms import ALGORITHMS
from grpo_core.assets import assets_dir
from grpo_core.config import RunConfig
from grpo_core.recipe import (
    apply_overrides,
    change_live,
    live_keys,
    load_recipe,
    parse_config,
    section_of,
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
            "rollout.group_size: 1 leaves algorithm.advantage: zscore nothing to compare",
        ),
        ({"rollout": {"group_size": 0}}, "rollout.group_size: input should be greater than"),
        (
            {"algorithm": {"kl_coefficient": -1}},
            "algorithm.kl_coefficient: input should be greater",
        ),
        ({"algorithm": {"clip_low": -0.2}}, "algorithm.clip_low: input should be greater than 0"),
        ({"algorithm": {"name": ["dapo"]}}, "algorithm.name: Input should be 'as_written'"),
        ({"algorithm": {"name": "foo"}}, "algorithm.name: input should be 'as_written'"),
        ({"algorithm": {"kl_estimator": "k1"}}, "k1 in the loss has zero expected gradient"),
        ({"algorithm": {"name": "as_written", "kl_reference": "old"}}, "kl_reference: old"),
        ({"algorithm": {"name": "as_written", "kl_estimator": "k3"}}, "takes kl_estimator: k1"),
        ({"algorithm": {"name": "gspo", "clipping": "sapo"}}, "use ratio_level: token"),
        ({"algorithm": {"name": "gspo", "advantage": "gae"}}, "one advantage for it"),
        ({"algorithm": {"name": "rloo", "clipping": "ppo"}}, "set clipping: none too"),
        ({"algorithm": {"name": "cispo", "clip_low": 0.1}}, "clip_low does not apply here"),
        ({"algorithm": {"name": "dapo", "sapo_positive": 2}}, "it needs clipping: sapo"),
        ({"algorithm": {"dual_clip": 1.1}}, "dual_clip must be larger than 1 + clip_high"),
        ({"algorithm": {"dual_clip": 0.5}}, "algorithm.dual_clip: input should be greater than 1"),
        ({"algorithm": {"reference_decay": 0.9}}, "it needs kl_reference: average"),
        ({"algorithm": {"name": "ppo", "resample_rounds": 2}}, "set resample_rounds: 0"),
        (
            {
                "algorithm": {
                    "name": "dr_grpo",
                    "multi_objective_aggregation": "normalize_then_sum",
                }
            },
            "with advantage: zscore",
        ),
        (
            {"algorithm": {"name": "rloo"}, "optim": {"updates_per_rollout": 2}},
            "only the first update on a rollout is right",
        ),
        ({"optim": {"minibatches": 17}}, "groups are not split"),
        ({"critic": {"model": "own"}}, "critic: needs algorithm.advantage: gae"),
        (
            {"algorithm": {"name": "ppo"}, "critic": {"model": "own", "value_coefficient": 1}},
            "it needs model: shared",
        ),
        (
            {"optim": {"learning_rate": float("nan")}},
            "optim.learning_rate: input should be a finite",
        ),
        ({"model": {"lora": {"rnk": 8}}}, "model.lora.rnk: unknown key; did you mean rank?"),
        ({"model": {"lora": {"dropout": 0}}}, "unknown key; known here: rank, alpha"),
        ({"model": {"lora": {"rank": 0}}}, "model.lora.rank: input should be greater than or"),
        ({"model": {"lora": 16}}, "model.lora: expected settings (rank, alpha), got 16"),
        ({"model": True}, "model: expected settings (path, precision, lora, engine), got True"),
        ({"rewards": ["x"]}, "rewards.0: expected settings (builtin, path, function, weight"),
        ({"data": {"task": "file"}}, "path is needed with task: file"),
        ({"data": {"prompt_template": "hi"}}, "prompt_template must contain {question}"),
        (
            {"data": {"task": "file", "path": "hub:a/b/c"}},
            "data: path: hub:a/b/c names no data set",
        ),
        (
            {"data": {"task": "file", "path": "hub:../b"}},
            "write hub:OWNER/NAME, or hub:OWNER/NAME:S",
        ),
        ({"data": {"eval_split": "x"}}, "eval_split does not go with task: arithmetic"),
        ({"data": {"shots": 33}}, "data.shots: input should be less than or equal to 32, got 33"),
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
    assert RunConfig().algorithm.advantage == ALGORITHMS["deepseekmath"].settings["advantage"]


def test_overrides_reach_sections_and_list_items():
    values = {"optim": {"learning_rate": 1}, "rewards": [{"builtin": "accuracy"}]}
    got = apply_overrides(values, ["optim.learning_rate=1e-4", "rewards.0.weight=0.5", "seed=3"])
    config = parse_config(got)
    assert (config.optim.learning_rate, config.rewards[0].weight, config.seed) == (1e-4, 0.5, 3)
    assert values == {"optim": {"learning_rate": 1}, "rewards": [{"builtin": "accuracy"}]}


@pytest.mark.parametrize("section", ["{}", "{lora: null}", "{lora: {rank: 4, alpha: 64}}"])
def test_an_override_opens_and_closes_a_section_inside_a_section(tmp_path, section):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"model: {section}\n")
    before = load_recipe(recipe).model.lora
    config = load_recipe(recipe, ["model.lora.rank=8"])
    assert (config.model.lora.rank, config.model.lora.alpha) == (8, before.alpha if before else 32)
    assert parse_config(yaml.safe_load(to_yaml(config))) == config
    assert load_recipe(recipe, ["model.lora=null"]).model.lora is None


def test_adapters_are_fixed_for_the_whole_run():
    assert not [key for key in live_keys() if key.startswith("model.")]
    for override in ("model.lora.rank=8", "model.lora=null"):
        with pytest.raises(ValueError, match=r"model\.lora.*: cannot be changed while"):
            change_live(RunConfig(), [override])


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
            inner = section_of(field)
            if inner is not None:
                check(inner, f"{prefix}{name}.")
            elif f"{prefix}{name}" != "rewards":
                assert field.description and field.description.endswith("."), f"{prefix}{name}"

    check(RunConfig)
    assert yaml.safe_load(to_yaml(RunConfig()))["num_steps"] == 120


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_row_is_possible_and_survives_being_written(name):
    config = parse_config({"algorithm": {"name": name}})
    assert parse_config(yaml.safe_load(to_yaml(config))) == config
    assert (config.critic is not None) == (name == "ppo")
    settings = config.algorithm.model_dump()
    assert set(ALGORITHMS[name].settings) <= set(settings), "a row names a knob that is none"
    assert all(settings[knob] == value for knob, value in ALGORITHMS[name].differs.items())


def test_a_row_is_named_as_its_knob_list_says():
    (names,) = [f.annotation.__args__ for f in [type(RunConfig().algorithm).model_fields["name"]]]
    assert list(names) == list(ALGORITHMS)


def test_a_knob_that_does_not_apply_is_empty():
    algorithm = parse_config({"algorithm": {"name": "deepseekmath", "clipping": "cispo"}}).algorithm
    assert (algorithm.clip_low, algorithm.clip_high, algorithm.sapo_positive) == (None, 0.2, None)
    sapo = parse_config({"algorithm": {"name": "dapo", "clipping": "sapo"}}).algorithm
    assert (sapo.clip_low, sapo.clip_high, sapo.sapo_positive) == (None, None, 1.0)


def test_a_value_clip_that_was_taken_away_stays_away():
    config = parse_config({"algorithm": {"name": "ppo"}, "critic": {"value_clip": None}})
    assert config.critic.value_clip is None and config.critic.value_coefficient == 0.5
    assert parse_config(yaml.safe_load(to_yaml(config))) == config


def test_another_row_over_a_complete_recipe_is_that_row(tmp_path):
    """As with the config.yaml that a run has left; what was chosen beside the row stays."""
    complete = parse_config({"algorithm": {"name": "ppo", "kl_coefficient": 0.3}})
    (tmp_path / "r.yaml").write_text(to_yaml(complete))
    changed = load_recipe(tmp_path / "r.yaml", ["algorithm.name=cispo"])
    expected = parse_config({"algorithm": {"name": "cispo", "kl_coefficient": 0.3}})
    assert changed == expected and changed.critic is None
    again = load_recipe(tmp_path / "r.yaml", ["algorithm.name=ppo"])
    assert again == complete


def test_another_task_over_a_complete_recipe_is_that_task(tmp_path):
    """Columns and template that only spelled out the old task go; what was chosen stays."""
    given = {"task": "math", "path": "/d", "answer_column": "short"}
    complete = parse_config({"data": given})
    assert complete.data.question_column == "problem"
    assert complete.data.prompt_template.endswith("in \\boxed{}.")
    (tmp_path / "r.yaml").write_text(to_yaml(complete))
    changed = load_recipe(tmp_path / "r.yaml", ["data.task=cmath"])
    assert changed == parse_config({"data": {**given, "task": "cmath"}})
    assert (changed.data.question_column, changed.data.answer_column) == ("question", "short")
    assert load_recipe(tmp_path / "r.yaml", ["data.task=math"]) == complete
    stated = load_recipe(
        tmp_path / "r.yaml", ["data.task=file", "data.prompt_template='{question}?'"]
    )
    assert stated.data.prompt_template == "{question}?"
    old = {**complete.data.model_dump(), "prompt_template": "{question}"}
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"data": old}))
    assert load_recipe(tmp_path / "old.yaml").data.prompt_template == "{question}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_ask_in_one_way_only(path):
    """A system prompt that asks for one form beside a template that asks for another confuses."""
    data = load_recipe(path).data
    assert data.prompt_template == "{question}" and data.shots == 0


def test_a_hub_name_is_no_path_beside_the_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text("data: {task: file, path: 'hub:a/b:c', eval_path: 'hub:d'}\n")
    data = load_recipe(tmp_path / "r.yaml").data
    assert (data.path, data.eval_path) == ("hub:a/b:c", "hub:d")


def test_a_group_of_one_is_enough_without_a_comparison():
    for row in ("reinforce", "ppo"):
        parse_config({"algorithm": {"name": row}, "rollout": {"group_size": 1}})


def test_knobs_of_the_critic_can_be_set_and_changed():
    values = apply_overrides({"algorithm": {"name": "ppo"}}, ["critic.gae_lambda=1"])
    config = parse_config(values)
    assert config.critic.gae_lambda == 1
    assert change_live(config, ["critic.gae_lambda=0.9"]).critic.gae_lambda == 0.9
    with pytest.raises(ValueError, match=r"critic\.model: cannot be changed"):
        change_live(config, ["critic.model=own"])
    with pytest.raises(ValueError, match=r"critic: needs"):
        change_live(RunConfig(), ["critic.gae_lambda=0.9"])
    with pytest.raises(ValueError, match="did you mean gae_lambda"):
        parse_config({"algorithm": {"name": "ppo"}, "critic": {"gae_lamda": 1}})
