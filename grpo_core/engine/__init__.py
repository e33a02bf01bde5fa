"""Sampling completions. An engine knows token ids, never text, rewards or tasks.

`make_engine` takes ours where it knows the architecture, else Hugging Face's `generate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grpo_core.records import Finish

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; `greedy` ignores temperature and top_p."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False


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

    def generate(
        self, prompts: list[list[int]], num: int, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`num` completions for each prompt; the same seed gives the same completions."""
        ...

    def refresh(self) -> None:
        """The policy's weights have changed."""
        ...


def make_engine(model: PreTrainedModel, eos_ids: list[int], choice: str = "auto") -> Engine:
    """The engine for `model`; `choice` is `auto`, `static` or `generate`.

    Raises ValueError if `static` is asked for an architecture it does not know.
    """
    # torch stays out of whoever imports this package for its data classes
    from grpo_core.engine.architecture import Architecture  # noqa: PLC0415
    from grpo_core.engine.hf import GenerateEngine  # noqa: PLC0415
    from grpo_core.engine.static import StaticEngine  # noqa: PLC0415

    architecture = None if choice == "generate" else Architecture.of(model)
    if architecture is not None:
        return StaticEngine(architecture, eos_ids)
    if choice == "static":
        raise ValueError(
            f"model.engine: static does not know {model.config.model_type!r}; use auto or generate"
        )
    return GenerateEngine(model, eos_ids)
