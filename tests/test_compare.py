"""Runs side by side: every number worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from grpo_core.config import RunConfig
from studio import compare, compare_view, compare_words, run_groups
from studio.compare import ACCURACY, Recorded

STEPS = [0, 10, 20]


def run(
    name: str = "r",
    accuracy: dict[int, float] | None = None,
    step_s: dict[int, float] | None = None,
    span: tuple[float, float] = (0.0, 0.0),
    device: str = "cpu",
    metrics: dict[str, dict[int, float]] | None = None,
    **config: Any,
) -> Recorded:
    series = {ACCURACY: accuracy or {}, compare.STEP_S: step_s or {}, **(metrics or {})}
    points = {name: (list(of), list(of.values())) for name, of in series.items() if of}
    return Recorded(name, RunConfig.model_validate(config), points, device=device, span=span)


def flat(height: float, seconds: float = 1.0, **config: Any) -> Recorded:
    """The same accuracy from beginning to end, a step taking `seconds`."""
    return run(
        accuracy=dict.fromkeys(STEPS, height),
        step_s=dict.fromkeys(range(1, 21), seconds),
        **config,
    )


# --- one run -------------------------------------------------------------------------------------


def test_positions_are_sums_up_to_the_end_of_a_step() -> None:
    one = run(accuracy={0: 0.1, 2: 0.2, 3: 0.3, 9: 0.4}, step_s={1: 2.0, 2: 3.0, 3: 5.0})
    assert compare.curve(one, ACCURACY, "step")[0].tolist() == [0, 2, 3, 9]
    assert compare.curve(one, ACCURACY, "time")[0].tolist() == [0, 5, 10, 10]
    tokens = Recorded("r", one.config, one.series, tokens=([1, 2, 3], [100.0, 50.0, 25.0]))
    assert compare.curve(tokens, ACCURACY, "tokens")[0].tolist() == [0, 150, 175, 175]
    assert compare.curve(tokens, ACCURACY, "tokens")[1].tolist() == [0.1, 0.2, 0.3, 0.4]


def test_what_is_not_finite_is_left_out() -> None:
    one = run(accuracy={0: 0.1, 10: math.nan, 20: 0.3}, step_s={1: math.nan, 2: 4.0})
    x, y = compare.curve(one, ACCURACY, "time")
    assert (x.tolist(), y.tolist()) == ([0, 4], [0.1, 0.3])


def test_area_is_the_mean_height_between_two_positions() -> None:
    x, y = np.array([0.0, 10.0, 20.0]), np.array([0.0, 1.0, 1.0])
    assert compare.area(x, y, 0, 20) == pytest.approx(0.75)
    # 5 to 10 rises from 0.5 to 1: 0.75 on average; 10 to 15 stays at 1
    assert compare.area(x, y, 5, 15) == pytest.approx(0.875)
    assert compare.area(x, y, 2, 4) == pytest.approx(0.3)


def test_first_at() -> None:
    one = run(accuracy={0: 0.3, 10: 0.9, 20: 0.8, 30: 0.95})
    assert [compare.first_at(one, t) for t in (0.3, 0.9, 0.91, 0.99)] == [0, 10, 30, None]


# --- over seeds ----------------------------------------------------------------------------------


def test_bands() -> None:
    assert compare.band(np.array([[0.2, 0.4]])) is None
    low, high = compare.band(np.array([[0.2, 0.5], [0.4, 0.1]])) or ()
    assert (low.tolist(), high.tolist()) == ([0.2, 0.1], [0.4, 0.5])
    low, high = compare.band(np.array([[0.2], [0.4], [0.6]])) or ()
    # standard deviation 0.2, standard error 0.2 / √3 = 0.11547
    assert low[0] == pytest.approx(0.4 - 1.96 * 0.11547, abs=1e-5)
    assert high[0] == pytest.approx(0.4 + 1.96 * 0.11547, abs=1e-5)


def test_a_line_over_steps_ends_where_one_seed_ends() -> None:
    runs = [run(accuracy={0: 0.2, 10: 0.4, 20: 0.8}), run(accuracy={0: 0.4, 10: 0.8})]
    found = compare.line(runs, ACCURACY, "step")
    assert found is not None and found.low is not None and found.high is not None
    assert found.x.tolist() == [0, 10]
    assert found.mean.tolist() == pytest.approx([0.3, 0.6])
    assert (found.low.tolist(), found.high.tolist()) == ([0.2, 0.4], [0.4, 0.8])
    assert compare.line([runs[0], run()], ACCURACY, "step") is None, "one has no point at all"
    apart = [run(accuracy={0: 0.2}), run(accuracy={5: 0.2})]
    assert compare.line(apart, ACCURACY, "step") is None
    assert compare.line([], ACCURACY, "step") is None


def test_a_line_over_time_interpolates_within_what_all_cover() -> None:
    rising = {0: 0.0, 10: 0.5, 20: 1.0}
    fast = run(accuracy=rising, step_s=dict.fromkeys(range(1, 21), 1.0))  # 0, 10, 20 s
    slow = run(accuracy=rising, step_s=dict.fromkeys(range(1, 21), 2.0))  # 0, 20, 40 s
    found = compare.line([fast, slow], ACCURACY, "time")
    assert found is not None and found.low is not None
    assert (found.x[0], found.x[-1], len(found.x)) == (0, 20, 24)
    # at t seconds: t / 20 and t / 40
    assert found.mean.tolist() == pytest.approx((found.x * 0.75 / 20).tolist())
    assert found.low.tolist() == pytest.approx((found.x / 40).tolist())
    one = compare.line([fast], ACCURACY, "time")
    assert one is not None and one.low is None and one.x[-1] == 20


def test_a_long_line_is_thinned_and_keeps_its_ends() -> None:
    long = run(accuracy=dict.fromkeys(range(5001), 0.5))
    found = compare.line([long], ACCURACY, "step")
    assert found is not None and len(found.x) == 400
    assert (found.x[0], found.x[-1]) == (0, 5000)


def test_figures_of_a_group() -> None:
    memory = {"perf/memory_gb": {1: 0.5, 2: 0.8}, "critic/memory_gb": {1: 0.25}}
    critic = {"time/critic_s": {1: 0.5, 2: 1.5}}
    first = run(
        accuracy={0: 0.3, 10: 0.9, 20: 0.7},
        step_s=dict.fromkeys(range(1, 21), 2.0),
        metrics={**memory, **critic},
    )
    second = run(accuracy={0: 0.5, 10: 0.7, 20: 0.95}, step_s=dict.fromkeys(range(1, 21), 4.0))
    found = compare.figures([first, second], at_step=10, target=0.9)
    assert found.best and found.last
    assert found.best.mean == pytest.approx(0.825) and found.best.step == 20
    assert found.best.half == pytest.approx(0.125), "half of 0.7 to 0.95"
    assert (found.last.mean, found.last.step) == (pytest.approx(0.8), 10)
    assert found.step_s == 3.0 and found.critic_s == 1.0
    assert (found.memory_gb, found.critic_gb) == (0.8, 0.25)
    assert found.num_reached == 2
    assert found.steps_to == 15 and found.seconds_to == 50, "10 and 20 steps; 20 and 80 s"
    never = compare.figures([first, second], at_step=15, target=0.93)
    assert never.last is None, "nobody was evaluated at step 15"
    assert (never.num_reached, never.steps_to, never.seconds_to) == (1, 20, 80)
    nothing = compare.figures([run()], at_step=None, target=0.9)
    assert nothing.best is None and nothing.step_s is None and nothing.memory_gb is None
    assert (nothing.critic_s, nothing.num_reached, nothing.steps_to) == (0.0, 0, None)


def test_the_last_common_step() -> None:
    runs = [run(accuracy={0: 0.1, 10: 0.2, 20: 0.3}), run(accuracy={0: 0.1, 10: 0.2, 15: 0.3})]
    assert compare.common_step(runs) == 10
    assert compare.common_step([*runs, run()]) is None


# --- two groups ----------------------------------------------------------------------------------


def test_a_difference_counts_from_two_standard_errors_on() -> None:
    good, bad = [flat(0.8), flat(0.6)], [flat(0.5), flat(0.3)]
    found = compare.contrast(good, bad, "step")
    assert found and (found.low, found.high) == (0, 20)
    # variances 0.02 each: √(0.02 / 2 + 0.02 / 2) = 0.1414
    assert found.difference == pytest.approx(0.3)
    assert found.error == pytest.approx(0.141421, abs=1e-6) and found.is_distinct
    near = compare.contrast(good, [flat(0.54), flat(0.34)], "step")
    assert near and near.difference == pytest.approx(0.26) and not near.is_distinct


def test_one_seed_proves_nothing() -> None:
    found = compare.contrast([flat(0.9)], [flat(0.1), flat(0.2)], "step")
    assert found and found.error is None and not found.is_distinct
    assert found.difference == pytest.approx(0.75)


def test_by_time_only_the_stretch_that_all_cover_counts() -> None:
    rising = {0: 0.0, 10: 0.5, 20: 1.0}
    fast = run(accuracy=rising, step_s=dict.fromkeys(range(1, 21), 1.0))
    slow = run(accuracy=rising, step_s=dict.fromkeys(range(1, 21), 2.0))
    found = compare.contrast([fast], [slow], "time")
    # over 0 to 20 s the one goes from 0 to 1, the other from 0 to 0.5
    assert found and (found.low, found.high) == (0, 20)
    assert found.difference == pytest.approx(0.5 - 0.25)
    level = compare.contrast([fast], [slow], "step")
    assert level and level.difference == pytest.approx(0.0)
    assert compare.contrast([fast], [run()], "step") is None
    assert compare.contrast([fast], [run(accuracy={0: 0.3})], "step") is None, "a point, no stretch"
    assert compare.contrast([], [fast], "step") is None


def test_runs_at_the_same_time_are_named() -> None:
    runs = [run("a", span=(0, 10)), run("b", span=(10, 20)), run("c", span=(15, 30)), run("d")]
    assert compare.simultaneous(runs) == ["b", "c"]
    assert compare.simultaneous(runs[:2]) == []


# --- groups --------------------------------------------------------------------------------------

PPO = {"algorithm": {"name": "ppo"}}


def test_runs_that_differ_in_their_seed_are_one_group() -> None:
    runs = [
        run("a", {0: 0.1}, seed=1),
        run("b", {0: 0.1}, seed=0, num_steps=7, checkpoint={"every": 3}),
        run("c", {0: 0.1}, seed=0, **PPO),
    ]
    groups = run_groups.groups_of(runs)
    assert [(group.label, [r.name for r in group.runs]) for group in groups] == [
        ("deepseekmath", ["b", "a"]),
        ("ppo", ["c"]),
    ]


def test_a_repeated_seed_counts_once() -> None:
    short, long = run("short", {0: 0.1}), run("long", {0: 0.1, 50: 0.9})
    (group,) = run_groups.groups_of([long, short, run("other", {0: 0.1}, seed=1)])
    assert [r.name for r in group.runs] == ["long", "other"] and group.repeats == ("short",)


@pytest.mark.parametrize(
    ("configs", "labels"),
    [
        ([PPO, {**PPO, "critic": {"model": "own"}}], ["ppo", "ppo · critic.model=own"]),
        (
            [{**PPO, "optim": {"learning_rate": rate}} for rate in (1e-3, 3e-4)],
            ["ppo · optim.learning_rate=0.0003", "ppo · optim.learning_rate=0.001"],
        ),
        (
            [{**PPO, "critic": {"value_clip": None}}, {**PPO, "critic": {"whiten": False}}],
            ["ppo · critic.value_clip=null", "ppo · critic.whiten=false"],
        ),
        (
            [{"algorithm": {"clip_high": 0.3}}, {"algorithm": {"name": "dapo"}}, {}],
            ["dapo", "deepseekmath", "deepseekmath · clip_high=0.3"],
        ),
        (
            [{}, {"rewards": [{"builtin": "accuracy"}, {"builtin": "answer_tag"}]}],
            ["deepseekmath · rewards=accuracy", "deepseekmath · rewards=accuracy+answer_tag"],
        ),
        (
            [{}, {"model": {"lora": {"rank": 8}}}],
            ["deepseekmath", "deepseekmath · model.lora={rank: 8, alpha: 32}"],
        ),
    ],
)  # fmt: skip
def test_labels_say_what_sets_a_group_apart(configs: list[Any], labels: list[str]) -> None:
    runs = [run(str(number), {0: 0.1}, **config) for number, config in enumerate(configs)]
    assert [group.label for group in run_groups.groups_of(runs)] == labels


def test_a_label_names_three_differences() -> None:
    many = {"top_p": 0.9, "temperature": 0.8, "group_size": 4, "max_new_tokens": 32}
    plain, other = run_groups.groups_of([run("a", {0: 0.1}), run("b", {0: 0.1}, rollout=many)])
    assert plain.label == "deepseekmath"
    assert other.label.count(" · rollout.") == 3 and other.label.endswith(" · +1 more")


def test_what_two_runs_must_share() -> None:
    assert run_groups.differences([run(), run(seed=3, **PPO)]) == []
    other = run(
        model={"path": "x"},
        rewards=[{"builtin": "answer_tag"}],
        evaluation={"num_problems": 7},
        data={"task": "gsm8k"},
    )
    assert run_groups.differences([run(), other]) == [
        "model", "task", "rewards", "number of held-out problems"
    ]  # fmt: skip


# --- words ---------------------------------------------------------------------------------------


def verdicts(first: list[Recorded], second: list[Recorded]) -> list[dict[str, str]]:
    groups = run_groups.groups_of([*first, *second])
    rows = [(group, compare.figures(group.runs, 20, 0.9)) for group in groups]
    return compare_words.verdicts(rows)


def test_verdicts_say_what_they_rest_on() -> None:
    good = [flat(0.8, 1.0), flat(0.7, 1.0, seed=1)]
    bad = [flat(0.3, 3.0, **PPO), flat(0.2, 3.0, seed=1, **PPO)]
    by_step, by_time, memory = verdicts(good, bad)
    assert by_step["verdict"] == "deepseekmath learns faster"
    # variances 0.005 each: √(0.005 / 2 + 0.005 / 2) = 0.0707
    assert by_step["text"] == (
        "Over steps 0 to 20 the mean held-out accuracy of deepseekmath was higher by 50.0 ± 7.1 "
        "points (difference ± its standard error; 2 and 2 seeds), more than two standard errors. "
        "Two seeds are few: the error itself is a rough guess."
    )
    assert by_time["text"].startswith("Over seconds 0 to 20 of training the mean")
    assert memory == {
        "title": "By memory", "verdict": "Not measured", "text": "One of them wrote down no memory."
    }  # fmt: skip
    close = [flat(0.75, **PPO), flat(0.65, seed=1, **PPO)]
    assert verdicts(good, close)[0]["verdict"] == "Not distinguishable"
    alone = verdicts(good[:1], bad[:1])[0]
    assert alone["verdict"] == "One seed each cannot tell" and "50.0 points" in alone["text"]
    assert verdicts(good, bad[:1])[0]["verdict"] == "One seed of ppo cannot tell"
    nothing = verdicts(good[:1], [run(step_s={1: 1.0}, **PPO)])[0]
    assert nothing["verdict"] == "Nothing to compare yet"


def test_no_verdict_across_models_or_for_three_groups() -> None:
    assert verdicts([flat(0.8)], [flat(0.2, model={"path": "x"}, **PPO)]) == []
    assert verdicts([flat(0.8)], [flat(0.2, **PPO), flat(0.1, algorithm={"name": "dapo"})]) == []
    assert verdicts([flat(0.8)], []) == []


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"span": (5.0, 15.0)}, "Trained at the same time"),
        ({"device": "cuda"}, "differ in device (cpu, cuda)"),
    ],
)
def test_no_verdict_by_time_where_times_do_not_compare(how: dict[str, Any], said: str) -> None:
    seeds = [flat(0.8, span=(0.0, 10.0)), flat(0.7, seed=1, span=(20.0, 30.0))]
    others = [flat(0.3, **{"span": (40.0, 50.0), **how}, **PPO)]
    others.append(flat(0.2, seed=1, span=(60.0, 70.0), **PPO))
    by_step, by_time, _ = verdicts(seeds, others)
    assert by_step["verdict"] == "deepseekmath learns faster"
    assert by_time["verdict"] == "Cannot tell" and said in by_time["text"]
    assert any(said in warning for warning in compare_words.warnings([*seeds, *others]))


@pytest.mark.parametrize(
    ("mine", "others", "verdict"),
    [
        # means 0.75 and 0.95, standard errors 0.01 each: 0.2 is 14 of √2 * 0.01
        ((0.74, 0.76), (0.94, 0.96), "ppo needs 0.20 GB more"),
        ((1.54, 1.56), (1.49, 1.51), "deepseekmath needs 50 MB more"),
        # 0.06 against errors of 0.1 and 0.01
        ((0.8, 1.0), (0.95, 0.97), "Not distinguishable"),
        ((1.5, 1.5), (1.5, 1.5), "Not distinguishable"),
        ((0.5,), (0.9, 0.9), "One seed cannot tell"),
    ],
)
def test_memory_verdict(mine: tuple[float, ...], others: tuple[float, ...], verdict: str) -> None:
    def figures(peaks: tuple[float, ...], **config: Any) -> compare.Figures:
        metrics = [{"perf/memory_gb": {1: 0.1, 2: peak}} for peak in peaks]
        if config:
            metrics[0]["critic/memory_gb"] = {1: 0.15}
        runs = [run(metrics=one, seed=seed, **config) for seed, one in enumerate(metrics)]
        return compare.figures(runs, None, 0.9)

    found, text = compare_words.memory(
        ("deepseekmath", figures(mine)), ("ppo", figures(others, **PPO))
    )
    assert found == verdict and "The critic of ppo holds 0.15 GB" in text


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([1, 1], "Each line is one run"),
        ([3, 5], "Bands: ± 1.96 standard errors."),
        ([3, 2], "Bands: ± 1.96 standard errors, from the lower to the higher of two seeds."),
        ([2, 1], "Bands: from the lower to the higher of two seeds, none for a single seed."),
    ],
)
def test_the_note_says_what_a_band_is(sizes: list[int], said: str) -> None:
    configs: list[dict[str, Any]] = [{}, PPO]
    runs = [
        flat(0.5, seed=seed, **config)
        for size, config in zip(sizes, configs, strict=True)
        for seed in range(size)
    ]
    assert said in compare_words.note(run_groups.groups_of(runs))


def test_rows_of_the_table() -> None:
    memory = {"perf/memory_gb": {1: 0.784}, "critic/memory_gb": {1: 0.0136}}
    first = run(
        accuracy={0: 0.3, 10: 0.9}, step_s=dict.fromkeys(range(1, 11), 12.0), metrics=memory, **PPO
    )
    second = run(
        accuracy={0: 0.5, 10: 0.86}, step_s=dict.fromkeys(range(1, 11), 12.0), seed=1, **PPO
    )
    (group,) = run_groups.groups_of([first, second])
    view = compare_view.view([group], "Step", "Held-out accuracy", 0.9)
    assert [column["label"] for column in view["table"]["head"]] == [
        "Algorithm", "Seeds", "Best held-out", "At step 10", "Steps to 90 %", "Time to 90 %",
        "Time per step", "of it critic", "Memory", "of it critic",
    ]  # fmt: skip
    ((*cells,),) = view["table"]["rows"]
    assert [(cell["text"], cell["more"]) for cell in cells] == [
        ("ppo", ""), ("2", ""), ("88.0 %", "± 2.0 · step 10"), ("88.0 %", "± 2.0"),
        ("10", "1 of 2"), ("2 min 00 s", "1 of 2"), ("12.0 s", ""), ("0 s", ""),
        ("0.78 GB", ""), ("14 MB", ""),
    ]  # fmt: skip
    (line,) = view["lines"]
    assert (line["x"], line["dots"]) == ([0, 10], True)
    assert line["low"] == pytest.approx([0.3, 0.86]) and line["high"] == pytest.approx([0.5, 0.9])
    empty = compare_view.view([group], "Time", "Entropy", 0.9)["lines"][0]
    assert (empty["x"], empty["low"]) == ([], None)
