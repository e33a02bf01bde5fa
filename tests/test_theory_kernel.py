"""The kernel of the theory experiments against independent second methods."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from grpo_core.advantages import assign
from studio.theory import plots
from studio.theory import words as words_module
from studio.theory.groups import (
    ADVANTAGES,
    advantages,
    all_groups,
    expected_gradient,
    gradients,
)
from studio.theory.knobs import Knobs, knob_of, number, one_of
from studio.theory.sampled import Estimate, agreement, mean_of, variance_of
from studio.theory.toy import Toy, log_softmax, problem, toy
from studio.theory.words import PORTUGUESE, SECTIONS, words

# --- toy.py ---------------------------------------------------------------------------------------

EOS = [None, 0, 2]


def brute_force(model, theta):
    """Completions and their probabilities, token by token, from nothing but the logits."""
    logits = theta.reshape(model.C, model.V)
    found = {}
    for length in range(1, model.T + 1):
        for o in itertools.product(range(model.V), repeat=length):
            early = model.eos is not None and model.eos in o[:-1]
            ends = length == model.T or (model.eos is not None and o[-1] == model.eos)
            if ends and not early:
                rows = [logits[model.prefixes[o[:t]]] for t in range(length)]
                parts = [
                    math.exp(row[token]) / sum(math.exp(each) for each in row)
                    for row, token in zip(rows, o, strict=True)
                ]
                found[o] = parts
    return found


def slope(function, theta, step=1e-5):
    """Central differences in each direction."""
    out = np.zeros_like(theta)
    for i in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[i], down[i] = up[i] + step, down[i] - step
        out[i] = (function(up) - function(down)) / (2 * step)
    return out


def test_the_sizes_are_those_that_are_promised():
    model = Toy()
    assert (model.N, model.C, model.P) == (64, 21, 84)
    model = Toy(eos=0)
    assert (model.N, model.C, model.P) == (40, 13, 52)
    assert np.bincount(model.lengths_N).tolist() == [0, 1, 3, 36]


@pytest.mark.parametrize("eos", EOS)
def test_probabilities_are_products_of_softmaxes(eos):
    model, theta, R = problem(eos=eos)
    expected = brute_force(model, theta)
    assert set(model.completions) == set(expected)
    p = model.p_N(theta)
    assert p.sum() == pytest.approx(1, abs=1e-14)
    for n, o in enumerate(model.completions):
        assert p[n] == pytest.approx(math.prod(expected[o]), rel=1e-12)
        tokens = [*map(math.log, expected[o])] + [0.0] * (model.T - len(o))
        np.testing.assert_allclose(model.token_logp_NT(theta)[n], tokens, atol=1e-13)
    value = sum(math.prod(expected[o]) * R[n] for n, o in enumerate(model.completions))
    assert model.value(theta, R) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("eos", EOS)
def test_visits_and_prefix_values_are_sums_over_what_follows(eos):
    model, theta, R = problem("strategy", seed=1, eos=eos)
    p = model.p_N(theta)
    for prefix, c in model.prefixes.items():
        behind = [n for n, o in enumerate(model.completions) if o[: len(prefix)] == prefix]
        assert model.visits_C(theta)[c] == pytest.approx(p[behind].sum(), rel=1e-12)
        value = p[behind] @ R[behind] / p[behind].sum()
        assert model.prefix_value_C(theta, R)[c] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("eos", EOS)
def test_all_gradients_are_slopes(eos):
    model, theta, R = problem(seed=2, eos=eos)
    ref = np.random.default_rng(9).normal(size=model.P)
    pairs = [
        (lambda x: model.value(x, R), model.grad_value_P(theta, R)),
        (model.entropy, model.grad_entropy_P(theta)),
        (lambda x: model.kl(x, ref), model.grad_kl_P(theta, ref)),
    ]
    for function, gradient in pairs:
        np.testing.assert_allclose(gradient, slope(function, theta), atol=1e-9)
    for n in (0, model.N // 2, model.N - 1):
        expected = slope(lambda x, n=n: model.logp_N(x)[n], theta)
        np.testing.assert_allclose(model.scores_NP(theta)[n], expected, atol=1e-9)


@pytest.mark.parametrize("eos", EOS)
def test_entropy_and_kl_are_sums_over_completions(eos):
    model, theta, _ = problem(seed=3, eos=eos)
    ref = np.random.default_rng(1).normal(size=model.P)
    ours, theirs = brute_force(model, theta), brute_force(model, ref)
    p = {o: math.prod(parts) for o, parts in ours.items()}
    entropy = -sum(chance * math.log(chance) for chance in p.values())
    kl = sum(chance * math.log(chance / math.prod(theirs[o])) for o, chance in p.items())
    assert model.entropy(theta) == pytest.approx(entropy, rel=1e-12)
    assert model.kl(theta, ref) == pytest.approx(kl, rel=1e-12)
    assert model.kl(theta, theta) == 0
    np.testing.assert_allclose(model.grad_kl_P(theta, theta), 0, atol=1e-16)


def test_token_scores_have_mean_zero_after_every_prefix():
    model, theta, _ = problem(eos=0)
    scores, p = model.scores_NTP(theta), model.p_N(theta)
    assert not scores[model.mask_NT == 0].any()
    for t in range(model.T):
        for c in set(model.prefix_NT[model.mask_NT[:, t] > 0, t]):
            here = (model.prefix_NT[:, t] == c) & (model.mask_NT[:, t] > 0)
            np.testing.assert_allclose(p[here] @ scores[here, t], 0, atol=1e-15)


def test_samples_come_from_the_policy():
    from scipy.stats import chisquare

    model, theta, _ = problem(eos=0)
    index = model.sample(theta, (300, 100), np.random.default_rng(0))
    assert index.shape == (300, 100) and index.min() >= 0 and index.max() < model.N
    counts = np.bincount(index.ravel(), minlength=model.N)
    assert chisquare(counts, model.p_N(theta) * 30_000).pvalue > 0.001
    assert chisquare(counts, np.roll(model.p_N(theta), 1) * 30_000).pvalue < 1e-9


def test_a_softmax_far_out_is_finite():
    np.testing.assert_allclose(log_softmax(np.array([1e4, 0.0])), [0.0, -1e4])


def test_a_problem_is_the_same_for_the_same_seed():
    assert toy() is toy() and toy(eos=0) is not toy()
    for a, b in zip(problem(seed=4)[1:], problem(seed=4)[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(problem("binary")[2]) == {0.0, 1.0}
    with pytest.raises(KeyError):
        problem("other")


# --- groups.py ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ADVANTAGES)
@pytest.mark.parametrize("size", [2, 5])
def test_advantages_are_those_of_the_product(estimator, size):
    rng = np.random.default_rng(size)
    R = rng.normal(size=(200, size))
    R[:50] = rng.integers(2, size=(50, size))  # many of them flat
    R[50:60] = rng.normal(size=(10, 1)) + 1e-13 * rng.random((10, size))  # but for rounding
    expected = np.array(assign(R.tolist(), estimator), float)
    np.testing.assert_allclose(advantages(R, estimator), expected, atol=1e-13)
    if estimator != "none":
        assert not advantages(R, estimator)[50:60].any()


def test_the_options_of_the_zscore_are_used():
    R = np.array([[0.0, 0.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]])
    found = advantages(R, "zscore", delta=0.0, ddof=0)
    np.testing.assert_allclose(found, [[-1, -1, 1, 1], [0, 0, 0, 0]])
    with pytest.raises(KeyError):
        advantages(R, "gae")


@pytest.mark.parametrize("eos", [None, 0])
def test_group_gradients_are_those_of_a_plain_loop(eos):
    model, theta, _ = problem(eos=eos)
    rng = np.random.default_rng(0)
    index, scores = rng.integers(model.N, size=(30, 6)), model.scores_NP(theta)
    index[0] = 5  # six times the same one
    A = rng.normal(size=index.shape)
    expected = np.zeros((30, model.P))
    for m, i in itertools.product(range(30), range(6)):
        expected[m] += A[m, i] * scores[index[m, i]] / 6
    np.testing.assert_allclose(gradients(A, scores, index), expected, atol=1e-14)


@pytest.mark.parametrize("estimator", ADVANTAGES)
def test_the_expected_gradient_is_the_mean_over_all_groups(estimator):
    model = Toy(vocabulary=2, length=2)
    rng = np.random.default_rng(0)
    theta, R, size = rng.normal(size=model.P), rng.random(model.N), 3
    p, scores = model.p_N(theta), model.scores_NP(theta)
    expected = np.zeros(model.P)
    for group in itertools.product(range(model.N), repeat=size):
        A = assign([R[list(group)].tolist()], estimator)[0]
        for i, n in enumerate(group):
            expected += math.prod(p[list(group)]) * A[i] * scores[n] / size
    found = expected_gradient(p, R, scores, size, estimator)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    factor = {"mean": 1 - 1 / size, "loo": 1.0, "none": 1.0}.get(estimator)
    if factor is not None:
        np.testing.assert_allclose(found, factor * model.grad_value_P(theta, R), atol=1e-14)


def test_options_reach_the_expected_gradient():
    model, theta, R = problem("binary")
    p, scores = model.p_N(theta), model.scores_NP(theta)
    found = expected_gradient(p, R, scores, 2, "zscore", delta=0.0, ddof=0)
    np.testing.assert_allclose(found, model.grad_value_P(theta, R), atol=1e-14)  # w_2 = 1


def test_all_groups_are_there_once():
    found = all_groups(3, 2)
    assert found.tolist() == [[a, b] for a in range(3) for b in range(3)]


# --- sampled.py -----------------------------------------------------------------------------------


def test_mean_and_variance_by_hand():
    found = mean_of(np.array([1.0, 2.0, 3.0, 6.0]))
    assert (found.value, found.num) == (3.0, 4)
    assert found.se == pytest.approx(math.sqrt(14 / 3) / 2)
    assert found.band == pytest.approx((3 - 1.96 * found.se, 3 + 1.96 * found.se))
    assert found.z(3 + 2 * found.se) == pytest.approx(-2)
    spread = variance_of(np.array([1.0, 2.0, 3.0, 6.0]), 2.0)
    assert spread.value == pytest.approx(4.5)  # of 1, 0, 1, 16
    assert spread.se == pytest.approx(math.sqrt(177 / 3) / 2)


def test_three_standard_errors_are_the_border():
    found = Estimate(0.0, 1.0, 10)
    assert found.agrees(2.99) and found.agrees(-2.99)
    assert not found.agrees(3.01) and not found.agrees(-3.01)


def test_what_does_not_vary_agrees_only_with_itself():
    fixed = Estimate(2.0, 0.0, 10)
    assert fixed.agrees(2.0) and fixed.agrees(2.0 + 1e-13)
    assert fixed.z(1.0) == math.inf and fixed.z(3.0) == -math.inf
    assert not fixed.agrees(1.0)


def test_a_band_holds_the_truth_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(1, 2, size=(2000, 400))
    bands = [mean_of(row).band for row in samples]
    held = np.mean([low < 1 < high for low, high in bands])
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))
    low, high = np.transpose([variance_of(row, 1.0).band for row in samples])
    held = np.mean((low < 4) & (high > 4))
    assert held == pytest.approx(0.945, abs=0.015)  # squares are skewed: a little less


@pytest.mark.parametrize("seed", range(5))
def test_known_gaussians_agree_and_shifted_ones_do_not(seed):
    rng = np.random.default_rng(seed)
    truth, mixing = rng.normal(size=6), np.eye(6) + 0.2 * rng.normal(size=(6, 6))
    noise = rng.normal(size=(4000, 6)) @ mixing
    found = agreement(truth + noise, truth)
    assert found.holds and found.num_directions == 6
    sideways = np.linalg.svd(truth[None])[2][-1]  # the projection cannot see it
    shifted = agreement(truth + noise + 0.5 * sideways, truth)
    assert not shifted.holds and shifted.z_chi2 > 4
    longer = agreement(1.5 * truth + 0.1 * noise, truth)
    assert not longer.holds and not longer.ratio.agrees(1.0)


def test_agreement_by_hand():
    samples = np.array([[1.0, 1.0], [3.0, -1.0], [2.0, 2.0], [2.0, -2.0]])  # mean 2, 0
    found = agreement(samples, np.array([2.0, 0.0]))
    assert (found.ratio.value, found.cosine, found.relative_error) == (1.0, 1.0, 0.0)
    assert found.chi2 == pytest.approx(0.0)
    off = agreement(samples, np.array([2.0, 1.0]))
    assert off.cosine == pytest.approx(2 / math.sqrt(5))
    assert off.relative_error == pytest.approx(1 / math.sqrt(5))
    # covariance of the mean: [[1/6, -1/6], [-1/6, 5/6]]; its inverse at (0, 1) is 3/2, and of 4
    # samples 2 directions are judged: times (4 - 2) / (4 - 1)
    assert off.chi2 == pytest.approx(1.0)
    assert off.z_chi2 == pytest.approx(-0.5)


def test_rare_directions_raise_no_alarm():
    """One sample in two thousand goes far: its direction's variance is not known."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        samples = rng.normal(size=(1000, 12))
        samples[:, 6:] = 3 * (rng.random((1000, 6)) < 5e-4)
        truth = np.r_[np.zeros(6), np.full(6, 1.5e-3)] + np.eye(12)[0]
        alarms += not agreement(samples + np.eye(12)[0], truth).holds
    assert alarms <= 4  # 0.3 % and a little more, of 200


