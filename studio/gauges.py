"""How busy the machine is on which the studio runs: processor, memory, disk, and GPUs where
NVIDIA's library is there.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import psutil

KEPT_S = 1.0
"""All tabs together ask the machine no more often."""
_lock = threading.Lock()
_busy_idle = (0.0, 0.0)
"""Seconds of all cores at the last look; psutil keeps its own a thread, and routes run in many."""
_known: tuple[float, dict[str, Any]] = (0.0, {})


def now(runs_dir: Path) -> dict[str, Any]:
    """`{host, cpu, cores, memory, disk, gpus}`; shares are 0..1, sizes are bytes as `[used, of]`
    (of the disk: `[free, of]`).
    """
    global _known
    with _lock:
        if time.monotonic() - _known[0] > KEPT_S or not _known[1]:
            _known = (time.monotonic(), _read(runs_dir))
        return _known[1]


def _read(runs_dir: Path) -> dict[str, Any]:
    memory = psutil.virtual_memory()
    try:
        disk = psutil.disk_usage(str(runs_dir if runs_dir.exists() else runs_dir.parent))
        free = [disk.free, disk.total]
    except OSError:
        free = None
    return {
        "cpu": _cpu(),
        "cores": psutil.cpu_count() or 1,
        "memory": [memory.total - memory.available, memory.total],
        "disk": free,
        "gpus": gpus(),
    }


def _cpu() -> float:
    """Share of all cores that was busy since the last look, at first since the machine began."""
    global _busy_idle
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # A guest's time is part of `user` already.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    busy = sum(times) - guests - idle
    more_busy, more_idle = busy - _busy_idle[0], idle - _busy_idle[1]
    _busy_idle = (busy, idle)
    return min(1.0, max(0.0, more_busy / max(more_busy + more_idle, 1e-9)))


@cache
def _library() -> Any:
    """NVIDIA's library, once it has found its driver; None where there is neither. Asked once: on a
    machine with GPUs it takes a while."""
    try:
        import pynvml  # noqa: PLC0415 - it loads the driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def gpus() -> list[dict[str, Any]]:
    """`name, busy (share), memory ([used, of] bytes), celsius, watts` of each GPU, what it does not
    tell is None; none without NVIDIA's driver.
    """
    nvml = _library()
    if nvml is None:
        return []
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return [_gpu(nvml, handle) for handle in handles]
    except nvml.NVMLError:
        return []


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    def ask(question: Any, *more: Any) -> Any:
        try:
            return question(handle, *more)
        except nvml.NVMLError:  # this GPU does not tell
            return None

    name, memory = ask(nvml.nvmlDeviceGetName), ask(nvml.nvmlDeviceGetMemoryInfo)
    rates, power = ask(nvml.nvmlDeviceGetUtilizationRates), ask(nvml.nvmlDeviceGetPowerUsage)
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name or "GPU"),
        "busy": rates.gpu / 100 if rates else None,
        "memory": [memory.used, memory.total] if memory else None,
        "celsius": ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        "watts": power / 1000 if power is not None else None,
    }
