"""What each pass of an update saw of each token: exactly the numbers that its loss used.

Shape letters: K completion tokens of the step, C the channels below.
"""

from __future__ import annotations

import torch
from torch import Tensor

from grpo_core.team import Team

CHANNELS = ("logp", "old", "entropy", "advantage")


class Pass:
    """The numbers of some tokens of a step in one pass; `kept`: their flat indices, None for all
    of the K tokens that there are in `like`."""

    def __init__(self, like: Tensor, kept: Tensor | None = None) -> None:
        self.num = len(like) if kept is None else len(kept)
        # One more place, where all that is not kept goes: cheaper than choosing on a GPU.
        self._values = like.new_zeros(len(CHANNELS) + 1, self.num + 1)
        self._place_K: Tensor | None = None
        if kept is not None:
            self._place_K = torch.full((len(like),), self.num, device=like.device)
            self._place_K[kept] = torch.arange(self.num, device=like.device)

    def note(self, tokens: Tensor, *values_K: Tensor) -> None:
        """Keep the channels of `tokens` (flat indices); noting them again changes nothing."""
        seen = torch.ones_like(values_K[0])
        stacked = torch.stack([value.detach() for value in (*values_K, seen)])
        places = tokens if self._place_K is None else self._place_K[tokens]
        self._values[:, places] = stacked.to(self._values.dtype)

    @property
    def logp_K(self) -> Tensor:
        """Log-probs of this process's tokens, 0 for the others."""
        return self._values[0, : self.num]

    def whole(self, team: Team) -> tuple[Tensor, Tensor]:
        """`(C, K)` of all processes, 0 where no forward came, and `(K,)`, where one did (1.0)."""
        values = team.sum(self._values[:, : self.num].contiguous())
        return values[:-1], values[-1]


def only_seen(values_CK: Tensor, seen_K: Tensor) -> Tensor:
    """NaN in place of what no forward of the pass has looked at."""
    return torch.where(seen_K > 0, values_CK, torch.nan)