def test_directions_without_variance_are_left_out():
    rng = np.random.default_rng(0)
    samples = 1 + rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 30))
    found = agreement(samples, np.ones(30))
    assert found.num_directions == 6 and found.holds


# --- knobs.py -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Some(Knobs):
    """For the tests."""

    size: int = number(8, 2, 32, "Size", step=2, help="Even.")
    share: float = number(0.5, 0.0, 1.0, "Share", step=0.1)
    kind: str = one_of("a", ("a", "b"), "Kind")
    on: bool = one_of(False, (False, True), "On")


def test_settings_within_bounds_are_taken():
    some = Some(size=32, share=0.0, kind="b", on=True)
    assert hash(some) == hash(Some(32, 0.0, "b", True)) and some != Some()
    with pytest.raises(dataclasses.FrozenInstanceError):
        some.size = 4
    knob = knob_of(dataclasses.fields(Some)[0])
    assert (knob.label, knob.low, knob.high, knob.step, knob.help) == ("Size", 2, 32, 2, "Even.")
    assert knob_of(dataclasses.fields(Some)[2]).options == ("a", "b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 1}, {"size": 33}, {"size": 8.0}, {"size": "8"}, {"share": -0.1},
        {"share": math.nan}, {"share": math.inf}, {"share": 1}, {"kind": "c"}, {"kind": None},
        {"on": "yes"}, {"on": 1},
    ],
)  # fmt: skip
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Some(**wrong)


