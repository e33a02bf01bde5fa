"""The Inspector in a real browser: keys, links, a large group, and text that wants to be more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from browser.harness import HOSTILE, Studio, Tab, wait_for
from browser.recorded import record_run
from grpo_core.config import RunConfig
from grpo_core.evaluation_job import evaluate_model, go_on
from grpo_core.evaluation_report import answered
from grpo_core.evaluation_store import EvaluationWriter
from grpo_core.evaluation_wish import Wish
from grpo_core.evaluations import Evaluation
from grpo_core.group_reader import GroupReader
from grpo_core.recipe import to_yaml
from grpo_core.records import Group, Problem, Rollout, StepStats, TokenPass, TokenTrace
from grpo_core.runs import Run, RunState, create_run
from grpo_core.store import RunWriter

pytestmark = pytest.mark.slow  # a minute with the Live page's: in CI

ALL_NODES = """() => {
  const count = (root) => [...root.querySelectorAll("*")].reduce(
    (sum, node) => sum + 1 + node.childNodes.length - node.children.length
      + (node.shadowRoot ? count(node.shadowRoot) : 0), 0);
  return count(document);
}"""


def data(tab: Tab, name: str) -> str:
    return str(tab.page.locator(".inspector").get_attribute(f"data-{name}") or "")


def opened(tab: Tab, path: str) -> Any:
    tab.go(f"inspector?{path}")
    tab.page.wait_for_selector(".row")
    wait_for(lambda: tab.page.locator(".text").get_attribute("data-shown"))
    return tab.page


def address(tab: Tab) -> dict[str, str]:
    return dict(re.findall(r"[?&]([a-z]+)=([^&]*)", tab.page.evaluate("location.search")))


def test_the_keyboard_leads_everywhere_and_the_address_follows(tab: Tab) -> None:
    page = opened(tab, "run=recorded&step=37")
    press = page.keyboard.press
    chosen = page.locator(".row[aria-selected=true]")
    assert chosen.get_attribute("data-rank") == "1" and data(tab, "step") == "37"
    for key in ("j", "j", "k"):
        press(key)
    wait_for(lambda: data(tab, "completion") == "2")
    first = data(tab, "prompt")
    press("J")
    wait_for(lambda: data(tab, "prompt") == str(int(first) + 1))
    press("K")
    wait_for(lambda: data(tab, "prompt") == first)
    press("[")
    wait_for(lambda: data(tab, "step") == "36")
    press("]")
    wait_for(lambda: data(tab, "step") == "37")
    for _ in range(8):
        press("[")
    wait_for(lambda: data(tab, "step") == "29")
    for _ in range(8):
        press("]")
    wait_for(lambda: data(tab, "step") == "37")
    for _ in range(3):
        press("J")
    wait_for(lambda: data(tab, "prompt") == str(int(first) + 3))
    for _ in range(3):
        press("K")
    wait_for(lambda: data(tab, "prompt") == first)
    shown = page.locator(".text")
    wait_for(lambda: shown.get_attribute("data-shown") == "tokens")
    press("ArrowRight")
    wait_for(lambda: data(tab, "token") == "1")
    press("Escape")
    press("2")
    wait_for(lambda: page.locator("[data-channel=entropy][aria-pressed=true]").count())
    wait_for(lambda: page.locator(".chunk > span").count() > 2)
    page.locator(".chunk > span").nth(2).click()
    wait_for(lambda: data(tab, "token") == "3")
    press("ArrowRight")
    wait_for(lambda: data(tab, "token") == "4")
    page.locator(".formula [data-name='Share of the loss']").wait_for()
    wait_for(lambda: page.locator(".formula").get_attribute("data-token") == "3")
    page.get_by_label("Beside it").select_option("gspo")
    wait_for(lambda: page.locator(".formula [data-name='Ratio']").count() == 2)
    expected = {"run": "recorded", "step": "37", "prompt": first, "completion": "1"}
    expected |= {"color": "entropy", "at": "4", "row": "gspo"}
    wait_for(lambda: address(tab) == expected)
    told = page.locator(".formula .terms").inner_text()
    page.reload()  # the link opens exactly this view
    page.locator(".formula [data-name='Ratio']").first.wait_for()
    wait_for(lambda: page.locator(".formula .terms").inner_text() == told)
    assert address(tab) == expected
    press("o")  # the next algorithm beside it
    wait_for(lambda: address(tab)["row"] == "cispo")
    press("Escape")
    wait_for(lambda: page.locator(".formula").is_hidden())
    press("j")
    press("d")
    wait_for(lambda: page.locator(".text").get_attribute("data-shown") == "diff")
    press("d")
    press("f")
    wait_for(lambda: page.get_by_role("button", name="Fold thought", pressed=True).count())
    press("?")
    page.get_by_text("next, previous completion").wait_for()
    press("Escape")
    wait_for(lambda: page.get_by_text("next, previous completion").is_hidden())
    press("/")
    page.keyboard.type("answer")
    wait_for(lambda: re.fullmatch(r"\d of 8 here", page.locator(".here").inner_text()))
    assert data(tab, "prompt") == first, "letters in a field are no keys"
    press("Enter")
    hit = page.locator(".hits button").first
    hit.wait_for()
    hit.click()
    wait_for(lambda: data(tab, "step") == "40")
    wait_for(lambda: page.locator(".hits").is_hidden(), 15)  # what was found is not covered
    at = data(tab, "prompt"), data(tab, "completion")
    press("]")  # there is no later step
    press("Escape")
    wait_for(lambda: page.locator(".inspector input[type=search]").input_value() == "")
    assert (data(tab, "prompt"), data(tab, "completion")) == at
    assert tab.foreign == [] and [error for error in tab.errors if "404" not in error] == []
    page.go_back()  # off the page, not through every view
    page.wait_for_selector("button.name")


def test_filters_leave_what_they_name(tab: Tab, studio: Studio) -> None:
    page = opened(tab, "run=recorded&step=20")
    with GroupReader(studio.runs_dir / "recorded" / "run.db") as reader:
        stored = reader.groups(20)
    page.locator("[data-filter=failed]").click()
    wrong = [any(not one["correct"] for one in group["rollouts"]) for group in stored]
    wait_for(
        lambda: (
            [cell.get_attribute("data-fits") == "true" for cell in page.locator(".cell").all()]
            == wrong
        )
    )
    index = int(data(tab, "prompt")) - 1
    num = sum(not one["correct"] for one in stored[index]["rollouts"])
    assert page.locator(".row[data-fits=true]").count() == num
    assert address(tab).get("only", "failed") == "failed"
    page.keyboard.press("J")
    following = [i for i in range(index + 1, 16) if wrong[i]]
    wait_for(lambda: data(tab, "prompt") == str(following[0] + 1))


def test_a_view_survives_other_pages_and_follows_a_click(tab: Tab) -> None:
    page = opened(tab, "run=recorded&step=9&prompt=3&completion=2")
    wait_for(lambda: address(tab).get("completion") == "2")
    page.get_by_role("link", name="Reward lab").first.click()
    page.wait_for_selector(".cm-content")
    page.get_by_role("link", name="Inspector").first.click()
    page.wait_for_selector(".row")
    wait_for(lambda: (data(tab, "step"), data(tab, "completion")) == ("9", "2"))
    wait_for(lambda: address(tab).get("prompt") == "3")
    page.get_by_text("What if: another algorithm").click()
    page.wait_for_selector(".versus")
    wait_for(lambda: "what_if=1" in page.evaluate("location.search"))
    page.get_by_role("combobox", name="Advantage").click()
    page.get_by_role("option", name="loo", exact=True).click()
    wait_for(lambda: page.evaluate("location.search").endswith("&if_advantage=loo"))
    versus = page.locator(".versus")
    page.get_by_text("advantages by loo.").wait_for()
    told = versus.inner_text()
    page.reload()
    wait_for(lambda: versus.count() and versus.inner_text() == told)
    page.locator(".worked").get_by_text("A = (R − mean(R))").wait_for()
    assert address(tab)["completion"] == "2", "a link opens both parts of the page"


def write_large(runs_dir: Any, completions: int, tokens: int) -> Run:
    """One step with one group, all of its tokens kept."""
    run = create_run(runs_dir, "large", to_yaml(RunConfig()))
    writer = RunWriter(run.db_path)
    rollouts = []
    for index in range(completions):
        pieces = [f" word{(index * 7 + i) % 97}" for i in range(tokens)]
        values = [-((index + i) % 23) / 9 for i in range(tokens)]
        rollout = Rollout([i % 500 for i in range(tokens)], [], "".join(pieces), "stop", "ok")
        rollout.reward = rollout.advantage = (index % 9) / 4 - 1
        rollout.parts = {"accuracy": rollout.reward}
        others = [values, values, [0.3] * tokens, [rollout.advantage] * tokens, [1e-4] * tokens]
        rollout.trace = TokenTrace(pieces, values, *others)
        if index % 9 == 8:  # the best ones
            again = [value - 0.1 for value in values]
            rollout.trace.later = [TokenPass(again, values, *others[2:4])]
        rollouts.append(rollout)
    group = Group(Problem("p", "q", "1", {}), "A question", [], rollouts)
    writer.write_step(StepStats(1, completions * tokens, "v", {"reward/mean": 0.5}), [group])
    for step in range(2, 3000):
        writer._insert_metrics(step, {"reward/mean": 0.25 if step < 1500 else 0.75})
    writer.close()
    return run


def test_a_group_of_64_with_1024_tokens_each_is_light(tab: Tab, studio: Studio) -> None:
    write_large(studio.runs_dir, 64, 1024)
    page = opened(tab, "run=large&step=1")
    wait_for(lambda: page.locator(".chunk > span").count() == 1024)
    assert page.locator(".row").count() == 64
    assert page.evaluate(ALL_NODES) < 5000
    box = page.locator(".rows").bounding_box()
    assert box and box["height"] < 700, "the list scrolls in itself"
    painted = (
        page.locator(".row .strip")
        .nth(3)
        .evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext("2d")
             .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )
    )
    assert painted > 5
    ribbon = page.locator(".ribbon")
    wait_for(lambda: ribbon.get_attribute("data-high") == "0.75")
    assert 100 < int(ribbon.get_attribute("data-points") or 0) <= 601, "a long run is thinned"
    page.keyboard.press("ArrowRight")
    passes = page.get_by_label("Pass of the update")
    wait_for(lambda: page.locator(".formula [data-name=Ratio]").count())
    assert passes.input_value() == "1", "the last one"
    for number, ratio in (("0", "1"), ("1", "0.9048")):  # exp(-0.1) = 0.9048
        page.keyboard.press("p")
        wait_for(lambda number=number: passes.input_value() == number)
        line = page.locator(".formula [data-name=Ratio]")
        wait_for(lambda line=line, ratio=ratio: line.locator(".value").inner_text() == ratio)
    page.keyboard.press("Escape")
    for _ in range(40):
        page.keyboard.press("j")
    wait_for(lambda: data(tab, "completion") == "41")
    box = page.locator(".rows").bounding_box()
    chosen = page.locator(".row[aria-selected=true]").bounding_box()
    assert box and chosen and box["y"] <= chosen["y"] <= box["y"] + box["height"], "kept in view"


BIDI = "safe \u202eevil\u202c \u2066x\u2069 \x07 a\u200bb"


def test_text_of_a_model_is_only_text(tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "hostile-tokens", until=2)
    writer = RunWriter(run.db_path)
    text = f"<think>{HOSTILE}</think>[a](javascript:alert(1)) **b** {BIDI}"
    for table, columns in (("rollouts", "text error printed"), ("groups", "prompt answer")):
        for column in columns.split():
            writer._db.execute(f"UPDATE {table} SET {column} = ?", (text,))
    writer._db.execute(
        "UPDATE groups SET row = ?", ('{"<b>name</b>": "<img src=x onerror=hack>"}',)
    )
    writer._db.execute(
        "DELETE FROM tokens WHERE rollout_id IN (SELECT id FROM rollouts WHERE group_id > 1)"
    )
    writer.close()
    page = opened(tab, "run=hostile-tokens&step=2")
    page.keyboard.press("v")
    said = page.locator(".inspector").inner_text()
    assert "<script>window.hacked=1</script>" in said and "**b**" in said
    assert "⟨202E⟩" in said and "⟨200B⟩" in said and not re.search("[\u202e\u2066\u200b\x07]", said)
    page.get_by_text("What if:").click()
    page.locator(".versus").wait_for()
    page.keyboard.press("d")
    page.wait_for_timeout(300)
    inside = ".inspector script, .inspector img, .inspector a, .inspector strong, .versus img"
    assert page.locator(inside).count() == 0
    assert tab.foreign == [] and page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_in_a_narrow_window(chromium: Any, studio: Studio, scheme: str) -> None:
    tab = Tab(chromium, studio, scheme).enter()
    tab.page.set_viewport_size({"width": 900, "height": 900})
    page = opened(tab, "run=recorded&step=37")
    page.locator(".chunk > span").first.click()
    page.locator(".formula .terms .line").first.wait_for()
    widths = page.evaluate(
        """() => { const root = document.querySelector("[data-testid=stMain]");
                   return [root.scrollWidth, root.clientWidth]; }"""
    )
    assert widths[0] <= widths[1], "no sideways scrolling"
    color = page.locator(".row .reward").first.evaluate("node => getComputedStyle(node).color")
    brightness = max(map(int, re.findall(r"\d+", color)[:3]))
    assert brightness > 180 if scheme == "dark" else brightness < 90
    tab.close()


def test_two_tabs_look_at_different_steps(chromium: Any, studio: Studio, tab: Tab) -> None:
    other = Tab(chromium, studio).enter()
    opened(tab, "run=recorded&step=5")
    opened(other, "run=recorded&step=30")
    tab.page.keyboard.press("]")
    wait_for(lambda: data(tab, "step") == "6")
    assert data(other, "step") == "30"
    other.close()
    again = Tab(chromium, studio).enter()
    opened(again, "run=recorded&step=30")
    again.close()


def evaluated(studio: Studio, name: str, samples: int) -> Evaluation:
    wish = Wish(
        task="arithmetic", limit=12, samples=samples, batch_size=4, max_new_tokens=32, name=name
    )
    return evaluate_model(studio.runs_dir, "bundled:tiny", wish, lambda *_: None)


def test_an_evaluation_opens_as_a_run_does(tab: Tab, studio: Studio) -> None:
    evaluation = evaluated(studio, "asked", 3)
    stored = answered(evaluation.db_path)
    page = opened(tab, "run=asked&step=1&prompt=2")
    press = page.keyboard.press
    assert page.locator(".inspector").get_attribute("data-kind") == "evaluation"
    assert page.locator(".aboutline").inner_text().split("\n")[:2] == [
        "completed",
        "bundled:tiny · arithmetic · greedy and 3 samples at temperature 1 · 12 of 12 problems",
    ]
    cells = [f"{'✓' if one.is_right else '×'} {one.num_right}/3" for one in stored[:4]]
    assert page.locator(".cell").all_inner_texts() == cells
    one = stored[1]
    assert page.locator(".promptcard .stats .value").all_inner_texts()[:3] == [
        one.gold, "right" if one.is_right else "wrong", f"{one.num_right} of 3",
    ]  # fmt: skip
    said = [one.greedy, *sorted(one.sampled, key=lambda each: not each["correct"])]
    shown = [row.inner_text().split("\n") for row in page.locator(".row").all()]
    for number, (row, each) in enumerate(zip(shown, said, strict=True), start=1):
        sign = "✓" if each["correct"] else "×"
        assert row[:4] == [str(number), each["kind"], sign, each["extracted"] or "no answer"]
        assert row[5] == str(each["num_tokens"])
    whole = page.locator(".inspector").inner_text().lower()
    assert "batch" in whole and "problem" in whole
    for word in ("step", "advantage", "adv.", "reward", "colour", "signal", "left out"):
        assert word not in whole
    assert page.get_by_text("What if").count() == 0
    press("j")
    press("d")
    wait_for(lambda: page.locator(".text").get_attribute("data-shown") == "diff")
    assert "only in the greedy completion" in page.locator(".about").inner_text()
    press("d")
    press("n")  # in an evaluation these are no keys
    press("2")
    press("?")
    assert "signal" not in page.locator(".help").inner_text()
    press("Escape")
    # problem after problem, over the batches, and those alone that the filter leaves
    page.locator("[data-filter=greedy_wrong]").click()
    wrong = [i for i, each in enumerate(stored) if not each.is_right]
    assert wrong[0] == 1 and len(wrong) > 4
    for index in wrong[1:]:
        press("J")
        place = (str(index // 4 + 1), str(index % 4 + 1))
        wait_for(lambda place=place: (data(tab, "step"), data(tab, "prompt")) == place)
    for index in reversed(wrong[:-1]):
        press("K")
        place = (str(index // 4 + 1), str(index % 4 + 1))
        wait_for(lambda place=place: (data(tab, "step"), data(tab, "prompt")) == place)
    assert address(tab)["only"] == "greedy_wrong"
    assert tab.foreign == [] and [error for error in tab.errors if "404" not in error] == []


def test_an_evaluation_grows_and_runs_stay_as_they_were(tab: Tab, studio: Studio) -> None:
    """Between both kinds nothing of the other stays."""
    evaluation = evaluated(studio, "growing", 0)
    writer = EvaluationWriter(evaluation.db_path)
    writer._db.execute("UPDATE answers SET verdict = 'timeout' WHERE rollout_id = 1")
    for table in ("steps WHERE step > 1", "groups WHERE step > 1", "asked WHERE group_id > 4",
                  "rollouts WHERE group_id > 4", "answers WHERE rollout_id > 4"):  # fmt: skip
        writer._db.execute(f"DELETE FROM {table}")
    writer.close()
    evaluation.write_state(RunState("stopped", 1, 0.0, 0.0, 4, 12))
    page = opened(tab, "run=growing&step=1&only=undecided")
    assert page.locator(".steps .of").inner_text() == "of 1"
    assert "It was stopped after 4 problems." in page.locator(".aboutline").inner_text()
    assert page.locator(".promptcard .flat").inner_text() == (
        "1 completion got no verdict from the judge and counts as wrong."
    )
    assert page.locator(".row .sign").all_inner_texts() == ["?"]
    assert "did not come to a verdict in time" in page.locator(".fault").inner_text()
    page.get_by_role("button", name="Follow").click()
    go_on(evaluation, lambda *_: None)
    wait_for(lambda: data(tab, "step") == "3")
    assert page.locator(".steps .of").inner_text() == "of 3"
    wait_for(lambda: "12 of 12 problems" in page.locator(".aboutline").inner_text())
    page.get_by_role("combobox", name="Run").click()
    page.get_by_role("option", name="recorded", exact=True).click()
    wait_for(lambda: page.locator(".inspector").get_attribute("data-kind") == "run")
    wait_for(lambda: page.locator(".row .worth").count() == 8)
    assert page.locator(".aboutline").is_hidden() and page.locator(".row .sign").count() == 0
    page.get_by_text("Next with signal").wait_for()
    page.locator("[data-channel=logp]").wait_for()
    page.get_by_text("What if: another algorithm").wait_for()
    assert page.locator("[data-filter=clipped]").count() == 1
    assert page.locator("[data-filter=undecided]").count() == 0
