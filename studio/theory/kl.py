"""A KL to a reference in the update: which gradient each estimator gives in each place, how noisy
its values are, and where learning comes to rest.

Shape letters: M samples, P parameters, A answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.theory import kl_fixed
from studio.theory.kl_fixed import Way
from studio.theory.kl_forms import (
    FORMS,
    completions,
    expected,
    setup,
    targets,
    trace,
    values,
)
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import Estimate, Verdict, mean_of

Floats = NDArray[np.float64]

NUM_COMPLETIONS, NUM_TOKENS = 20_000, 20_000
ROUNDING = 1e-13
"""Relative distance that is no more than rounding."""
SAME = 1e-9
"""Relative distance below which two exact gradients are the same."""


@dataclass(frozen=True)
class KnobsOfKl(Knobs):
    """Which estimate, where, and how far the policies are apart."""

    form: str = one_of("k3 in loss", FORMS, "Estimate and place")
    drift: float = number(
        0.7,
        0.1,
        2.0,
        "Distance from the reference",
        step=0.1,
        help="Standard deviation of the difference of the logits. Not in *Where learning rests*.",
    )
    moved: float = number(
        0.0,
        0.0,
        0.6,
        "Distance from the policy that sampled",
        step=0.1,
        help="0 for the first update on fresh samples. Only in *Where each points*.",
    )
    beta: float = number(
        0.2, 0.05, 1.0, "KL coefficient, β", step=0.05, help="Only in *Where learning rests*."
    )
    group_size: int = one_of(
        8,
        (2, 4, 8, 16, 32),
        "Group size, G",
        help="Its mean is taken off the rewards. Only in *Where learning rests*.",
    )

    @property
    def way(self) -> Way:
        """What the five answers are learned with."""
        return Way(self.form, self.beta, self.group_size)


@dataclass(frozen=True)
class ExactOfKl:
    """Distances are over the length of the gradient that is compared with."""

    off_whole: float
    """Of the form's expected gradient from that of KL(pi || pi_ref) of whole completions."""
    off_reverse: float
    """From that of the next token, KL(pi || pi_ref)."""
    off_forward: float
    """From that of the next token, KL(pi_ref || pi)."""
    plane: dict[str, tuple[float, float]]
    """Each form's gradient along that of the whole KL, and along what the other direction has
    beside it; 1 is the length of the first."""
    reverse: tuple[float, float]
    forward: tuple[float, float]
    trace: float
    kl: float
    """Of one token out of 16."""
    means: Floats
    sds: Floats
    rest: Floats
    """Where the five answers end."""
    wanted: Floats
    """Where reward minus beta times KL has its best."""
    force: float
    """On the best answer, halfway from the reference to what is wanted."""


def exact(knobs: KnobsOfKl) -> ExactOfKl:
    """All means, by summing over all completions and answers."""
    drift, moved, way = knobs.drift, knobs.moved, knobs.way
    aims = targets(drift, moved)
    mine_P = expected(knobs.form, drift, moved)
    axes_2P = _axes(drift, moved)
    means = {form: _on(axes_2P, expected(form, drift, moved)) for form in FORMS}
    token = values(drift)
    rest_A, wanted_A = kl_fixed.resting_point(way), kl_fixed.boltzmann(knobs.beta)
    return ExactOfKl(
        _off(mine_P, aims.whole_P),
        _off(mine_P, aims.reverse_P),
        _off(mine_P, aims.forward_P),
        means,
        _on(axes_2P, aims.reverse_P),
        _on(axes_2P, aims.forward_P),
        trace(knobs.form, drift, moved),
        float(token.mean_3[0]),
        token.mean_3,
        token.sd_3,
        rest_A,
        wanted_A,
        float(kl_fixed.expected_update(way, halfway(knobs.beta))[kl_fixed.BEST]),
    )


def halfway(beta: float) -> Floats:
    """The mean of the reference and the best policy: no answer is rarer than half as in the
    reference, so that samples see all of the force."""
    return np.asarray((kl_fixed.REFERENCE + kl_fixed.boltzmann(beta)) / 2)


def _axes(drift: float, moved: float) -> Floats:
    """Two orthogonal directions, scaled so that the whole gradient is 1 along the first."""
    aims = targets(drift, moved)
    length = float(np.linalg.norm(aims.whole_P))
    first_P = aims.whole_P / length
    beside_P = aims.forward_P - (aims.forward_P @ first_P) * first_P
    return np.stack([first_P, beside_P / np.linalg.norm(beside_P)]) / length


def _on(axes_2P: Floats, gradient_P: Floats) -> tuple[float, float]:
    first, second = axes_2P @ gradient_P
    return float(first), float(second)


def _off(gradient_P: Floats, aim_P: Floats) -> float:
    off = float(np.linalg.norm(gradient_P - aim_P) / np.linalg.norm(aim_P))
    return off if off > ROUNDING else 0.0


def total_variation(p_A: Floats, q_A: Floats) -> float:
    """Half the sum of the absolute differences."""
    return float(np.abs(p_A - q_A).sum()) / 2


# --- sampled --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundOfKl:
    """The same from samples."""

    plane: dict[str, tuple[Estimate, Estimate]]
    trace: Estimate
    means: tuple[Estimate, ...]
    sds: tuple[Estimate, ...]
    force: Estimate
    learned: tuple[Estimate, ...]
    """Shares of the five answers after 400 updates."""