# --- words.py -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(words_module, "TEXTS", tmp_path)
    words.cache_clear()
    (tmp_path / "pt").mkdir()
    yield tmp_path
    words.cache_clear()


def text_of(headings, title="# A title"):
    return title + "\n\n" + "\n\n".join(f"## {name}\n\nOf {name}.\n\n### Part" for name in headings)


def test_words_are_read_by_heading(folder):
    body = text_of(SECTIONS).replace("Of Knobs.\n\n### Part", "- `rollout.group_size`\n- `seed`")
    (folder / "one.md").write_text(body, encoding="utf-8")
    (folder / "pt" / "one.md").write_text(text_of(PORTUGUESE, "# Título"), encoding="utf-8")
    found = words("one")
    assert found.title == "A title" and found["Claim"] == "Of Claim.\n\n### Part"
    assert found.knobs == ["rollout.group_size", "seed"]
    assert words("one", "pt").title == "Título"


@pytest.mark.parametrize(
    "text",
    [
        text_of(SECTIONS[:-1]),
        text_of((*SECTIONS, "More")),
        text_of(reversed(SECTIONS)),
        text_of(SECTIONS, "A title"),
        text_of(SECTIONS).replace("Of Limits.\n\n### Part", ""),
        text_of(PORTUGUESE),
        "",
    ],
)
def test_malformed_words_are_refused(folder, text):
    (folder / "one.md").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.md"):
        words("one")


