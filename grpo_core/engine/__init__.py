"""Sampling completions. An engine knows token ids, never text, rewards or tasks.

`make_engine` takes ours where it knows the architecture, else the model's own modules where they
can be driven like that, else Hugging Face's `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grpo_core.records import Finish

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from grpo_core.engine.architecture import Architecture


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; `greedy` ignores temperature and top_p."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False
    forced_lengths: tuple[int, ...] | None = None
    """So many tokens for each completion, one prompt's after another's, the last of them an end
    token: for measuring speed. `generate` refuses it."""


@dataclass
class Completion:
    """Sampled token ids (the end token included) with their log-probabilities.

    `logp` is in nats under the temperature, before top-p: the number the trainer's forward gives.
    """

    ids: list[int]
    logp: list[float]
    finish: Finish


class Engine(Protocol):
    """What the rest of the core needs of a sampler."""

    name: str
    notice: str
    """One sentence for the user: why this is not the fastest way to sample; empty if it is."""

    rows_at_once: int | None
    """Most completions under way at a time, all where None; less after memory has run out."""

    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; the same seed gives the same completions."""
        ...

    def refresh(self) -> None:
        """The policy's weights have changed."""
        ...

    def release(self) -> None:
        """Give back memory that is kept only for the next call."""
        ...


def make_engine(model: PreTrainedModel, eos_ids: list[int], choice: str = "auto") -> Engine:
    """The engine for `model`; `choice` is `auto`, `static`, `modules` or `generate`.

    Raises ValueError if `static` or `modules` is asked for an architecture it cannot sample.
    """
    # torch stays out of whoever imports this package for its data classes
    from grpo_core.engine.architecture import Architecture  # noqa: PLC0415
    from grpo_core.engine.hf import GenerateEngine  # noqa: PLC0415
    from grpo_core.engine.modules import ModulesEngine  # noqa: PLC0415

    architecture = Architecture.of(model) if choice in ("auto", "static") else None
    if architecture is not None:
        return _our_engine(architecture, eos_ids)
    if choice == "static":
        raise ValueError(
            f"model.engine: static does not know {model.config.model_type!r}; use auto or generate"
        )
    modules = ModulesEngine.of(model, eos_ids) if choice in ("auto", "modules") else None
    if modules is not None:
        return modules
    if choice == "modules":
        raise ValueError(
            f"model.engine: modules cannot sample {model.config.model_type!r} as its own forward "
            "would; use auto or generate"
        )
    return GenerateEngine(model, eos_ids)


def _our_engine(architecture: Architecture, eos_ids: list[int]) -> Engine:
    """With graphs of fused kernels on a GPU where these say what plain torch says."""
    from grpo_core.engine import kernels  # noqa: PLC0415 torch stays out, as above
    from grpo_core.engine.graphs import GraphEngine  # noqa: PLC0415
    from grpo_core.engine.static import StaticEngine  # noqa: PLC0415

    plain = StaticEngine(architecture, eos_ids)
    if architecture.device.type != "cuda":
        return plain
    problem = "Triton is not installed"
    if kernels.available():
        ratio = architecture.num_heads // architecture.num_kv_heads
        trial = (architecture.device, architecture.dtype, architecture.head_size, ratio)
        problem = kernels.self_check(*trial) or ""
    if not problem:
        return GraphEngine(architecture, eos_ids)
    plain.notice = f"sampling goes without fused kernels, which is slower: {problem}"
    return plain