def estimate(knobs: KnobsOfKl, seed: int) -> FoundOfKl:
    """Sample completions, tokens, and groups of the five answers."""
    drift, moved, way = knobs.drift, knobs.moved, knobs.way
    at, rng = setup(drift, moved), np.random.default_rng(seed)
    index_M = at.model.sample(at.old_P, (NUM_COMPLETIONS,), rng)
    axes_2P = _axes(drift, moved)
    plane = {}
    for form in FORMS:
        on_2N = axes_2P @ completions(form, drift, moved).T
        plane[form] = (mean_of(on_2N[0, index_M]), mean_of(on_2N[1, index_M]))
    mine_NP, mean_P = completions(knobs.form, drift, moved), expected(knobs.form, drift, moved)
    spread = mean_of(np.square(mine_NP - mean_P).sum(1)[index_M])
    means, sds = _values(drift, rng)
    force = kl_fixed.force_on_best(way, halfway(knobs.beta), rng)
    return FoundOfKl(plane, spread, means, sds, force, kl_fixed.learn(way, seed))


def _values(
    drift: float, rng: np.random.Generator
) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    """Mean and standard deviation of k1, k2 and k3 over sampled tokens."""
    token = values(drift)
    k_3M = token.k_3V[:, rng.choice(len(token.p_V), NUM_TOKENS, p=token.p_V)]
    sds = []
    for k_M, mean in zip(k_3M, token.mean_3, strict=True):
        variance = mean_of(np.square(k_M - mean))
        sd = float(np.sqrt(variance.value))
        sds.append(Estimate(sd, variance.se / (2 * sd), NUM_TOKENS))
    return tuple(mean_of(k_M) for k_M in k_3M), tuple(sds)


# --- what comes out -------------------------------------------------------------------------------


def verdict(knobs: KnobsOfKl, exact: ExactOfKl, found: FoundOfKl) -> Verdict:
    """Does the chosen form follow the gradient of the KL that the objective names?"""
    claim = (
        f"The expected gradient of *{knobs.form}* is that of "
        r"$\mathrm{KL}(\pi\Vert\pi_{ref})$ of whole completions."
    )
    wrong = []
    if not found.force.agrees(exact.force):
        wrong.append(f"the force is {found.force.value:.3g} instead of {exact.force:.3g}")
    for axis, each, value in zip(
        ("along", "beside"), found.plane[knobs.form], exact.plane[knobs.form], strict=True
    ):
        if not each.agrees(value):
            wrong.append(f"{axis} the KL's gradient it has {each.value:.3g} instead of {value:.3g}")
    if wrong:
        sentence = f"The sample contradicts the exact numbers of {knobs.form}: {'; '.join(wrong)}."
        return Verdict("fails", sentence.replace("-", "−"), RULE, claim)
    sentence = f"**{knobs.form}** {_follows(exact)} {_ends(knobs, exact)}"
    return Verdict("holds" if exact.off_whole < SAME else "differs", sentence, RULE, claim)


RULE = (
    r"*Does not hold* where one of the two sampled coordinates of the gradient in the first "
    r"figure, or the sampled force, is 3 standard errors or more from the exact one. Else *holds* "
    r"where the exact expected gradient is that of "
    r"$\mathrm{KL}(\pi\Vert\pi_{ref})$ of whole completions "
    r"(relative distance below $10^{-9}$), *not as often said* where it is anything else."
)


def _ends(knobs: KnobsOfKl, exact: ExactOfKl) -> str:
    if exact.rest.max() > 1 - 1e-6:
        reward = float(kl_fixed.REWARDS[exact.rest.argmax()])
        return (
            f"Learning ends on a single answer, worth {reward:.3f} where the best is worth "
            f"{kl_fixed.REWARDS.max():.3f}."
        )
    apart = total_variation(exact.rest, exact.wanted)
    return (
        f"Learning rests **{apart:.3f}** (total variation) from "
        rf"$\pi_{{ref}}e^{{R/\beta}}/Z$, the best policy for $\beta={knobs.beta:.2f}$."
    )


def _follows(exact: ExactOfKl) -> str:
    whole = r"$\nabla\mathrm{KL}(\pi\Vert\pi_{ref})$ of whole completions"
    off = f"{100 * exact.off_whole:.1f} %"
    if exact.off_whole < SAME:
        return f"follows {whole}, exactly."
    if exact.off_reverse < SAME:
        return (
            rf"follows $\nabla\mathrm{{KL}}(\pi\Vert\pi_{{ref}})$ of the next token, exactly; what "
            f"a token does to later ones is missing: {off} off {whole}."
        )
    if exact.off_forward < SAME:
        return (
            r"follows $\nabla\mathrm{KL}(\pi_{ref}\Vert\pi)$ of the next token, exactly: the other "
            f"direction, {off} off {whole}."
        )
    if abs(exact.off_whole - 1) < SAME and abs(exact.off_forward - 1) < SAME:
        return f"adds noise (trace {exact.trace:.2f}) and no expected gradient at all."
    return (
        f"follows none of the three: {off} off {whole}, {100 * exact.off_reverse:.1f} % off that "
        f"of the next token, {100 * exact.off_forward:.1f} % off the other direction."
    )