def test_a_card_without_words_is_an_error(folder):
    with pytest.raises(OSError, match="none"):
        words("none")


# --- plots.py -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["light", "dark", None])
def test_the_colours_of_a_theme_are_all_different(kind):
    colors = dataclasses.astuple(plots.Palette.of(kind))
    assert len(set(colors)) == 7
    assert all(len(color) == 7 and color.startswith("#") for color in colors)


def test_the_parts_of_a_figure():
    drawn = plots.figure("group size G", "variance", log_x=True)
    assert (drawn.layout.xaxis.type, drawn.layout.yaxis.type) == ("log", None)
    assert drawn.layout.xaxis.title.text == "group size G" and drawn.layout.title.text is None
    plots.line(drawn, np.array([1.0, 2.0]), [3.0, 4.0], "law", "#000000", "dash")
    plots.points(drawn, [1.0], [Estimate(3.0, 0.5, 9)], "sampled", "#ff0000")
    plots.ribbon(drawn, [1, 2], [3, 4], [2, 3], [4, 5], "runs", "#0080ff")
    plots.bars(drawn, ["a", "b"], [Estimate(1.0, 0.25, 9), 2.0], "both", "#00ff00")
    plots.bars(drawn, ["a"], [2.0], "exact", "#00ff00")
    law, sampled, band, middle, both, bare = drawn.data
    assert list(law.x) == [1, 2] and law.line.dash == "dash" and law.mode == "lines"
    assert list(sampled.error_y.array) == pytest.approx([0.98]) and sampled.mode == "markers"
    assert list(band.x) == [1, 2, 2, 1] and list(band.y) == [4, 5, 3, 2]
    assert band.fillcolor == "rgba(0,128,255,0.18)" and not band.showlegend
    assert list(middle.y) == [3, 4] and middle.name == "runs"
    assert list(both.y) == [1, 2] and list(both.error_y.array) == pytest.approx([0.49, 0])
    assert both.error_y.visible and not bare.error_y.visible
