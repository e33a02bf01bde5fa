"""The central limit theorem of a group: laws, bounds, recorded numbers, and samples."""

import dataclasses
import math

import numpy as np
import pytest

from grpo_core.advantages import PER_GROUP, assign
from grpo_core.config import RunConfig
from studio.theory import clt
from studio.theory.cards.clt import CARD
from studio.theory.clt import SIZES, KnobsOfClt, estimate, exact, verdict
from studio.theory.groups import advantages, all_groups
from studio.theory.knobs import knob_of
from studio.theory.plots import Palette
from studio.theory.sampled import Estimate
from studio.theory.toy import problem
from studio.theory.words import words

pytestmark = pytest.mark.slow  # twenty seconds all cards together: in CI

DEFAULT = KnobsOfClt()


@pytest.fixture(scope="module")
def default():
    return exact(DEFAULT), estimate(DEFAULT, 0)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("size", [2, 8, 256])
def test_the_variance_of_an_advantage_follows_its_formula(size, p):
    sigma2 = p * (1 - p)
    mean, loo, zscore = (
        clt.advantage_variance(size, p, name) for name in ("mean", "loo", "zscore")
    )
    assert mean == pytest.approx(sigma2 * (1 - 1 / size), rel=1e-10)
    assert loo == pytest.approx(sigma2 * size / (size - 1), rel=1e-10)
    without_delta = (1 - 1 / size) * (1 - p**size - (1 - p) ** size)
    assert without_delta * 0.99 < zscore < without_delta


@pytest.mark.parametrize("estimator", ["mean", "loo", "zscore"])
def test_the_variance_of_an_advantage_is_that_over_all_groups(estimator):
    p, size = 0.3, 5
    groups = all_groups(2, size)
    chance = p ** groups.sum(1) * (1 - p) ** (size - groups.sum(1))
    found = np.array(assign(groups.astype(float).tolist(), estimator))
    assert chance @ found[:, 2] == pytest.approx(0, abs=1e-15)
    expected = chance @ np.square(found[:, 2])
    assert clt.advantage_variance(size, p, estimator) == pytest.approx(expected, rel=1e-12)


def test_the_variance_of_the_advantage_rises_and_the_leave_one_out_one_falls_to_the_same():
    rising = [clt.advantage_variance(G, 0.1, "mean") for G in SIZES]
    falling = [clt.advantage_variance(G, 0.1, "loo") for G in SIZES]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)
    assert rising[0] == pytest.approx(0.045) and falling[0] == pytest.approx(0.18)
    assert rising[-1] == pytest.approx(0.09, rel=0.005)
    assert falling[-1] == pytest.approx(0.09, rel=0.005)


@pytest.mark.parametrize(("p", "expected"), [(0.5, 0.137), (0.05, 0.405), (0.02, 0.508)])
def test_the_recorded_distances_come_out(p, expected):
    assert clt.distance(8, p) == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(("size", "p"), [(2, 0.1), (8, 0.02), (64, 0.3), (256, 0.5)])
def test_the_distance_is_the_greatest_one_on_a_fine_grid(size, p):
    from scipy.stats import binom, norm

    sigma = math.sqrt(size * p * (1 - p))
    atoms = (np.arange(size + 1) - size * p) / sigma
    x = np.sort(np.concatenate([np.linspace(-6, 6, 20_001), atoms, atoms - 1e-9]))
    law = binom.cdf(np.floor(x * sigma + size * p + 1e-10), size, p)
    assert clt.distance(size, p) == pytest.approx(np.abs(law - norm.cdf(x)).max(), abs=1e-7)


def test_the_distance_is_between_its_bounds():
    for p in (0.02, 0.05, 0.2, 0.5, 0.9):
        for size in (1, 4, 8, 16, 64, 256):
            distance = clt.distance(size, p)
            assert clt.least(size, p) <= distance + 1e-12
            assert distance <= clt.bound(size, p)
    # the least sizes for which the bound promises 0.1, as the text says
    for p, size in {0.5: 23, 0.1: 169, 0.02: 1062}.items():
        assert clt.bound(size, p) <= 0.1 < clt.bound(size - 1, p)


def test_the_bound_uses_the_third_moment_of_a_coin():
    p, size = 0.3, 16
    third = 0.3 * 0.7**3 + 0.7 * 0.3**3
    assert clt.bound(size, p) == pytest.approx(0.4748 * third / 0.21**1.5 / 4, rel=1e-12)
    # the sharper form of the same paper is never above it: E|x|^3 is at least 1
    for each in (0.02, 0.3, 0.5):
        ratio = clt.bound(1, each) / clt.CONSTANT
        assert 0.33554 * (ratio + 0.415) <= clt.bound(1, each) * 1.0001


def test_the_normal_law_is_the_normal_law():
    from scipy.stats import norm

    x = np.linspace(-8, 8, 101)
    np.testing.assert_allclose(clt.normal(x), norm.cdf(x), rtol=1e-12)


def test_the_variance_of_the_gradient_holds_over_all_groups():
    model, theta, R = problem("binary", seed=2)
    score, a, length = clt.along(model, theta, R)
    p = model.p_N(theta)
    assert p @ (a * score) == pytest.approx(length, rel=1e-12)
    limit = p @ np.square(a * score) - length**2
    for size in (2, 3):
        index = all_groups(model.N, size)
        chance = p[index].prod(1)
        found = (advantages(R[index], "loo") * score[index]).mean(1)
        variance = chance @ np.square(found) - (chance @ found) ** 2
        expected = size * variance / limit
        assert clt.gradient_ratio(model, theta, R, size) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("size", "covered", "tolerance"),
    [(4, 0.906, 0.013), (16, 0.939, 0.011), (64, 0.947, 0.012), (256, 0.949, 0.018)],
)
def test_the_recorded_coverages_come_out(size, covered, tolerance):
    # both are samples: three standard errors of the difference
    off = clt.standardised(*problem(), size, 0)
    assert np.mean(np.abs(off) < 1.96) == pytest.approx(covered, abs=tolerance)
    ratio = clt.gradient_ratio(*problem(), size)
    assert np.mean(np.square(off)) == pytest.approx(ratio, rel=0.1)


