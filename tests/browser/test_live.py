"""The Live page in a real browser: zoom, hover, axes, sections, files, several runs, keys."""

from __future__ import annotations

import csv
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.harness import HOSTILE, Studio, Tab, wait_for
from browser.recorded import record_comparison, record_run, write_status
from grpo_core.reader import RunReader
from grpo_core.records import Event, StepStats
from grpo_core.store import RunWriter

pytestmark = pytest.mark.slow  # a minute with the Inspector's: in CI

SOURCES = Path(__file__).parents[2] / "studio" / "components" / "frontend" / "src"


def watch(tab: Tab, name: str, step: int, **query: str) -> None:
    """Open the Live page of a run and wait for its curves."""
    more = "".join(f"&{key}={value}" for key, value in query.items())
    tab.go(f"live?run={name}{more}")
    tab.page.wait_for_selector(".u-over")
    wait_for(lambda: tab.number("step") == step)


def said(tab: Tab, name: str) -> str:
    """A counter of the component, as text."""
    return tab.page.locator("[data-polls]").get_attribute(f"data-{name}") or ""


def card(tab: Tab, title: str, section: str = "Overview") -> Any:
    return tab.page.locator(f"[aria-label='{section}'] [aria-label='{title}']")


def point(tab: Tab, title: str, share: float) -> dict[str, float]:
    """Move the pointer over a chart, `share` of its width from the left."""
    box = card(tab, title).locator(".u-over").bounding_box()
    tab.page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    return dict(box)


def drag(tab: Tab, title: str, low: float, high: float) -> str:
    """Zoom by dragging; the zoom that came of it."""
    box = point(tab, title, low)
    tab.page.mouse.down()
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + high * box["width"], y, steps=5)
    tab.page.mouse.up()
    return str(wait_for(lambda: said(tab, "zoom")))


def legend(tab: Tab, title: str) -> list[str]:
    return card(tab, title).locator(".legend b").all_inner_texts()


def calm(tab: Tab) -> None:
    """Nothing was asked of another host and nothing went wrong in a script."""
    assert tab.foreign == [] and [error for error in tab.errors if "404" not in error] == []


@pytest.mark.parametrize("ticks", [2, 10])
def test_zoom_stays_over_ticks_and_a_click_opens_the_step(
    tab: Tab, studio: Studio, ticks: int
) -> None:
    run = record_run(studio.runs_dir, f"growing-{ticks}", until=30)
    watch(tab, run.name, 30)
    zoom = drag(tab, "Loss", 1 / 3, 2 / 3)
    low, high = map(float, zoom.split("-"))
    assert 9 < low < 11 and 19 < high < 21
    writer = RunWriter(run.db_path)
    polls = tab.number("polls")
    for step in range(31, 41):
        writer.write_step(StepStats(step, 9, "v", {"train/loss": 0.5, "reward/mean": 0.5}, []), [])
        tab.page.wait_for_timeout(50 * ticks)
    wait_for(lambda: tab.number("step") == 40)
    wait_for(lambda: tab.number("polls") >= polls + ticks)
    writer.close()
    assert said(tab, "zoom") == zoom, "the new points arrived, and the view stayed"
    box = point(tab, "Loss", 0.5)
    wait_for(lambda: re.match(r"step 1[45]", tab.page.locator(".hover").inner_text()))
    tab.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 40)
    wait_for(lambda: said(tab, "zoom") == "")
    assert "live" in tab.page.url
    tab.page.wait_for_timeout(300)
    drag(tab, "Reward", 0.25, 0.5)
    tab.page.keyboard.press("z")
    wait_for(lambda: said(tab, "zoom") == "")
    point(tab, "Loss", 0.5)
    wait_for(lambda: tab.page.locator(".hover").inner_text() == "step 20")
    tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.wait_for_selector(".row")
    assert "step=20" in tab.page.evaluate("location.href")


