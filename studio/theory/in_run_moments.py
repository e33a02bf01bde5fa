"""What the law of a group's gradient needs of a prompt, from the completions of one stored group.

With h_ij = (R_i - R_j)(x_i - x_j) / 2, the kernel of the sample covariance, these are the means of
h_12 h_12, h_12 h_13 and h_12 h_34: every stored group gives an unbiased estimate of each.

Shape letters: M groups, G completions of a group, B blocks of a group, S completions of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from studio.theory.in_run_data import Floats


@dataclass(frozen=True, eq=False)
class Moments:
    """Unbiased estimates of the three means that the law needs, `(M,)` each."""

    same_M: Floats
    """of h_12 h_12"""
    touching_M: Floats
    """of h_12 h_13"""
    apart_M: Floats
    """of h_12 h_34, which is g^2"""
    covariance_M: Floats
    """of h_12, which is g: the gradient that the whole group estimates"""

    def law(self, size: float) -> Floats:
        """Variance of the leave-one-out gradient of `size` completions, for each group `(M,)`.

        Two of the S(S-1)/2 pairs are the same one, touch or are apart with the probabilities
        2/(S(S-1)), 4(S-2)/(S(S-1)) and (S-2)(S-3)/(S(S-1)) (Hoeffding 1948).
        """
        pairs = size * (size - 1)
        square_M = 2 * self.same_M + 4 * (size - 2) * self.touching_M
        square_M = (square_M + (size - 2) * (size - 3) * self.apart_M) / pairs
        return np.asarray(square_M - self.apart_M)

    @property
    def oracle_M(self) -> Floats:
        """E a^2 s^2 - g^2: what is divided by G."""
        return np.asarray(4 * (self.touching_M - self.apart_M))

    @property
    def kappa_M(self) -> Floats:
        """sigma^2 F + g^2: what is divided by G (G-1)."""
        return np.asarray(2 * self.same_M - 4 * self.touching_M + 2 * self.apart_M)


def moments_of(R_MG: Floats, x_MG: Floats) -> Moments:
    """From groups of 4 or more. Sums over all pairs, triples and quadruples of different
    completions, written with sums over single ones."""
    size = R_MG.shape[1]
    a_MG, x_MG = (v - v.mean(1, keepdims=True) for v in (R_MG, x_MG))
    product = (a_MG * x_MG).sum(1)
    rows_MG = (size * a_MG * x_MG + product[:, None]) / 2  # sum over j of h_ij
    squares = (
        size * np.square(a_MG * x_MG).sum(1) / 4
        + np.square(a_MG).sum(1) * np.square(x_MG).sum(1) / 4
        + product**2 / 2
    )  # sum over pairs of h^2
    total = rows_MG.sum(1) / 2
    touching = np.square(rows_MG).sum(1) - 2 * squares  # ordered pairs of pairs that share one
    rest = total**2 - squares - touching
    pairs = size * (size - 1) / 2
    return Moments(
        squares / pairs,
        touching / (2 * pairs * (size - 2)),
        rest / (pairs * (size - 2) * (size - 3) / 2),
        product / (size - 1),
    )


def gradient(R_MG: Floats, x_MG: Floats) -> Floats:
    """The leave-one-out gradient of each group: the sample covariance, `(M,)`."""
    a_MG = R_MG - R_MG.mean(-1, keepdims=True)
    return np.asarray((a_MG * x_MG).sum(-1) / (R_MG.shape[-1] - 1))


def among_blocks(R_MG: Floats, x_MG: Floats, size: int) -> Floats:
    """The variance among the gradients of a group's blocks of `size` neighbours, `(M,)`."""
    groups, whole = R_MG.shape
    num = whole // size
    R_MBS, x_MBS = (v[:, : num * size].reshape(groups, num, size) for v in (R_MG, x_MG))
    return np.asarray(gradient(R_MBS, x_MBS).var(1, ddof=1))


def block_sizes(size: int) -> list[int]:
    """Group sizes of which a group of `size` holds two or more: at most a dozen of them."""
    return sorted({round(float(one)) for one in np.geomspace(2, size // 2, 12)})
