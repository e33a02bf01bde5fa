"""Every estimator that claims to be unbiased, on a policy that can be enumerated.

The policy writes up to three tokens over {a, b, end} from a table of logits: 7 prefixes, 21
parameters, 15 texts. The exact gradient is a finite sum. The product's gradient (advantages, then
`policy_loss`) is averaged over 20,000 sampled groups and must agree within 3 standard errors along
the exact gradient, and in all directions together (chi-square within 4 sigma).
"""

import itertools

import numpy as np
import pytest
import torch

from grpo_core import advantages
from grpo_core.credit import prefix_similarity
from grpo_core.critic import gae
from grpo_core.losses import KL_ESTIMATORS, Objective, policy_loss, token_weights

END, LONGEST, NUM_GROUPS = 2, 3, 20_000
PREFIXES = [p for n in range(LONGEST) for p in itertools.product((0, 1), repeat=n)]
INDEX = {prefix: i for i, prefix in enumerate(PREFIXES)}
PARAMETERS = len(PREFIXES) * 3


def _texts(prefix=()):
    for token in range(3):
        text = (*prefix, token)
        if token == END or len(text) == LONGEST:
            yield text
        else:
            yield from _texts(text)


class Toy:
    """All quantities by enumeration, from their definitions."""

    def __init__(self, seed=3):
        rng = np.random.default_rng(seed)
        self.texts = list(_texts())
        self.logits = rng.normal(0, 0.7, (len(PREFIXES), 3))
        self.table = _softmax(self.logits)
        self.ref = _softmax(rng.normal(0, 0.7, (len(PREFIXES), 3)))
        self.probability = np.array([self.chance(t, self.table) for t in self.texts])
        # a reward with sign, scale and offset, so that a baseline matters
        self.reward = rng.normal(1.0, 1.0, len(self.texts))
        self.lengths = np.array([len(t) for t in self.texts])
        self.value = {p: self._value(p) for p in PREFIXES}
        self.guess = {p: rng.normal() for p in PREFIXES}
        self.features = {p: torch.tensor(rng.normal(size=5)) for p in PREFIXES}

    @staticmethod
    def chance(text, table):
        return np.prod([table[INDEX[text[:t]], token] for t, token in enumerate(text)])

    def _value(self, prefix):
        inside = [i for i, t in enumerate(self.texts) if t[: len(prefix)] == prefix]
        weights = self.probability[inside]
        return float(weights @ self.reward[inside] / weights.sum())

    def score(self, prefix, token):
        """d log pi(token | prefix) / d logits, flat."""
        score = np.zeros((len(PREFIXES), 3))
        score[INDEX[prefix]] = -self.table[INDEX[prefix]]
        score[INDEX[prefix], token] += 1
        return score.ravel()

    def text_score(self, text):
        return sum(self.score(text[:t], token) for t, token in enumerate(text))

    def gradient(self, values):
        """of the expectation of a fixed number for each text."""
        terms = zip(self.probability, values, self.texts, strict=True)
        return sum(p * v * self.text_score(text) for p, v, text in terms)

    def sequence_kl(self):
        """log pi - log ref of each text."""
        return np.log([self.chance(t, self.table) / self.chance(t, self.ref) for t in self.texts])

    def token_kl_gradient(self):
        """sum over prefixes of d(prefix) * grad KL(pi || ref) of the next token, d held fixed."""
        total = np.zeros(PARAMETERS)
        for prefix in PREFIXES:
            row, ref = self.table[INDEX[prefix]], self.ref[INDEX[prefix]]
            reach = sum(
                p
                for p, text in zip(self.probability, self.texts, strict=True)
                if text[: len(prefix)] == prefix and len(text) > len(prefix)
            )
            log_ratio = np.log(row / ref)
            for token in range(3):
                term = reach * row[token] * log_ratio[token]
                total += term * self.score(prefix, token)
        return total


def _softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


TOY = Toy()


