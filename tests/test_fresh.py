"""Fresh completions: by which model, of which problems, and what reward functions see of them."""

import json
import shutil

import pytest
from whole_runs import make_recipe, train

from grpo_core import fresh
from grpo_core.engine import Sampling
from grpo_core.fresh import sample_run
from grpo_core.prepare import prepare
from grpo_core.recipe import load_recipe
from grpo_core.records import Group, Problem, Rollout
from grpo_core.reward_test import read_groups, to_rows
from grpo_core.rewards import from_source
from grpo_core.runs import Run, find_run
from grpo_core.scorer import Scorer

SEEN = (
    "def seen(prompt, completion, completion_ids, answer, question, unit=None, **row):\n"
    "    print(repr((prompt, completion, completion_ids, answer, question, unit)))\n"
    "    return 1.0\n"
)


@pytest.fixture(scope="module")
def trained(random_model, tmp_path_factory):
    """Two checkpoints of a model that learns fast, on a file of 5 different questions."""
    folder = tmp_path_factory.mktemp("fresh")
    rows = [{"ask": f"{i % 6} + 1 = ?", "answer": i % 6 + 1, "unit": f"u{i % 6}"} for i in range(9)]
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "held.jsonl").write_text(json.dumps(rows[0]))
    recipe = make_recipe(random_model, folder) | {
        "data": {
            "task": "file",
            "path": str(folder / "sums.jsonl"),
            "eval_path": str(folder / "held.jsonl"),
            "question_column": "ask",
        },
        "optim": {"learning_rate": 0.1},
    }
    _, run = train(folder, "one", recipe, num_steps=4)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step_000002", "step_000004"]
    return run


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / "one")
    return find_run(tmp_path, "one")


def texts(groups: list[Group]) -> list[list[str]]:
    return [[one.text for one in group.rollouts] for group in groups]


def greedy(run: Run, weights, monkeypatch) -> list[list[int]]:
    """What `sample_run` gives without chance, and what a model of our choice gives."""
    config = load_recipe(run.config_path)
    chosen = Sampling(config.rollout.max_new_tokens, greedy=True)
    monkeypatch.setattr(fresh, "Sampling", lambda *_: chosen)
    found = sample_run(run, 5, 1, 0)
    own = prepare(config, weights)
    prompts = [group.prompt_ids for group in found.groups]
    (expected,) = zip(*own.engine.generate(prompts, 1, chosen, 0), strict=True)
    assert [group.rollouts[0].ids for group in found.groups] == [one.ids for one in expected]
    return [one.ids for one in expected]


def test_the_newest_whole_checkpoint_speaks(run, monkeypatch):
    newest = greedy(run, run.checkpoints / "step_000004" / "model", monkeypatch)
    assert sample_run(run, 1, 1, 0).model == "step_000004 of one"
    (run.checkpoints / "step_000004" / "position.json").write_text("{}")
    older = greedy(run, run.checkpoints / "step_000002" / "model", monkeypatch)
    assert sample_run(run, 1, 1, 0).model == "step_000002 of one"
    shutil.rmtree(run.checkpoints)
    first = greedy(run, None, monkeypatch)
    assert sample_run(run, 1, 1, 0).model == load_recipe(run.config_path).model.path
    assert newest != older != first != newest


def test_a_seed_stands_for_problems_and_completions(run):
    one, same, other = (sample_run(run, 3, 4, seed).groups for seed in (1, 1, 2))
    assert texts(one) == texts(same) != texts(other)
    assert [len(group.rollouts) for group in one] == [4, 4, 4]
    alike = sample_run(run, None, None, 1).groups
    assert [len(group.rollouts) for group in alike] == [4, 4, 4, 4]  # as in a step of the run
    assert {p.problem.question for p in one} < {f"{i} + 1 = ?" for i in range(1, 6)}


def test_each_question_is_asked_once_and_more_are_refused(run):
    groups = sample_run(run, 5, 1, 0).groups
    assert sorted(group.problem.question for group in groups) == [
        f"{i} + 1 = ?" for i in range(1, 6)
    ]
    with pytest.raises(ValueError, match=r"^--problems 6: the training data of one hold 5 diff"):
        sample_run(run, 6, 1, 0)


def test_rows_and_back_again(run, tmp_path):
    """Same prompt, answer, columns and ids, and a reward function sees the same."""
    groups = sample_run(run, 3, 4, 0).groups
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in to_rows(groups)))
    back = read_groups(path)
    assert len(back) == 3
    for group, again in zip(groups, back, strict=True):
        problem = group.problem
        assert (again.prompt, again.problem.answer) == (group.prompt, problem.answer)
        assert again.problem.question == problem.question == problem.row["ask"] != group.prompt
        columns = {**problem.row, "question": problem.question, "answer": problem.answer}
        assert again.problem.row == columns
        assert [(one.text, one.ids) for one in again.rollouts] == [
            (one.text, one.ids) for one in group.rollouts
        ]
    for group in groups:  # in training `question` is there by the data's own name only
        group.problem.row["question"] = group.problem.question
    with Scorer(from_source(SEEN), 2.0) as one:
        one.score(groups, 0)
        one.score(back, 0)
    printed = [[r.printed for r in group.rollouts] for group in groups]
    assert printed == [[r.printed for r in group.rollouts] for group in back]
    assert all("+ 1 = ?" in text and "'u" in text for group in printed for text in group)


def test_columns_take_no_place_of_what_was_sampled():
    row = {"prompt": "raw", "completion": "gold", "answer": "2 #### 4", "question": "q", "x": 1}
    group = Group(Problem("1", "raw", "4", row), "<raw>", [], [Rollout([7], [], "c", "stop")])
    (found,) = to_rows([group])
    assert found == {
        "prompt": "<raw>", "completion": "c", "completion_ids": [7], "answer": "4",
        "question": "q", "x": 1,
    }  # fmt: skip
