"""What `grpo-studio check` reports: versions, devices, the bundled model."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

from grpo_core.policy import model_folder

PACKAGES = ("grpo-studio", "torch", "transformers", "accelerate", "streamlit")


def facts() -> dict[str, Any]:
    """Versions and devices of this machine; needs no GPU."""
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    gpus = [f"{device.name}, {device.total_memory / 1e9:.0f} GB" for device in devices]
    return {
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": "; ".join(gpus) or "none (training runs on the CPU)",
        "sqlite": sqlite3.sqlite_version,
        "bundled_model": model_folder("bundled:tiny"),
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
