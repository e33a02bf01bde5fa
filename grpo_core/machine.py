"""What `grpo-studio check` reports: versions, devices, the bundled model."""

from __future__ import annotations

import ctypes
import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

from grpo_core.policy import model_folder
from grpo_core.sandbox_probe import probe

PACKAGES = ("grpo-studio", "torch", "transformers", "accelerate", "peft", "streamlit")


def facts() -> dict[str, Any]:
    """Versions and devices of this machine; needs no GPU."""
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    gpus = [f"{device.name}, {device.total_memory / 1e9:.0f} GB" for device in devices]
    return {
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "bf16": "fast" if has_bf16() else "not supported (training runs in fp32)",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": "; ".join(gpus) or "none (training runs on the CPU)",
        "sqlite": sqlite3.sqlite_version,
        "sandbox": probe().sentence,
        "bundled_model": model_folder("bundled:tiny"),
        **{package: _version(package) for package in PACKAGES},
    }


def has_bf16() -> bool:
    """Whether products of bf16 matrices are fast here: any supported GPU, or a CPU with AVX-512
    BF16 or AMX. Others only imitate them."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def keep_freed_memory() -> None:
    """Let glibc keep what tensors give back. Every operation on a CPU makes and frees some
    megabytes, and pages that go back to the system are cleared anew: 7 % of an update, measured.
    Nothing happens with other C libraries."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(mmap_threshold, 32 << 20)  # the most it takes
    mallopt(trim_threshold, 1 << 30)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