class Sample:
    """20,000 groups of texts as flat tokens."""

    def __init__(self, group_size, seed):
        rng = np.random.default_rng(seed)
        shape = (NUM_GROUPS, group_size)
        self.chosen = rng.choice(len(TOY.texts), size=shape, p=TOY.probability)
        flat = self.chosen.ravel()
        self.rewards_PG = TOY.reward[self.chosen].tolist()
        self.lengths_PG = TOY.lengths[self.chosen].tolist()
        self.lengths = TOY.lengths[flat].tolist()
        self.sequence = torch.tensor(np.repeat(np.arange(len(flat)), self.lengths))
        self.group_K = torch.div(self.sequence, group_size, rounding_mode="floor")
        self.steps = [TOY.texts[i][:t] for i in flat for t in range(len(TOY.texts[i]))]
        self.tokens = [token for i in flat for token in TOY.texts[i]]
        keys = list(zip(self.steps, self.tokens, strict=True))
        kinds = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        self.kind_K = torch.tensor([kinds[key] for key in keys])
        self.scores = torch.tensor(np.array([TOY.score(*key) for key in kinds]))
        self.logp = self._log(TOY.table)
        self.ref = self._log(TOY.ref)
        weights = token_weights(torch.tensor(self.lengths).double(), "seq_sum")
        self.weight_K = weights[self.sequence] * NUM_GROUPS  # one step is one group
        self.last_K = torch.tensor(np.cumsum(self.lengths) - 1)

    def _log(self, table):
        rows = [INDEX[prefix] for prefix in self.steps]
        return torch.tensor(np.log(table[rows, self.tokens]))

    def of_prefix(self, values):
        return torch.tensor([values[prefix] for prefix in self.steps], dtype=torch.float64)

    def per_group(self, gradient_K):
        """d loss / d logits of each group, `(20000, 21)`, from d loss / d logp."""
        out = torch.zeros(NUM_GROUPS, PARAMETERS, dtype=torch.float64)
        out.index_add_(0, self.group_K, gradient_K[:, None] * self.scores[self.kind_K])
        return out.numpy()

    def ascent(self, advantage_K, objective=None):
        """The product's gradient with these advantages; the loss is minimised, so minus it."""
        logp = self.logp.clone().requires_grad_()
        parts = policy_loss(
            objective or Objective(),
            logp,
            self.logp,
            advantage_K,
            self.weight_K,
            self.sequence,
            ref_K=self.ref,
        )
        parts.loss.backward()
        return -self.per_group(logp.grad)

    def by_completion(self, rewards_PG, estimator):
        found = advantages.assign(rewards_PG, estimator, self.lengths_PG)
        flat = torch.tensor(found, dtype=torch.float64).ravel()
        return flat[self.sequence]


def check(estimates, exact):
    mean = estimates.mean(0)
    # along the exact gradient
    along = estimates @ exact / (exact @ exact)
    error = along.std(ddof=1) / np.sqrt(len(along))
    assert error < 0.1, "the sample is too small to tell anything"
    assert abs(along.mean() - 1) < 3 * error, (along.mean(), error)
    # all directions together; rows of logits sum to 0, so the covariance has no full rank
    covariance = np.cov(estimates.T) / len(estimates)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * values.max()
    whitened = (vectors[:, kept].T @ (mean - exact)) / np.sqrt(values[kept])
    degrees = kept.sum()
    z = (whitened @ whitened - degrees) / np.sqrt(2 * degrees)
    assert abs(z) < 4, z


def test_the_enumeration_is_right():
    assert TOY.probability.sum() == pytest.approx(1, abs=1e-12) and len(TOY.texts) == 15
    logits = torch.tensor(TOY.logits, requires_grad=True)
    table = logits.softmax(-1)
    value = sum(
        float(r) * torch.stack([table[INDEX[t[:i]], a] for i, a in enumerate(t)]).prod()
        for r, t in zip(TOY.reward, TOY.texts, strict=True)
    )
    value.backward()
    assert np.allclose(logits.grad.numpy().ravel(), TOY.gradient(TOY.reward), atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "group_size", "factor"),
    [
        ("none", 4, 1),
        ("loo", 2, 1),
        ("loo", 5, 1),
        ("opo_loo", 4, 1),
        ("mean", 2, 1 / 2),
        ("mean", 4, 3 / 4),
    ],
)
def test_the_expected_update_is_the_gradient(estimator, group_size, factor):
    sample = Sample(group_size, seed=1)
    advantage_K = sample.by_completion(sample.rewards_PG, estimator)
    check(sample.ascent(advantage_K), factor * TOY.gradient(TOY.reward))


@pytest.mark.parametrize("row", ["is", "reinforce", "cispo", "sapo"])
def test_every_policy_term_has_this_gradient_on_policy(row):
    how = {
        "is": Objective(clipping="none"),
        "reinforce": Objective(ratio_level="none", clipping="none"),
        "cispo": Objective(clipping="cispo", clip_high=4.0),
        "sapo": Objective(clipping="sapo"),
    }[row]
    sample = Sample(3, seed=2)
    advantage_K = sample.by_completion(sample.rewards_PG, "loo")
    check(sample.ascent(advantage_K, how), TOY.gradient(TOY.reward))


