"""Statistics of the page benchmark and its tables."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

RESAMPLES = 4000


def slope(xs: Sequence[float], ys: Sequence[float]) -> dict[str, float]:
    """Least squares: `{slope, error, first, last}`; `error` is the slope's standard error (NaN for
    fewer than three points)."""
    num, mean_x, mean_y = len(xs), sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    ends = {"first": ys[0], "last": ys[-1]}
    if num < 3 or not spread:
        return {"slope": math.nan, "error": math.nan, **ends}
    found = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - mean_y - found * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return {"slope": found, "error": math.sqrt(rest / (num - 2) / spread), **ends}


def paired_ratio(
    pairs: Sequence[tuple[float, float]], num: int = RESAMPLES, seed: int = 0
) -> dict[str, float]:
    """Geometric mean of B / A over pairs `(A, B)` with its 95 % interval, by resampling pairs."""
    logs = [math.log(b / a) for a, b in pairs]
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(logs, k=len(logs))) / len(logs) for _ in range(num))
    low, high = means[int(0.025 * num)], means[int(0.975 * num) - 1]
    middle = math.exp(sum(logs) / len(logs))
    return {"pairs": len(pairs), "ratio": middle, "low": math.exp(low), "high": math.exp(high)}


def table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns side by side; numbers to the right, with sensible digits."""
    texts = [list(titles), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in texts) for index in range(len(titles))]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if not math.isfinite(cell):
        return "—"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def report(result: dict[str, Any]) -> str:
    """All tables of what was measured."""
    writers = {
        "open": _open, "group": _group, "tick": _tick, "memory": _memory, "server": _server,
        "clients": _clients,
    }  # fmt: skip
    parts = [writer(result[name]) for name, writer in writers.items() if name in result]
    return "\n\n".join(parts)


def _open(found: dict[str, Any]) -> str:
    names = ("cold", "again", "switch", "cold_work", "switch_work")
    rows = [
        [page, *(values[name]["median"] for name in names)]
        for page, values in found["pages"].items()
    ]
    return "Opening, ms (medians)\n" + table(("page", *names), rows)


def _group(found: dict[str, Any]) -> str:
    names = ("ready", "work", "nodes", "nodes_all", "heap_mb")
    rows = [
        [what, *(float(found[what].get(name, math.nan)) for name in names)]
        for what in ("before", "group", "tokens")
        if what in found
    ]
    return "A group of 64 x 1,024 tokens, ms and sizes (medians)\n" + table(("state", *names), rows)


def _tick(found: dict[str, Any]) -> str:
    states = ("idle", "growing")
    names = [name for name in found["idle"] if name != "seconds"]
    rows = [[name, *(found[state][name] for state in states)] for name in names]
    return "Watching Live, ms of work a second\n" + table(("work", *states), rows)


def _memory(found: dict[str, Any]) -> str:
    names = ("first", "last", "slope", "error")
    slopes = found["slopes_per_hour"]
    rows = [[what, *(float(values[name]) for name in names)] for what, values in slopes.items()]
    minutes = 60 * found["hours"][-1]
    return f"Memory over {minutes:.0f} min; slope an hour\n" + table(("size", *names), rows)


def _server(found: dict[str, Any]) -> str:
    calls = [[name, c["cold_ms"], c["warm_ms"], c["rows"]] for name, c in found["calls"].items()]
    routes = [
        [name, r["status"], r["first_ms"], r["ms"], r["kb"], r["kb_sent"]]
        for name, r in found["routes"].items()
    ]
    scans = [
        f"  {name}: {line}"
        for name, call in found["calls"].items()
        for line in call["plan"]
        if line.startswith("SCAN") or "TEMP B-TREE" in line
    ]
    return "\n".join(
        [
            "Reads, ms", table(("call", "cold", "warm", "rows"), calls), "",
            "Routes", table(("route", "status", "first ms", "ms", "KB", "KB sent"), routes), "",
            "Whole tables, and sorting in memory", *scans,
        ]
    )  # fmt: skip


def _clients(found: dict[str, Any]) -> str:
    names = ("ratio", "low", "high", "pairs")
    rows = [[what, *(found[what][name] for name in names)] for what in ("per_token", "per_step")]
    work = [
        [what, found["without"][what], found["with"][what]]
        for what in ("server_cpu", "server_children_cpu", "replay_cpu", "steps", "requests")
    ]
    return "\n".join(
        [
            f"{found['num_clients']} clients: time of a step with them / without, 95 %",
            table(("seconds", *names), rows), "",
            "ms of work a second; numbers of all windows",
            table(("", "without", "with"), work),
        ]
    )  # fmt: skip
