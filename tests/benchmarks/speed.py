"""Seconds of a whole GRPO step, ours against TRL's `GRPOTrainer`, in pairs on the same machine.

    python tests/benchmarks/speed.py cpu OUT_DIR
    python tests/benchmarks/speed.py gpu OUT_DIR --models qwen2.5-0.5b --trl-path DIR

Writes OUT_DIR/speed.json (every sample) and OUT_DIR/speed.md (a table). Best on an otherwise idle
machine.

Each side is a process of its own that holds its trainer and does a step when it is told to, while
the others are blocked: A B A B … . Same checkpoint, prompts, group size, learning rate, seed and
reward; and the same length of every completion, which is checked. A step is everything between
two weights: prompts, rollout, rewards, log-probs, update, optimizer.

`--trl-path`: a folder that holds the package `trl` where it is not installed. It is pure Python: an
unpacked wheel does, on a machine without a network too.

`--baselines`: `trl_tuned`, `trl_default`, `trl_bf16_load` (see `speed_trl.py`), or settings of
GRPOConfig as JSON, to look for better ones: '{"per_device_train_batch_size": 64}'.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import speed_machine
import speed_models
import speed_roofline
import speed_trl
from speed_report import OURS, markdown, summarise
from speed_side import Job, Sample, serve
from speed_workloads import (
    CPU_MODELS,
    GPU_MODELS,
    WORKLOADS,
    Model,
    forced_lengths,
    recipe,
)

SPAWN = get_context("spawn")


class Side:
    """A trainer in its own process."""

    def __init__(self, module: str, job: Job) -> None:
        self.connection, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=serve, args=(other, module, job))
        started = time.perf_counter()
        self.process.start()
        other.close()
        self._receive()
        self.setup_s = time.perf_counter() - started
        self.first_step_s: float | None = None

    def step(self, lengths: tuple[int, ...]) -> Sample:
        """One step; the side is blocked again when this returns."""
        self.connection.send(lengths)
        sample = self._receive()
        if self.first_step_s is None:
            self.first_step_s = sample.step_s
        if sample.lengths != lengths:
            raise RuntimeError("the completions have other lengths than was asked for")
        self._receive()
        return sample

    def _receive(self) -> Any:
        try:
            kind, payload = self.connection.recv()
        except EOFError:
            raise RuntimeError("the process was killed, for want of memory perhaps") from None
        if kind == "error":
            raise RuntimeError(payload)
        return payload

    def close(self) -> None:
        """End the process."""
        if self.process.is_alive():
            self.connection.send(None)
        self.process.join(30)
        self.process.kill()


class Benchmark:
    """All cells, one for each model and workload, as far as the time goes."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.deadline = time.monotonic() + 60 * given.minutes
        on_gpu = given.machine == "gpu"
        self.result: dict[str, Any] = {
            "machine": in_process(speed_machine.facts),
            "ceilings": in_process(speed_roofline.ceilings) if on_gpu else None,
            "cells": [],
            "caveats": list(speed_machine.GPU_CAVEATS if on_gpu else speed_machine.CPU_CAVEATS),
        }

    def run(self, name: str, model: Model) -> None:
        """Both workloads of a model; its sides live through all of them."""
        home = self.folder / name
        home.mkdir(parents=True)
        path = in_process(speed_models.model_path, model, home / "model")
        workloads = self.given.workloads or model.workloads
        # one more than is wanted: a trainer that has done all of its steps does not answer
        num_steps = 1 + len(workloads) * (model.warmups + (self.given.pairs or model.pairs))
        values = recipe(model, path, home, num_steps)
        jobs = {OURS: ("speed_ours", Job(values, num_steps, str(home)))}
        for baseline in self.given.baselines or model.baselines:
            settings = speed_trl.settings(baseline, name)
            job = Job(values, num_steps, str(home), settings, self.given.trl_path)
            jobs[baseline] = ("speed_trl", job)
        cells = {workload: self._cell(name, model, workload) for workload in workloads}
        together = [list(jobs)] if model.alternate else [[side] for side in jobs]
        for names in together:
            self._session({side: jobs[side] for side in names}, model, cells)
        for cell in cells.values():
            self._finish(cell)

    def _cell(self, name: str, model: Model, workload: str) -> dict[str, Any]:
        lengths = forced_lengths(workload, model.prompts * model.group, model.tokens)
        return {
            "model": name,
            "workload": workload,
            "geometry": asdict(model),
            "lengths": lengths,
            "num_tokens": sum(lengths),
            "sides": {},
        }

    def _session(
        self, jobs: dict[str, tuple[str, Job]], model: Model, cells: dict[str, dict[str, Any]]
    ) -> None:
        """Start these sides, do all rounds with them and end them."""
        model_name = next(iter(cells.values()))["model"]
        sides: dict[str, Side] = {}
        for name, (module, job) in jobs.items():
            start = partial(Side, module, job)
            self._guard(model_name, name, sides, start, sides.__setitem__)
        for cell in cells.values():
            for name, side in sides.items():
                cell["sides"][name] = {
                    "settings": jobs[name][1].settings,
                    "setup_s": side.setup_s,
                    "warmups": [],
                    "samples": [],
                }
            pairs = self.given.pairs or model.pairs
            for index in range(model.warmups + pairs):
                if time.monotonic() > self.deadline:
                    break
                self._round(cell, sides, "warmups" if index < model.warmups else "samples")
        for side in sides.values():
            side.close()

    def _round(self, cell: dict[str, Any], sides: dict[str, Side], kind: str) -> None:
        """One step of each side."""
        where = f"{cell['model']}, {cell['workload']}"
        for name, side in list(sides.items()):
            keep = partial(self._keep, cell, side, kind)
            self._guard(where, name, sides, partial(side.step, cell["lengths"]), keep)

    def _keep(self, cell: dict[str, Any], side: Side, kind: str, name: str, sample: Sample) -> None:
        notes = cell["sides"][name]
        notes["first_step_s"] = side.first_step_s
        numbers = vars(sample) | {"prompts": zlib.crc32(repr(sample.prompts).encode())}
        notes[kind].append({k: v for k, v in numbers.items() if k != "lengths"})
        cell["prompts"] = [len(ids) for ids in sample.prompts]
        print(cell["model"], cell["workload"], name, kind, f"{sample.step_s:.2f} s", flush=True)

    def _guard(
        self,
        where: str,
        name: str,
        sides: dict[str, Side],
        work: Callable[[], Any],
        keep: Callable[[str, Any], None],
    ) -> None:
        """A side that fails, for want of memory perhaps, leaves; the report says why."""
        try:
            found = work()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            self.result["caveats"].append(f"{where}: {name} failed: {reason}")
            print(error, file=sys.stderr)
            if name in sides:
                sides.pop(name).close()
        else:
            keep(name, found)

    def _finish(self, cell: dict[str, Any]) -> None:
        cell["sides"] = {name: side for name, side in cell["sides"].items() if side["samples"]}
        where = f"{cell['model']}, {cell['workload']}"
        if not cell["sides"]:
            self.result["caveats"].append(
                f"{where}: left out, nothing was measured in the time given."
            )
            return
        for steps in zip(*(side["samples"] for side in cell["sides"].values()), strict=False):
            if len({step["prompts"] for step in steps}) > 1:
                raise RuntimeError(f"{where}: the sides did not see the same prompts")
        shape = cell["geometry"]["shape"]
        cell["work"] = None
        if self.result["ceilings"]:
            given = (shape, cell["prompts"], cell["lengths"])
            cell["work"] = {
                "decode_bytes": speed_roofline.decode_bytes(*given),
                "update_flops": speed_roofline.update_flops(*given),
            }
        summarise(cell, self.result["ceilings"])
        self.result["cells"].append(cell)
        self.write()

    def write(self) -> None:
        """Both files, with what there is so far."""
        out = self.given.out
        out.mkdir(parents=True, exist_ok=True)
        (out / "speed.json").write_text(json.dumps(self.result, indent=1), encoding="utf-8")
        (out / "speed.md").write_text(markdown(self.result), encoding="utf-8")


def in_process(function: Callable, *arguments: Any) -> Any:
    """The result of a function whose memory shall not be this process's."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("machine", choices=["cpu", "gpu"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", choices=[*CPU_MODELS, *GPU_MODELS])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--baselines", nargs="+")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--trl-path")
    parser.add_argument("--minutes", type=float, help="no round begins after this long")
    given = parser.parse_args()
    given.minutes = given.minutes or {"cpu": 9, "gpu": 7}[given.machine]
    models = CPU_MODELS if given.machine == "cpu" else GPU_MODELS
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(given, Path(folder))
        for name in given.models or models:
            benchmark.run(name, models[name])
        benchmark.write()
    print(markdown(benchmark.result))


if __name__ == "__main__":
    main()