def test_the_biased_opo_is_told_apart():
    """The check has teeth: OPO with its own reward in the baseline does not pass."""
    sample = Sample(2, seed=3)
    advantage_K = sample.by_completion(sample.rewards_PG, "opo")
    with pytest.raises(AssertionError):
        check(sample.ascent(advantage_K), TOY.gradient(TOY.reward))


@pytest.mark.parametrize(("temperature", "min_samples"), [(0.1, 1.0), (0.3, 2.0), (3.0, 1.0)])
def test_prefix_attention_is_unbiased_at_any_temperature(temperature, min_samples):
    sample, group_size = Sample(4, seed=4), 4
    known = {}
    advantage_K = torch.zeros(len(sample.steps), dtype=torch.float64)
    starts = np.concatenate([[0], np.cumsum(sample.lengths)])
    for g, chosen in enumerate(sample.chosen):
        key = tuple(chosen)
        if key not in known:  # few different groups: a third of them is seen again
            texts = [TOY.texts[i] for i in chosen]
            hidden = [torch.stack([TOY.features[t[:i]] for i in range(len(t))]) for t in texts]
            rewards = TOY.reward[chosen]
            similarity = prefix_similarity(hidden, [list(text) for text in texts])
            baseline, _ = advantages.prefix_baseline(rewards, similarity, temperature, min_samples)
            known[key] = torch.tensor(rewards - baseline)
        for column in range(group_size):
            row = g * group_size + column
            span = slice(starts[row], starts[row + 1])
            advantage_K[span] = known[key][: sample.lengths[row], column]
    check(sample.ascent(advantage_K), TOY.gradient(TOY.reward))


@pytest.mark.parametrize(("critic", "lam"), [("guess", 1.0), ("value", 0.0), ("value", 0.7)])
def test_gae_is_unbiased_with_lambda_one_or_an_exact_critic(critic, lam):
    sample = Sample(1, seed=5)
    values_K = sample.of_prefix(getattr(TOY, critic))
    rewards_K = torch.zeros_like(values_K)
    rewards_K[sample.last_K] = torch.tensor(sample.rewards_PG, dtype=torch.float64).ravel()
    advantage_K, return_K = gae(rewards_K, values_K, sample.lengths, 1.0, lam)
    assert torch.allclose(return_K, advantage_K + values_K)
    check(sample.ascent(advantage_K), TOY.gradient(TOY.reward))


def test_gae_is_biased_with_a_guess_and_lambda_below_one():
    sample = Sample(1, seed=5)
    values_K = sample.of_prefix(TOY.guess)
    rewards_K = torch.zeros_like(values_K)
    rewards_K[sample.last_K] = torch.tensor(sample.rewards_PG, dtype=torch.float64).ravel()
    advantage_K, _ = gae(rewards_K, values_K, sample.lengths, 1.0, 0.5)
    with pytest.raises(AssertionError):
        check(sample.ascent(advantage_K), TOY.gradient(TOY.reward))


def test_a_kl_in_the_reward_has_the_gradient_of_the_whole_kl():
    sample, beta = Sample(4, seed=6), 0.3
    sums = torch.zeros(sample.chosen.size, dtype=torch.float64)
    sums.index_add_(0, sample.sequence, sample.logp - sample.ref)
    sums_PG = sums.reshape(sample.chosen.shape).tolist()
    rewards_PG = advantages.penalise_kl(sample.rewards_PG, sums_PG, beta)
    exact = TOY.gradient(TOY.reward - beta * TOY.sequence_kl())
    check(sample.ascent(sample.by_completion(rewards_PG, "loo")), exact)


@pytest.mark.parametrize("kind", ["k2", "k3_is"])
def test_a_kl_in_the_loss_has_the_gradient_of_the_kl_of_the_next_token(kind):
    sample = Sample(2, seed=7)
    how = Objective(kl_estimator=kind, kl_coefficient=1.0)
    nothing = torch.zeros(len(sample.steps), dtype=torch.float64)
    check(-sample.ascent(nothing, how), TOY.token_kl_gradient())


def test_k1_in_the_loss_pulls_nowhere():
    """What the recipe refuses: an expected gradient of zero."""
    sample = Sample(2, seed=8)
    logp = sample.logp.clone().requires_grad_()
    (KL_ESTIMATORS["k1"](logp, sample.ref, sample.logp) * sample.weight_K).sum().backward()
    estimates = sample.per_group(logp.grad)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0)) < 4 * error).all()
