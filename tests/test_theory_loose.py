"""What is often said loosely: every item is whole, and its number is worked out a second time here.

Without a test: item 19 (a race of minutes, see the experiment itself), item 22 (no number but the
31 of the statement).
"""

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.theory.groups import advantages
from studio.theory.listed import CARDS
from studio.theory.loose import HERE, VERDICTS, items, read
from studio.theory.toy import problem


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p)).sum(-1)


def shows(number: int, *values: str) -> None:
    """The values stand in the item's number, in this order."""
    seen, at = items()[number - 1].seen, 0
    for value in values:
        at = seen.find(value, at) + 1
        assert at > 0, f"item {number}: {value} is not in {seen!r}"


# --- the list ---


def test_there_are_22_items_with_every_field():
    assert len(items()) == 22
    for number, item in enumerate(items(), 1):
        for field in dataclasses.fields(item):
            value = getattr(item, field.name)
            if field.name not in ("card", "no_experiment"):
                assert value, (number, field.name)
            if isinstance(value, str):
                assert value == value.strip() and value.count("$") % 2 == 0, (number, field.name)
                assert "brief" not in value.lower(), (number, field.name)
        assert item.verdict in VERDICTS and item.card in (*CARDS, None)
        assert item.sources and all(source.text for source in item.sources), number
        assert {s.text for s in item.sources if s.url is None} <= {HERE}, number


def test_only_what_no_experiment_can_show_has_none_and_says_why():
    without = [number for number, item in enumerate(items(), 1) if item.card is None]
    reasons = [number for number, item in enumerate(items(), 1) if item.no_experiment]
    assert without == [20, 22] and reasons == [20, 21, 22]


def test_every_experiment_shows_something_but_one():
    # weights by attention are nowhere claimed: they are only asked for
    assert {item.card for item in items()} - {None} == set(CARDS) - {"attention"}
    assert {item.verdict for item in items()} == set(VERDICTS)


def test_english_and_portuguese_are_not_mixed_up():
    for number, item in enumerate(items(), 1):
        assert item.said != item.said_pt, number
        assert not set("áâãàçéêíóôõú") & set(item.said.lower()), number
        assert item.right.endswith("."), number