def test_curves_forget_what_a_resume_undid(tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "resumed", until=30, short_from=25)
    watch(tab, "resumed", 30)
    card(tab, "Reward parts").wait_for()
    loss = card(tab, "Loss")
    wait_for(lambda: loss.get_attribute("data-num") == "30")
    assert said(tab, "marks") == "25"
    # Steps 1 to 24 are not those of a part that came at 25.
    point(tab, "Reward parts", 0.5)
    wait_for(lambda: legend(tab, "Reward parts")[1] == "—")
    writer = RunWriter(run.db_path, truncate_after=20)
    writer._insert_metrics(21, {"train/loss": 0.5, "reward/mean": 0.5})
    writer.close()
    wait_for(lambda: loss.get_attribute("data-num") == "21")
    assert tab.number("step") == 21 and said(tab, "marks") == ""
    card(tab, "Reward parts").wait_for(state="detached")


def test_charts_of_a_critic_appear_with_its_numbers(tab: Tab, studio: Studio) -> None:
    record_comparison(studio.runs_dir, seeds=1, until=10)
    watch(tab, "ppo-0", 10)
    loss = card(tab, "Value loss")
    loss.scroll_into_view_if_needed()
    loss.locator(".u-over").wait_for()
    assert loss.get_attribute("data-num") == "10"
    width = card(tab, "Loss").bounding_box()["width"]
    assert loss.bounding_box()["width"] == width, "drawn as wide as the others"
    assert loss.locator("canvas").bounding_box()["width"] > width / 2
    watch(tab, "grpo-0", 10)
    assert card(tab, "Value loss").count() == 0
    calm(tab)


def test_one_pointer_moves_over_all_charts(tab: Tab, studio: Studio) -> None:
    watch(tab, "recorded", 40)
    with RunReader(studio.runs_dir / "recorded" / "run.db") as reader:
        rewards, lengths = (dict(reader.series(f"{n}/mean")) for n in ("reward", "reward/accuracy"))
    point(tab, "Loss", 0.25)
    wait_for(lambda: tab.page.locator(".hover").inner_text() == "step 10")
    assert legend(tab, "Reward") == [f"{rewards[10]:.3f}"]
    assert legend(tab, "Reward parts")[0] == f"{lengths[10]:.3f}"
    # The same on another axis: the step is found by its place.
    tab.page.locator("[data-axis=tokens]").last.click()
    wait_for(lambda: said(tab, "axis") == "tokens")
    point(tab, "Loss", 0.6)
    shown = wait_for(lambda: tab.page.locator(".hover").inner_text())
    step = int(re.match(r"step (\d+) · .* tokens", shown)[1])  # type: ignore[index]
    assert legend(tab, "Reward") == [f"{rewards[step]:.3f}"]


def test_choices_are_kept_and_axes_are_what_they_say(tab: Tab) -> None:
    watch(tab, "recorded", 40)
    for axis in ("time", "clock", "tokens", "step"):
        tab.page.keyboard.press("t")
        wait_for(lambda axis=axis: said(tab, "axis") == axis)
    tab.page.keyboard.press("t")
    tab.page.keyboard.press("l")
    tab.page.keyboard.press("s")
    tab.page.keyboard.press("s")
    loss = card(tab, "Loss")
    wait_for(lambda: int(loss.get_attribute("data-left")) > 10)
    assert "cannot be drawn on a logarithmic axis" in loss.inner_text()
    point(tab, "Entropy", 0.5)
    tab.page.keyboard.press("p")
    pinned = tab.page.locator("[aria-label=Pinned] [aria-label=Entropy]")
    pinned.locator(".u-over").wait_for()
    mounted = tab.number("mounted")
    tab.page.get_by_role("button", name="train").click()
    wait_for(lambda: tab.number("charts") == mounted + 7)
    tab.page.reload()
    tab.page.wait_for_selector(".u-over")
    wait_for(lambda: tab.number("step") == 40)
    assert (said(tab, "axis"), said(tab, "smoothing"), said(tab, "toggles")) == (
        "time", "0.10", "logY"
    )  # fmt: skip
    pinned.locator(".u-over").wait_for()
    assert card(tab, "train/kl", "train/").count() == 1, "the section is open"
    assert tab.number("mounted") <= tab.number("charts")
    calm(tab)


