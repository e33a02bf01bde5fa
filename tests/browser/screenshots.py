"""Pictures of the eight pages, light and dark, of a folder of runs: for the README.

python tests/browser/screenshots.py RUNS_DIR RUN STEP [TARGET]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import sync_playwright

from browser.harness import CHROMIUM, FLAGS, Studio, Tab

ASSETS = Path(__file__).parents[2] / "assets" / "screenshots"
SIZE = {"width": 1440, "height": 900}
MAX_BYTES = 300_000


def main(runs_dir: Path, run: str, step: str, only: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = Studio(Path(folder))
        studio.runs_dir = runs_dir.resolve()
        studio.cwd = studio.runs_dir.parent
        studio.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme in ("light", "dark"):
            tab = Tab(browser, studio, scheme).enter()
            tab.page.set_viewport_size(SIZE)
            for name, page in pages(run, step).items():
                if only and name not in only:
                    continue
                tab.go(page["path"])
                tab.page.wait_for_selector(page["ready"])
                page.get("then", lambda _: None)(tab.page)
                tab.page.wait_for_timeout(2500)
                file = ASSETS / f"{name}_{scheme}.png"
                tab.page.screenshot(path=file)
                assert file.stat().st_size < MAX_BYTES, file
            tab.close()
        browser.close()
        studio.kill()


def pages(run: str, step: str) -> dict[str, dict[str, Any]]:
    """Where each picture is taken."""

    def try_it(page: Any) -> None:
        page.get_by_role("button", name="Try it").click()
        page.get_by_text("completions scored").wait_for()
        page.mouse.move(0, 0)

    def show_experiment(page: Any) -> None:
        badge = page.get_by_text("Rule:").first
        badge.evaluate("element => element.scrollIntoView({block: 'end'})")

    return {
        "runs": {"path": "", "ready": "button.name"},
        "new_run": {"path": "new", "ready": "text=Start the run"},
        "live": {"path": f"live?run={run}", "ready": ".tile"},
        "inspector": {
            "path": f"inspector?run={run}&step={step}&completion=2&at=6&color=entropy&row=gspo",
            "ready": ".formula .line",
        },
        "reward_lab": {
            "path": f"lab?run={run}&step={step}",
            "ready": ".cm-content",
            "then": try_it,
        },
        "evaluate": {"path": "evaluate", "ready": "[role=tab][aria-selected=true]"},
        "compare": {"path": "compare", "ready": "[aria-label=Curves] .u-over"},
        "theory": {
            "path": "theory?card=group_size",
            "ready": ".js-plotly-plot .main-svg",
            "then": show_experiment,
        },
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
