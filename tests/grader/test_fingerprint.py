"""A fingerprint recognises an outcome up to rounding, and nothing else."""

import math

import pytest
import torch

from grader.collecting import RowId
from grader.expected import Expected, Truth
from grader.fingerprint import SUMS, fingerprint, recognises
from grader.outcome import Outcome, Raised, flatten
from grader.rng import Rng

ROW = RowId("check_x[1]", "check_x", "x", 1, False, "", "", "")
X = Rng(5).randn(6, 7, 11)
ULP = 2.0**-23


def values(value: object) -> Outcome:
    return Outcome("values", dict(flatten(value)))


def expected(right: torch.Tensor) -> Expected:
    floor = ULP / 2 * float(right.abs().max())
    return Expected(ROW, 0, values(right), {"": Truth(right.double(), floor, floor)})


def matches(known: object, got: object) -> bool:
    return recognises(fingerprint(values(known)), values(got), expected(X))


def test_fingerprint_allows_the_rounding_of_both() -> None:
    noise = 1 + ULP * Rng(6).randn(*X.shape)
    assert matches(3 * X, 3 * X * noise)
    assert not matches(3 * X, 3 * X * (1 + 2.0**-12))


@pytest.mark.parametrize("place", [(0, 0, 0), (5, 6, 10), (2, 3, 4)])
def test_fingerprint_sees_one_entry_that_is_off(place: tuple[int, ...]) -> None:
    other = (3 * X).clone()
    other[place] += 0.01
    assert not matches(3 * X, other)


@pytest.mark.parametrize(
    "other",
    [
        (3 * X).double(),
        (3 * X).transpose(0, 1).contiguous(),
        [3 * X],
        {"output": 3 * X},
        torch.where(X.max() <= X, torch.nan, 3 * X),
        None,
        3.0,
        object(),
    ],
    ids=["dtype", "shape", "list", "dict", "nan", "none", "number", "foreign"],
)
def test_fingerprint_sees_what_is_discrete(other: object) -> None:
    assert not matches(3 * X, other)


@pytest.mark.parametrize("value", [True, 7, "text", b"raw", None, [1, "a"], {"b": 1, "a": [True]}, torch.arange(5) > 2])
def test_discrete_values_are_recognised_when_equal(value: object) -> None:
    assert matches(value, value)
    assert not matches(value, "other")


def test_order_of_a_dict_does_not_count() -> None:
    assert matches({"a": X, "b": 2}, {"b": 2, "a": X})


def test_nan_and_inf_count_by_place_and_sign() -> None:
    one = X.clone()
    one[0, 0, 0], one[0, 0, 1] = torch.inf, torch.nan
    other = one.clone()
    other[0, 0, 0] = -torch.inf
    assert matches(one, one)
    assert not matches(one, other)


def test_float_numbers_are_compared_within_rounding() -> None:
    assert matches(math.pi, math.pi * (1 + 1e-8))
    assert not matches(math.pi, 3.1417)


def test_exceptions_are_equal_by_type_and_message() -> None:
    def raised(kind: str, message: str) -> Outcome:
        return Outcome("raised", raised=Raised(kind, [kind, "Exception"], message))

    known = fingerprint(raised("ValueError", "n_heads 3"))
    assert recognises(known, raised("ValueError", "n_heads 3"), expected(X))
    assert not recognises(known, raised("ValueError", "n_heads 4"), expected(X))
    assert not recognises(known, raised("TypeError", "n_heads 3"), expected(X))
    assert not recognises(known, values(X), expected(X))


def test_fingerprint_is_far_smaller_than_what_it_is_of() -> None:
    assert len(fingerprint(values(X)).sums) == SUMS