def test_sections_hold_every_metric_and_a_filter_finds_it(tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "own", until=3, prompts=1)
    writer = RunWriter(run.db_path)
    writer.write_step(StepStats(4, 9, "v", {"mine/é<b>": 1.5, HOSTILE[:40]: 2.0}, []), [])
    writer.close()
    watch(tab, "own", 4)
    headers = tab.page.locator(".fold")
    shown = [text.split("\n")[0] for text in headers.all_inner_texts()]
    assert shown[:5] == ["train", "reward", "completion", "eval", "time"] and "mine" in shown
    assert tab.page.locator(".fold[aria-expanded=true]").count() == 0
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("^mine/|kl$")  # l would change the axis, were it not for the field
    wait_for(lambda: card(tab, "mine/é<b>", "mine/").count() == 1)
    assert said(tab, "toggles") == "" and tab.number("charts") == 3  # kl twice: overview, train
    tab.page.keyboard.type("(")
    wait_for(lambda: tab.page.get_by_text("not a regular expression").count() == 1)
    assert tab.number("charts") == 3, "what was shown before"
    card(tab, "mine/é<b>", "mine/").locator(".title").click()
    tab.page.get_by_text("the studio knows nothing more about it").wait_for()
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("window.hacked") is None
    calm(tab)


def test_a_card_explains_itself_and_gives_its_numbers(tab: Tab, studio: Studio) -> None:
    watch(tab, "recorded", 40)
    loss = card(tab, "Loss")
    loss.locator(".title").focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("Why does it not fall?").wait_for()
    tab.page.get_by_text("In this run: one update follows each rollout").wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_text("Why does it not fall?").wait_for(state="hidden")
    loss.hover()
    loss.locator(".menu").click()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("menuitem", name="CSV").click()
    assert download.value.suggested_filename == "recorded_train-loss.csv"
    rows = list(csv.DictReader(download.value.path().open()))
    with RunReader(studio.runs_dir / "recorded" / "run.db") as reader:
        stored = dict(reader.series("train/loss"))
    assert {int(row["step"]): float(row["train/loss"]) for row in rows} == stored
    loss.locator(".menu").click()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("menuitem", name="PNG").click()
    content = download.value.path().read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and 300 < width < 2000 and 220 < height < 1000
    assert len(content) > 4000, "something is drawn"
    loss.locator(".menu").click()
    tab.page.get_by_role("menuitem", name="Full screen").click()
    wait_for(lambda: loss.locator("canvas").bounding_box()["height"] > 500)
    tab.page.keyboard.press("f")  # as Escape, which a headless browser does not hear
    wait_for(lambda: loss.locator("canvas").bounding_box()["height"] < 250)
    calm(tab)


def test_runs_over_one_another_and_seeds_as_bands(tab: Tab, studio: Studio) -> None:
    record_comparison(studio.runs_dir, seeds=3, until=10, recipes={"x": {}})
    watch(tab, "x-0", 10, **{"with": "x-1,x-2"})
    reward = card(tab, "Reward")
    wait_for(lambda: reward.get_attribute("data-lines") == "3")
    assert said(tab, "runs") == "x-0 x-1 x-2" and "with=x-1" in tab.page.url
    labels = reward.locator(".legend .label").all_inner_texts()
    rest = reward.locator(".rest")
    assert labels[:1] == ["x-0"] and (len(labels) == 3 or rest.is_visible())
    colors = [dot.evaluate("d => d.style.background") for dot in reward.locator(".dot").all()]
    assert len(set(colors)) == 3
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("button", name="Remove x-1").or_(
        tab.page.locator("[data-baseweb=tag]", has_text="x-1").locator("[role=presentation]")
    ).first.click()
    wait_for(lambda: reward.get_attribute("data-lines") == "2")
    kept = [dot.evaluate("d => d.style.background") for dot in reward.locator(".dot").all()]
    assert kept == [colors[0], colors[2]], "who stays keeps its colour"
    watch(tab, "x-0", 10, **{"with": "x-1,x-2"})
    tab.page.get_by_role("button", name="Seeds as bands").click()
    wait_for(lambda: reward.get_attribute("data-lines") == "1")
    assert "(3)" in reward.locator(".legend .label").first.inner_text()
    tab.page.locator("[data-axis=clock]").last.click()
    wait_for(lambda: reward.get_attribute("data-lines") == "3")
    assert tab.page.get_by_role("button", name="Seeds as bands").is_disabled()
    calm(tab)


