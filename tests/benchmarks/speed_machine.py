"""The machine and the versions that the speed benchmark ran with, and what its numbers hide."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "accelerate", "trl")
FLAGS = ("amx_tile", "amx_bf16", "avx512_bf16", "avx512f", "avx2")

_COMMON = (
    "The weights are fp32 on all sides but `trl_bf16_load`, whose AdamW loses updates that are "
    "small beside a bf16 weight: faster, but not the same training.",
    "Our step holds a forward of the initial policy for the KL that is shown; TRL's has none.",
    "Lengths are forced on both sides by masking end tokens; the last token of every completion "
    "is an end token, at the cap too.",
    "The order of the sides in a round is fixed. The interval is a bootstrap of few pairs: it "
    "shows the spread within this run, not that between machines.",
)
CPU_CAVEATS = (
    *_COMMON,
    "Peak memory is that of the process since it began, reward workers not counted; a side that "
    "did both workloads has one peak.",
)
GPU_CAVEATS = (
    *_COMMON,
    "Random weights: speed only. Decode GB/s is over the whole rollout, tokenising included.",
    "The sides share the memory of the GPU, so that TRL's micro-batch is smaller than it could "
    "be alone; models with `alternate` off ran one side after the other instead.",
    "Every border between two timed parts waits for the GPU.",
)


def facts() -> dict[str, Any]:
    """Versions, processor with the instructions that matter, threads, GPU."""
    import torch

    model, flags = _processor()
    on_gpu = torch.cuda.is_available()
    return {
        "processor": model,
        "instructions": " ".join(flag for flag in FLAGS if flag in flags),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if on_gpu else "",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def _processor() -> tuple[str, set[str]]:
    """Name and flags; Linux tells, elsewhere only the kind is known."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor(), set()
    lines = info.read_text().splitlines()
    found = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)
    }
    return found.get("model name", platform.machine()), set(found.get("flags", "").split())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
