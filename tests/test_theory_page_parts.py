"""Numbers and addresses of the Theory page."""

import math
from dataclasses import dataclass

import pytest

from studio import theory_address, theory_digits
from studio.theory.knobs import Knobs, number, one_of
from studio.theory.sampled import Estimate


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.0, "number", "0"),
        (0.5, "number", "0.5000"),
        (-0.049, "number", "−0.04900"),
        (123456.0, "number", "123,456"),
        (3.2e-17, "number", "0"),
        (-3.2e-7, "number", "−3.200 · 10⁻⁷"),
        (739.0, "number", "739.0"),
        (0.6637, "percent", "66.4 %"),
        (12345.6, "count", "12,346"),
        (None, "number", "—"),
        (math.inf, "number", "∞"),
        (math.nan, "number", "—"),
    ],
)
def test_a_number_has_four_digits(value: float | None, form: str, text: str) -> None:
    assert theory_digits.number(value, form) == text


@pytest.mark.parametrize(
    ("value", "se", "form", "text"),
    [
        (0.49873, 0.0031633, "number", "0.4987 ± 0.0062"),
        (-1.0, 0.51, "number", "−1.00 ± 1.00"),
        (1234.5, 30.0, "number", "1,234 ± 59"),
        (0.25, 0.01, "percent", "25.0 ± 2.0 %"),
        (0.5, 0.0, "number", "0.5000"),
        (0.00051, 1e-5, "number", "0.000510 ± 0.000020"),
        (1.5e-7, 1e-8, "number", "1.500 · 10⁻⁷ ± 2.0 · 10⁻⁸"),
        (1.5e6, 1e4, "number", "1.500 · 10⁶ ± 19,600"),
    ],
)
def test_an_estimate_has_the_digits_of_its_band(
    value: float, se: float, form: str, text: str
) -> None:
    assert theory_digits.estimate(Estimate(value, se, 100), form) == text


@dataclass(frozen=True)
class Some(Knobs):
    size: int = one_of(8, (2, 4, 8), "G")
    p: float = number(0.5, 0.0, 1.0, "p", step=0.01)
    kind: str = one_of("mean", ("mean", "loo"), "advantage")
    noisy: bool = one_of(False, (False, True), "noise")


def test_an_address_brings_the_same_settings_back() -> None:
    for knobs in (Some(), Some(size=2), Some(p=0.07, kind="loo"), Some(4, 1.0, "loo", True)):
        text = theory_address.text_of(knobs)
        assert theory_address.knobs_of(Some, text) == knobs
    assert theory_address.text_of(Some()) == ""
    assert theory_address.text_of(Some(size=2, noisy=True)) == "size:2,noisy:True"


@pytest.mark.parametrize(
    "text",
    ["size:3", "size:", "p:2", "p:nan", "p:x", "kind:zscore", "gone:1", "size", "noisy:1", "a:b:c"],
)
def test_an_address_that_says_what_there_is_not_is_none(text: str) -> None:
    assert theory_address.knobs_of(Some, text) is None


def test_a_seed_is_a_small_number() -> None:
    said = ("", "7", "-1", "x", "٣", "99999", "9999")
    assert [theory_address.seed_of(text) for text in said] == [0, 7, 0, 0, 3, 0, 9999]