def test_two_tabs_watch_one_run(chromium: Any, tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "shared", until=5, prompts=1)
    other = tab.context.new_page()
    watch(tab, "shared", 5)
    other.goto(f"http://127.0.0.1:{studio.port}/live?run=shared")
    counter = other.locator("[data-polls]")
    wait_for(lambda: counter.count() and counter.get_attribute("data-step") == "5")
    writer = RunWriter(run.db_path)
    metrics = {"train/loss": 0.5, "time/step_s": 1.0}
    writer.write_event(6, Event("nonfinite", {"message": HOSTILE, "in_row": 1}))
    writer.write_step(StepStats(6, 9, "v", metrics, []), [])
    writer.close()
    wait_for(lambda: tab.number("step") == 6 and counter.get_attribute("data-step") == "6")
    wait_for(lambda: tab.number("events") == 2)  # and the rewards are others
    tab.page.bring_to_front()
    point(tab, "Loss", 0.99)
    wait_for(lambda: "Not finite" in card(tab, "Loss").locator(".tip").inner_text())
    tab.page.keyboard.press("e")
    wait_for(lambda: tab.number("events") == 0)
    assert tab.page.evaluate("window.hacked") is None


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def narrow(chromium: Any, studio: Studio, request: pytest.FixtureRequest) -> Iterator[Tab]:
    tab = Tab(chromium, studio, request.param).enter()
    tab.page.set_viewport_size({"width": 900, "height": 1000})
    yield tab
    tab.close()


def test_a_narrow_window_shows_all_of_it(narrow: Tab) -> None:
    watch(narrow, "recorded", 40)
    assert narrow.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    over = narrow.page.evaluate(
        """() => {
          const root = document.querySelector('[data-testid=stMain]');
          const hosts = [...root.querySelectorAll('*')].filter((node) => node.shadowRoot);
          const cards = hosts.flatMap((host) => [...host.shadowRoot.querySelectorAll(
            '.tile, .card, .gauge, .tools > *')]).filter((node) => node.offsetParent);
          const boxes = cards.map((node) => node.getBoundingClientRect());
          const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
            && a.top < b.bottom - 1 && b.top < a.bottom - 1;
          const pairs = boxes.filter((a, i) => boxes.some((b, j) => i < j && meet(a, b)));
          return [boxes.length, pairs.length,
            Math.max(...boxes.map((box) => box.right)) <= innerWidth];
        }"""
    )
    assert over[0] > 20 and over[1:] == [0, True]
    background = card(narrow, "Loss").evaluate("c => getComputedStyle(c).backgroundColor")
    dark = max(map(int, re.findall(r"\d+", background)[:3])) < 60
    assert dark == narrow.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    calm(narrow)


def test_keys_help_and_leave_typing_alone(tab: Tab) -> None:
    watch(tab, "recorded", 40)
    tab.page.keyboard.press("?")
    tab.page.get_by_text("more, less smoothing").wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_text("more, less smoothing").wait_for(state="hidden")
    tab.page.get_by_role("button", name="Keyboard shortcuts").click()
    tab.page.get_by_text("more, less smoothing").wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("combobox", name="Compare with").click()
    tab.page.keyboard.type("slot")
    tab.page.keyboard.press("Escape")
    for keys in ("Control+s", "Alt+t", "Meta+l"):
        tab.page.keyboard.press(keys)
    assert (said(tab, "smoothing"), said(tab, "axis"), said(tab, "toggles")) == ("0.00", "step", "")


def test_a_damaged_run_is_said_and_a_deleted_one_too(tab: Tab, studio: Studio) -> None:
    run = record_run(studio.runs_dir, "damaged", until=3, prompts=1, status="completed")
    run.db_path.write_text("this is not a database, but it is long enough " * 400)
    tab.go("live?run=damaged")
    tab.page.get_by_text("This run's database cannot be read: file is not a database").wait_for()
    gone = record_run(studio.runs_dir, "soon-gone", until=3, prompts=1)
    watch(tab, "soon-gone", 3)
    write_status(gone, "stopped", 3, 120)
    gone.delete()
    tab.page.get_by_text("This run is gone: it was deleted or moved.").wait_for()


