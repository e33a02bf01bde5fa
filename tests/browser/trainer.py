"""A process that behaves like the trainer, without a model: same command line, same files.

python trainer.py train RECIPE [--name N] [--runs-dir D] [--set key=value]…
python trainer.py resume RUN [--runs-dir D]
python trainer.py sample RUN --problems N --group-size G --seed S --out FILE [--runs-dir D]
python trainer.py evaluate …  which is the real command
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from browser.recorded import Recorder, write_status
from grpo_core import cli, rewards
from grpo_core.cli import find_recipe
from grpo_core.reader import RunReader
from grpo_core.recipe import load_recipe, to_yaml
from grpo_core.records import Event
from grpo_core.runs import Run, Status, create_run, find_run, free_name

SECONDS_PER_STEP = 0.15


def main() -> None:
    if sys.argv[1:2] == ["evaluate"]:
        cli.main()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["train", "resume", "sample"])
    parser.add_argument("what")
    parser.add_argument("--name")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[])
    for number in ("--problems", "--group-size", "--seed"):
        parser.add_argument(number, type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        if given.verb == "train":
            path = find_recipe(given.what)
            config = load_recipe(path, given.set)
            name = given.name or free_name(given.runs_dir, path.stem)
            run = create_run(given.runs_dir, name, to_yaml(config))
            train(run, Recorder(run), 0, config.num_steps)
        elif given.verb == "sample":
            sample(given)
        else:
            run = find_run(given.runs_dir, given.what)
            with RunReader(run.db_path) as reader:
                last = (reader.last_step() or 0) // 20 * 20
            config = load_recipe(run.config_path)
            # from the beginning, what was written before goes, the evaluation of step 0 included
            train(run, Recorder(run, truncate_after=last or -1), last, config.num_steps)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def sample(given: argparse.Namespace) -> None:
    """Completions of problems, as the real command writes them."""
    find_run(given.runs_dir, given.what)
    rows = [
        {
            "prompt": f"<|user|>{problem}?<|end|>", "completion": f"{problem} {other}",
            "completion_ids": [problem, other], "answer": str(problem), "question": f"{problem}?",
        }
        for problem in range(given.problems)
        for other in range(given.group_size)
    ]  # fmt: skip
    given.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


def train(run: Run, recorder: Recorder, step: int, num_steps: int) -> None:
    """Step until the end or until told to stop."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    status: Status = "running"
    write_status(run, status, step, num_steps)
    if step == 0:
        recorder.begin()
    while step < num_steps and not stopping:
        for command, file in run.take_commands():
            if command is None:
                continue
            if command.kind == "set_rewards":
                functions = rewards.from_dicts(command.args["functions"])
                recorder.set_rewards(step + 1, functions, command.id)
            else:
                words = {"pause": "paused", "continue": "running", "stop": "stopping"}
                status = words[command.kind]  # type: ignore[assignment]
                detail = {"status": status, "command_id": command.id}
                recorder.db.write_event(step, Event("status", detail))
            file.unlink()
        write_status(run, status, step, num_steps)
        if status == "stopping":
            break
        time.sleep(SECONDS_PER_STEP)
        if status == "running":
            step += 1
            recorder.step(step)
            print(f"step {step}/{num_steps}", flush=True)
    final: Status = "completed" if step >= num_steps else "stopped"
    recorder.db.close()
    write_status(run, final, step, num_steps)


if __name__ == "__main__":
    main()