def test_samples_agree_with_every_law(default):
    laws, found = default
    for at in range(len(SIZES)):
        assert found.advantage_S[at].agrees(laws.advantage_S[at])
        assert found.mean_S[at].agrees(laws.mean_S[at])
    assert found.flat.agrees(laws.flat)
    assert found.gradient.agrees(laws.gradient)
    from scipy.stats import binom

    for k, below in zip(clt.atoms(8, 0.1), found.below_A, strict=True):
        law = binom.cdf(k, 8, 0.1)
        assert abs(below.value - law) < 3.5 * math.sqrt(law * (1 - law) / below.num)
    # the advantage's variance is not that of a mean
    assert not found.advantage_S[2].agrees(laws.advantage_S[0] / 4)


def test_what_is_sampled_is_an_advantage_of_the_product():
    size = 6
    right, wrong = clt._advantages(size, "zscore")
    for k in range(1, size):
        R = np.array([1.0] * k + [0.0] * (size - k))
        expected = PER_GROUP["zscore"](R, R)
        assert right[k] == pytest.approx(expected[0], rel=1e-14)
        assert wrong[k] == pytest.approx(expected[-1], rel=1e-14)
    assert right[0] == right[size] == wrong[0] == wrong[size] == 0


@pytest.mark.parametrize("advantage", ["mean", "loo", "zscore"])
def test_the_claim_is_not_what_is_seen(advantage):
    knobs = dataclasses.replace(DEFAULT, advantage=advantage)
    said = verdict(knobs, exact(knobs), estimate(knobs, 0))
    assert said.kind == "differs"
    assert {"mean": "to 0.09 and", "loo": "to 0.09 and", "zscore": "to 1 and"}[
        advantage
    ] in said.sentence


def test_small_numbers_are_written_out():
    knobs = KnobsOfClt(p=0.02, group_size=256)
    said = verdict(knobs, exact(knobs), estimate(knobs, 0)).sentence
    assert "to 0.00007" in said and "e-" not in said


def test_the_verdict_can_come_out_otherwise(default):
    laws, found = default
    alone = dataclasses.replace(DEFAULT, group_size=2)
    said = verdict(alone, exact(alone), estimate(alone, 0))
    assert said.kind == "open" and "smallest group" in said.sentence
    assert "is 0.0450." in said.sentence
    wrong = dataclasses.replace(laws, mean_S=(0.09,) * len(SIZES))
    assert verdict(DEFAULT, wrong, found).kind == "fails"
    assert "group mean" in verdict(DEFAULT, wrong, found).sentence
    # an advantage whose variance did fall like a mean's
    as_mean = tuple(Estimate(0.09 / G, 1e-4, 1000) for G in SIZES)
    claimed = dataclasses.replace(laws, advantage_S=tuple(0.09 / G for G in SIZES))
    fallen = dataclasses.replace(found, advantage_S=as_mean)
    assert verdict(DEFAULT, claimed, fallen).kind == "holds"


def test_the_verdict_says_what_is_worked_out():
    """A sample may lie beyond the limit that the variance nears."""
    knobs = KnobsOfClt(group_size=256)
    said = verdict(knobs, exact(knobs), estimate(knobs, 0))
    assert "from 0.0450 to 0.0896, on its way to 0.09 and" in said.sentence
    assert "`mean`" in said.claim and "$1/G$" in said.claim


@pytest.mark.parametrize("wrong", [{"p": 0.0}, {"group_size": 3}, {"advantage": "gae"}])
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnobsOfClt(**wrong)


def settings():
    for each in dataclasses.fields(KnobsOfClt):
        knob = knob_of(each)
        for value in knob.options or (knob.low, knob.high):
            yield dataclasses.replace(DEFAULT, **{each.name: value})
    yield KnobsOfClt(p=0.02, group_size=2)
    yield KnobsOfClt(p=0.5, group_size=256, advantage="zscore")


@pytest.mark.parametrize("knobs", settings(), ids=str)
def test_every_drawing_is_finite_at_every_setting(knobs):
    laws, found = exact(knobs), estimate(knobs, 0)
    assert len(found.below_A) == len(clt.atoms(knobs.group_size, knobs.p)) <= 41
    for drawing in CARD.drawings:
        traces = drawing.draw(knobs, laws, found, Palette.of("light")).data
        assert len(traces) >= 3
        for trace in traces:
            assert 0 < len(trace.x) == len(trace.y) <= 400
            assert np.isfinite(np.array([*trace.x, *trace.y], float)).all()
    assert len(CARD.rows(knobs, laws, found)) == 8
    verdict(knobs, laws, found)


def test_the_staircase_is_the_law_of_the_group_mean(default):
    figure = CARD.drawings[1].draw(DEFAULT, *default, Palette.of("light"))
    stairs, sampled = figure.data[0], figure.data[2]
    assert stairs.line.shape == "hv" and stairs.y[0] == 0
    assert stairs.y[1] == pytest.approx(0.9**8) and stairs.x[1] == pytest.approx(-0.8 / 0.72**0.5)
    assert sampled.x[0] == pytest.approx(stairs.x[1])


def test_the_words_name_settings_that_exist():
    config = RunConfig().model_dump()
    text = words("clt")
    assert text.knobs
    for path in text.knobs:
        section, name = path.split(".")
        assert name in config[section]
    assert words("clt", "pt")["Claim"]