def test_a_moving_average_of_buckets_is_that_of_the_points(chromium: Any) -> None:
    """The module itself, beside the plain definition: sum of w^age x over sum of w^age."""
    rng = random.Random(3)
    values = [rng.gauss(0, 1) for _ in range(900)]
    plateaus = [float(i // 50) for i in range(2400)]  # thinning loses nothing of the last ones
    page = chromium.new_page()
    script = (SOURCES / "buckets.js").read_text().replace("export ", "")
    found = page.evaluate(
        """([script, values, plateaus, weight]) => {
          const { Curve, smoothed } = new Function(script + '; return { Curve, smoothed };')();
          const steps = (list) => list.map((_, i) => i + 1);
          const raw = new Curve().append([steps(values), values]);
          const grown = new Curve();
          plateaus.forEach((value, i) => grown.append([[i + 1], [value]]));
          const whole = new Curve();
          values.forEach((value, i) => whole.append([[i + 1], [value]]));
          while (whole.halve()) if (whole.length < 150) break;
          return {
            raw: smoothed(raw, weight), none: smoothed(raw, 0),
            grown: smoothed(grown, weight), last: grown.last, count: grown.count,
            low: Math.min(...whole.low), high: Math.max(...whole.high), num: whole.length,
            mean: whole.mean.reduce((sum, mean, i) => sum + mean * whole.count[i], 0) / 900,
          };
        }""",
        [script, values, plateaus, 0.9],
    )
    page.close()

    def average(numbers: list[float], weight: float) -> list[float]:
        return [
            sum(weight ** (at - i) * numbers[i] for i in range(max(0, at - 400), at + 1))
            / sum(weight ** (at - i) for i in range(max(0, at - 400), at + 1))
            for at in range(len(numbers))
        ]

    assert found["raw"] == pytest.approx(average(values, 0.9), abs=1e-9)
    assert found["none"] == pytest.approx(values)
    assert len(found["count"]) <= 1000 and sum(found["count"]) == 2400, "memory is flat"
    expected = average(plateaus, 0.9)
    errors = [
        abs(a - expected[last - 1]) for a, last in zip(found["grown"], found["last"], strict=True)
    ]
    assert max(errors[-100:]) < 1e-4 and max(errors) < 0.5, "what merged fades"
    assert (found["low"], found["high"]) == (min(values), max(values)), "spikes stay"
    assert found["num"] < 200 and found["mean"] == pytest.approx(sum(values) / 900)


def test_a_line_has_a_gap_where_its_part_was_not_in_force(chromium: Any) -> None:
    """Every row of the gap is null, also those that only another line has."""
    page = chromium.new_page()
    text = (SOURCES / "buckets.js").read_text() + (SOURCES / "lines.js").read_text()
    script = re.sub(r"^import .*$", "", text, flags=re.MULTILINE).replace("export ", "")
    found = page.evaluate(
        """script => {
          const { Curve, columnsOf } = new Function(script + '; return { Curve, columnsOf };')();
          const places = { of: (step) => step };
          const part = new Curve().append([[1, 2, 6, 7], [0.1, 0.2, 0.6, 0.7]], [6]);
          const whole = new Curve().append([[1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 1, -1, 1, 1, 1, 1]]);
          const lines = [{ curve: part, places }, { curve: whole, places }];
          const plain = { axis: 'step', weight: 0, logX: false, logY: false };
          const { columns, left } = columnsOf(lines, plain);
          const log = columnsOf(lines, { ...plain, logY: true });
          const said = (list) => list.map((v) => (v === undefined ? 'none' : v));
          return [columns[0], said(columns[1]), said(columns[3]), left,
            said(log.columns[3]), log.left];
        }""",
        script,
    )
    page.close()
    rows, part, whole, left, log, log_left = found
    assert rows == [1, 2, 3, 4, 5, 6, 7, 8]
    assert part == [0.1, 0.2, None, None, None, 0.6, 0.7, "none"]
    assert whole == [1, 1, 1, -1, 1, 1, 1, 1] and left == 0
    assert log == [1, 1, 1, None, 1, 1, 1, 1] and log_left == 1