GOOD = """
- said: a
  said_pt: b
  verdict: loose
  right: c
  card: clt
  seen: "1"
  sources: [{text: worked out here, url: null}]
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("said: a", "said: ' '", "item 2: said is empty"),
        ("right: c", "right: 3", "item 2: right is empty or no str"),
        ("  right: c\n", "", "item 2: lacks right"),
        ("right: c", "right: c\n  left: d", "item 2: unknown left"),
        ("loose", "odd", "item 2: verdict 'odd'"),
        ("card: clt", "card: cltt", "item 2: there is no experiment 'cltt'"),
        ("card: clt", "card: null", "item 2: neither an experiment nor the reason"),
        ("[{text: worked out here, url: null}]", "[]", "item 2: sources is empty"),
        ("[{text: worked out here, url: null}]", "[here]", "item 2: a source has a text"),
        ("worked out here", "a paper", "item 2: the url None of 'a paper'"),
        ("url: null", "url: 'javascript:x'", "item 2: the url 'javascript:x'"),
        ("seen: ", "seen ", "loose.yaml: "),
    ],
)
def test_a_malformed_item_is_refused_with_file_and_number(
    tmp_path: Path, old: str, new: str, says: str
):
    path = tmp_path / "loose.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert len(read(path)) == 1
    assert old in GOOD
    path.write_text(GOOD + GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        read(path)
    assert says in str(refused.value) and "loose.yaml" in str(refused.value)


# --- the numbers ---


def test_1_sign_of_the_entropy_term():
    rng = np.random.default_rng(3)
    _, r = rng.normal(0, 1, 6), rng.random(6)
    ends = []
    for alpha in (0.1, 0.0, -0.1):
        z = np.zeros(6)
        for _ in range(400):
            p = softmax(z)
            last = entropy(p)
            z = z + p * (r - p @ r) - alpha * p * (np.log(p) + last)
        ends.append(f"{last:.3f}")
    shows(1, *ends)


def noise(size: int, steps: int, runs: int, seed: int) -> tuple[float, float]:
    """Mean entropy of eight outputs after learning from coin flips, and its standard error."""
    rng, z = np.random.default_rng(seed), np.zeros((runs, 8))
    for _ in range(steps):
        edges = softmax(z).cumsum(1)
        drawn = (rng.random((runs, size, 1)) > edges[:, None, :-1]).sum(2)
        A = (rng.random((runs, size)) < 0.5).astype(float)
        A -= A.mean(1, keepdims=True)
        for k in range(8):
            z[:, k] += (A * (drawn == k)).sum(1) / size
    left = entropy(softmax(z))
    return float(left.mean()), float(left.std(ddof=1) / math.sqrt(runs))


def test_2_and_3_noise_lowers_the_entropy():
    shows(2, f"{math.log(8):.3f}", "1.75")
    mean, se = noise(8, 200, 400, 5)
    # 1.746 with a standard error of 0.005 in a run of 2,000
    assert abs(mean - 1.746) < 3 * math.hypot(se, 0.005)
    shows(3, "2.079", "1.69", "1.92", "2.04")
    for size, said in ((2, 1.69), (8, 1.92), (32, 2.04)):
        mean, se = noise(size, 100, 300, 6)
        assert abs(mean - said) < 3 * se + 0.005


def test_2_the_first_step_from_uniform():
    # second-order law against all ways that coins and outputs can fall (G = 2, K = 2)
    eta, drops = 1e-3, []
    for outputs in itertools.product(range(2), repeat=2):
        for coins in itertools.product((0.0, 1.0), repeat=2):
            A = np.array(coins) - np.mean(coins)
            z = np.zeros(2)
            for output, advantage in zip(outputs, A, strict=True):
                z[output] += eta * advantage / 2
            drops.append(math.log(2) - entropy(softmax(z)))
    law = eta**2 * 0.25 * (2 - 1) * (2 - 1) / (2 * 2**2 * 2**2)
    assert np.mean(drops) == pytest.approx(law, rel=1e-4)


def test_4_a_mean_that_contains_the_output_itself():
    rng = np.random.default_rng(0)
    p, R = softmax(rng.normal(size=5)), rng.random(5)
    scores = np.eye(5) - p
    grad = (p * (R - p @ R)) @ scores
    for size, share in ((2, 1 / 2), (3, 2 / 3)):
        total = np.zeros(5)
        for group in itertools.product(range(5), repeat=size):
            A = R[list(group)] - R[list(group)].mean()
            total += p[list(group)].prod() * (A @ scores[list(group)]) / size
        assert total == pytest.approx(share * grad, abs=1e-15)
    shows(4, "1/2", "2/3")


def test_5_weight_of_a_prompt():
    p, found = 0.252, []
    for size in (2, 4, 8, 16):
        mean = 0.0
        for k in range(1, size):
            z = np.where(np.arange(size) < k, 1.0, 0.0)
            z = (z - z.mean()) / z.std()
            # score of a right output by the logit of being right: 1 - p, of a wrong one: -p
            step = (z * np.where(np.arange(size) < k, 1 - p, -p)).mean()
            mean += math.comb(size, k) * p**k * (1 - p) ** (size - k) * step
        found.append(f"{mean / (p * (1 - p)):.3f}")
    shows(5, "0.252", *found)


def test_6_long_wrong_outputs():
    length, right = np.array([1.0, 3.0, 2.0]), np.array([0.0, 0.0, 1.0])
    for factor, said in ((np.ones(3), "0.50"), (1 / length, "0.72")):
        z = np.array([0.0, 0.0, -1.0])
        for _ in range(200):
            p = softmax(z)
            gain = (right - p @ right) * factor
            z = z + 0.5 * p * (gain - p @ gain)
        p = softmax(z)
        assert f"{p[1] / (p[0] + p[1]):.2f}" == said
        shows(6, said)


def test_7_and_8_variances_by_summing_over_all_groups():
    for size in (2, 8):
        p = 0.5
        groups = np.array(list(itertools.product((0.0, 1.0), repeat=size)))
        weights = (p ** groups.sum(1)) * (1 - p) ** (size - groups.sum(1))
        means = groups.mean(1)
        variance = weights @ (groups[:, 0] - means) ** 2
        assert variance / (p * (1 - p)) == pytest.approx(1 - 1 / size, abs=1e-12)
        assert weights @ (means - p) ** 2 == pytest.approx(p * (1 - p) / size, abs=1e-12)
    shows(7, "0.5,", "0.875", f"{1 - 1 / 32:.3f}")
    shows(8, f"{math.sqrt(0.25 / 8):.2f}")


def test_9_and_10_gradients_of_the_kl():
    model, theta, _ = problem()
    assert np.abs(model.grad_kl_P(theta, theta)).max() == 0
    shows(9, "is 0")
    ref = theta + np.random.default_rng(4).normal(0, 0.7, model.P)
    p_N, scores_NTP = model.p_N(theta), model.scores_NTP(theta)
    log_NT = model.token_logp_NT(theta) - model.token_logp_NT(ref)
    full = (p_N * log_NT.sum(1)) @ scores_NTP.sum(1)
    tokens = np.einsum("n,nt,ntp->p", p_N, log_NT, scores_NTP)
    shows(10, f"{100 * np.linalg.norm(tokens - full) / np.linalg.norm(full):.0f} %")
    # the directions, for one next token: k2 gives KL(new || ref), k3 KL(ref || new), k1 nothing
    z, f = torch.tensor([0.3, -1.0, 0.8], requires_grad=True), torch.tensor([0.2, 0.5, 0.3])
    p = torch.softmax(z, 0)
    ell = torch.log(p / f)
    forms = {"k1": ell, "k2": ell**2 / 2, "k3": torch.exp(-ell) - 1 + ell}
    grads = {
        name: torch.autograd.grad((p.detach() * form).sum(), z, retain_graph=True)[0]
        for name, form in forms.items()
    }
    reverse = torch.autograd.grad((p * ell).sum(), z, retain_graph=True)[0]
    forward = torch.autograd.grad((f * -ell).sum(), z)[0]
    assert torch.allclose(grads["k1"], torch.zeros(3), atol=1e-6)
    assert torch.allclose(grads["k2"], reverse, atol=1e-6)
    assert torch.allclose(grads["k3"], forward, atol=1e-6)


def test_11_clipping_does_not_hold_the_ratio():
    model, theta, R_N = problem(scale=0.3)
    outside = []
    for seed in range(8):
        drawn = model.sample(theta, (8, 8), np.random.default_rng(seed))
        A = (R_N[drawn] - R_N[drawn].mean(1, keepdims=True)).reshape(-1, 1)
        old, now = model.token_logp_NT(theta)[drawn.ravel()], theta
        for _ in range(64):
            ratio = np.exp(model.token_logp_NT(now)[drawn.ravel()] - old)
            clipped = ((A > 0) & (ratio > 1.2)) | ((A < 0) & (ratio < 0.8))
            terms = np.where(clipped, 0.0, ratio * A)
            scores = model.scores_NTP(now)[drawn.ravel()]
            now = now + 5 * np.einsum("it,itp->p", terms, scores) / 64
        ratio = np.exp(model.token_logp_NT(now)[drawn.ravel()] - old)
        outside.append(np.mean((ratio < 0.8) | (ratio > 1.2)))
    shows(11, f"{100 * np.mean(outside):.0f} %")


def test_12_which_ratio_is_the_gradient_off_the_policy():
    model, old, R_N = problem()
    u = np.random.default_rng(7).normal(size=model.P)
    new = old + 4 * u / np.linalg.norm(u)
    far = np.abs(np.exp(model.logp_CV(new)) - np.exp(model.logp_CV(old))).sum(1).max() / 2
    p_N, A_N1 = model.p_N(old), (R_N - model.p_N(old) @ R_N)[:, None]
    ratio = np.exp(model.token_logp_NT(new) - model.token_logp_NT(old))
    clipped = ((A_N1 > 0) & (ratio > 1.2)) | ((A_N1 < 0) & (ratio < 0.8))
    whole = ratio.prod(1, keepdims=True) * np.ones_like(ratio)
    scores, truth = model.scores_NTP(new), model.grad_value_P(new, R_N)

    def cosine(weights: np.ndarray) -> float:
        mean = np.einsum("n,nt,ntp->p", p_N, weights * A_N1, scores)
        return float(mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth))

    assert cosine(whole) == pytest.approx(1, abs=1e-12)
    clipping = np.where(clipped, 0.0, ratio)
    shows(12, f"{far:.2f}", f"{cosine(ratio):.3f}", f"{cosine(clipping):.3f}", "1 with")


def test_13_the_surrogate_starts_at_nothing():
    rng = np.random.default_rng(0)
    for p in (0.01, 0.99):
        A_MG = advantages((rng.random((500, 8)) < p).astype(float), "mean")
        assert np.abs(A_MG).max() > 0.5
        # every ratio is 1: a token of an output adds its advantage, clipped or not
        assert np.abs((5 * A_MG).mean(1)).max() < 1e-12
        assert np.abs((rng.integers(1, 9, A_MG.shape) * A_MG).mean(1)).max() > 0.1
    shows(13, "one length", "is 0", "0.01", "0.99")


def test_14_the_gradient_through_clipping():
    model, theta, R_N = problem()
    rng = np.random.default_rng(2)
    drawn = model.sample(theta, (8,), rng)
    new = theta + rng.normal(0, 0.4, model.P)
    A = (R_N[drawn] - R_N[drawn].mean())[:, None]
    old = model.token_logp_NT(theta)[drawn]
    ratio = np.exp(model.token_logp_NT(new)[drawn] - old)
    clipped = ((A > 0) & (ratio > 1.2)) | ((A < 0) & (ratio < 0.8))
    worked = np.einsum("it,itp->p", np.where(clipped, 0, ratio * A), model.scores_NTP(new)[drawn])
    t = torch.tensor(new, requires_grad=True)
    logp = torch.log_softmax(t.view(model.C, model.V), -1)
    r = torch.exp(logp[model.prefix_NT[drawn], model.token_NT[drawn]] - torch.tensor(old))
    torch.minimum(r * torch.tensor(A), r.clamp(0.8, 1.2) * torch.tensor(A)).sum().backward()
    assert worked / 8 == pytest.approx(t.grad.numpy() / 8, abs=1e-16)
    shows(14, "10^{-16}", f"{clipped.sum()} of {clipped.size} tokens")


def test_15_groups_without_a_signal():
    shows(15, f"{100 * (0.05**8 + 0.95**8):.0f} %", "0.05", "8")


def test_16_the_price_of_not_knowing_the_value():
    model, theta, R_N = problem()
    p_N, S = model.p_N(theta), model.scores_NP(theta)
    a, g = R_N - p_N @ R_N, model.grad_value_P(theta, R_N)
    oracle = p_N @ (a**2 * (S**2).sum(1)) - g @ g
    price = (p_N @ a**2) * (p_N @ (S**2).sum(1)) + g @ g
    pairs = np.array(list(itertools.product(range(model.N), repeat=2)))
    i, j = pairs.T
    estimates = (R_N[i] - R_N[j])[:, None] * (S[i] - S[j]) / 2
    all_pairs = (p_N[i] * p_N[j]) @ (estimates**2).sum(1) - g @ g
    assert all_pairs == pytest.approx(oracle / 2 + price / 2, rel=1e-12)
    shows(16, *(f"{100 * price / (size - 1) / oracle:.0f} %" for size in (2, 8)))


def test_17_and_21_three_right_of_eight():
    R = np.array([1.0] * 3 + [0.0] * 5)
    own = R - R.mean()
    others = R - np.array([np.delete(R, i).mean() for i in range(8)])
    z = own / (R.std(ddof=1) + 1e-6)
    shows(17, *(f"{x:+.3f}".replace("-", "−") for x in (own[0], own[-1], others[0], others[-1])))
    shows(21, f"{own[0]:.3f}", f"{others[0]:.3f}", f"{z[0]:.3f}")


def test_18_a_constant_in_all_rewards():
    R = np.random.default_rng(0).random((200, 8))
    moved = R + 1000
    off = (moved - moved.mean(1, keepdims=True)) - (R - R.mean(1, keepdims=True))
    assert np.abs(off).max() < 1e-12
    shows(18, "1000", "10^{-12}")


def test_19_passes_of_an_iteration():
    # generation, one pass of the old policy, two epochs of a forward and a twofold backward pass
    ours = 1 + 1 + 3 * 2
    assert f"{ours} units" in items()[18].right
    assert f"instead of {ours + 1 + 3 * 2}," in items()[18].right


def test_20_gains():
    shows(20, *(f"{b - a:.1f}" for a, b in ((82.9, 88.2), (46.8, 51.7), (84.6, 88.8))))
