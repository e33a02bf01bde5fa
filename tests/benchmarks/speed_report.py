"""The numbers of the speed benchmark as a table: medians, paired ratios and what they are worth."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median
from typing import Any

PARTS = ("rollout", "logprob", "update", "optimizer")
"""Columns of seconds; rewards count as rest."""
OURS = "ours"


def bootstrap(values: Sequence[float], num: int = 4000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the median: the middle of the medians of resampled lists."""
    draw = random.Random(seed)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(num))
    return medians[int(0.025 * num)], medians[int(0.975 * num) - 1]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """How many times faster we are: median of the ratios of paired steps, with its interval."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    low, high = bootstrap(ratios)
    return {"pairs": len(ratios), "median": median(ratios), "low": low, "high": high}


def summary(side: dict[str, Any], num_tokens: int) -> dict[str, Any]:
    """Medians of a side's samples on one workload: seconds, completion tokens/s, peak memory."""
    samples = side["samples"]
    step_s = median(sample["step_s"] for sample in samples)
    parts = {part: median(s["parts"].get(part, 0.0) for s in samples) for part in PARTS}
    rest = (s["step_s"] - sum(s["parts"].get(part, 0.0) for part in PARTS) for s in samples)
    return {
        "step_s": step_s,
        **parts,
        "rest": median(rest),
        "tokens_per_s": num_tokens / step_s,
        "peak_gb": max(sample["peak_bytes"] for sample in samples) / 1e9,
        "first_step_s": side["setup_s"] + side["first_step_s"],
    }


def summarise(cell: dict[str, Any], ceilings: dict[str, float] | None) -> None:
    """Add to a cell (one model, one workload) what follows from its samples."""
    sides = cell["sides"]
    for side in sides.values():
        side["summary"] = summary(side, cell["num_tokens"])
        if ceilings and cell["work"]:
            _against(side["summary"], cell["work"], ceilings)
    if OURS not in sides:
        return
    ours = [sample["step_s"] for sample in sides[OURS]["samples"]]
    for name, side in sides.items():
        if name != OURS:
            theirs = [sample["step_s"] for sample in side["samples"]]
            side["speedup"] = ratio(ours, theirs)


def _against(summary: dict[str, Any], work: dict[str, float], ceilings: dict[str, float]) -> None:
    """Useful work per second of rollout and update, and its share of what the machine can do."""
    reached = work["decode_bytes"] / summary["rollout"] / 1e9
    summary["decode_gbs"], summary["decode_share"] = reached, reached / ceilings["copy_gbs"]
    reached = work["update_flops"] / summary["update"] / 1e12
    summary["update_tflops"] = reached
    summary["update_share"] = reached / ceilings["matmul_tflops"]


# --- Markdown -------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The whole report."""
    ceilings = result["ceilings"]
    titles = ["model", "lengths", "side", "s/step", "ours is faster (95 %)"]
    titles += [*(f"{part} s" for part in PARTS), "rest s", "tok/s", "peak GB", "first step s"]
    if ceilings:
        titles += ["decode GB/s", "update TFLOP/s"]
    lines = [_row(titles), _row(["---"] * len(titles))]
    for cell in result["cells"]:
        for name, side in cell["sides"].items():
            names = [cell["model"], cell["workload"], name]
            lines.append(_row(names + _cells(side, bool(ceilings))))
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items() if value)
    notes = [f"Machine: {machine}."]
    if ceilings:
        notes.append(
            f"Ceilings measured in this run: {ceilings['matmul_tflops']:.0f} TFLOP/s of bf16 "
            f"matrix products, {ceilings['copy_gbs']:.0f} GB/s of copies. GB/s and TFLOP/s above "
            "count useful work only, the same for all sides."
        )
    return "\n".join([*lines, "", *(f"- {note}" for note in notes + result["caveats"])]) + "\n"


def _cells(side: dict[str, Any], on_gpu: bool) -> list[str]:
    numbers, faster = side["summary"], side.get("speedup")
    cells = [f"{numbers['step_s']:.2f}", "—"]
    if faster:
        cells[1] = f"{faster['median']:.2f}x ({faster['low']:.2f}–{faster['high']:.2f})"
        cells[1] += f", {faster['pairs']} pairs"
    cells += [f"{numbers[part]:.3f}" for part in (*PARTS, "rest")]
    cells += [f"{numbers['tokens_per_s']:,.0f}"]
    cells += [f"{numbers['peak_gb']:.2f}", f"{numbers['first_step_s']:.1f}"]
    if on_gpu and "decode_gbs" in numbers:
        cells.append(f"{numbers['decode_gbs']:.0f} ({numbers['decode_share']:.0%})")
        cells.append(f"{numbers['update_tflops']:.0f} ({numbers['update_share']:.0%})")
    return cells


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
