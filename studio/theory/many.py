"""Many policies of one toy at once: training runs side by side, without a loop over them.

Shape letters: R runs, N completions, C prefixes, V tokens, M samples, T time; X = C V, one cell for
each token after each prefix.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studio.theory.toy import Floats, Ints, Toy, log_softmax


@lru_cache(maxsize=16)
def uses_NX(model: Toy) -> Floats:
    """1 where a completion takes a token after a prefix: its log-probability is a sum of cells."""
    uses = np.zeros((model.N, model.C * model.V))
    n, t = np.nonzero(model.mask_NT)
    uses[n, cells_NT(model)[n, t]] = 1.0
    return uses


def cells_NT(model: Toy) -> Ints:
    """The cell of each token of each completion (for all positions: no end-of-text)."""
    return model.prefix_NT * model.V + model.token_NT


def logp_RX(model: Toy, theta_RX: Floats) -> Floats:
    """Log-probability of each token after each prefix, of each run."""
    shape = (-1, model.C, model.V)
    return log_softmax(theta_RX.reshape(shape)).reshape(theta_RX.shape)


def pull_RX(model: Toy, weights_RX: Floats, logp_RX: Floats) -> Floats:
    """Sum over cells of weight times score: what an update adds to the logits.

    The score of a token is 1 at its cell and minus the probabilities at all of its prefix.
    """
    shape = (-1, model.C, model.V)
    weights, pi = weights_RX.reshape(shape), np.exp(logp_RX.reshape(shape))
    return np.asarray((weights - pi * weights.sum(-1, keepdims=True)).reshape(weights_RX.shape))


def pull_of_tokens(
    model: Toy, coefficient_RMT: Floats, cells_RMT: NDArray[np.int64], logp_RX: Floats
) -> Floats:
    """The same for sampled tokens, each with a coefficient of its own; adds them up."""
    runs, width = logp_RX.shape
    flat = (np.arange(runs)[:, None, None] * width + cells_RMT).ravel()
    weights = np.bincount(flat, coefficient_RMT.ravel(), runs * width).astype(np.float64)
    return pull_RX(model, weights.reshape(runs, width), logp_RX)
