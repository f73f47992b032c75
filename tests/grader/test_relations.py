"""Relations between a wrong tensor and the right one: each is found where it holds, and none where it does not."""

import pytest
import torch
from torch import Tensor

from grader.relations import close, relate
from grader.rng import Rng

AXES = ["head", "q_len", "k_len"]
ALLOWED = 1e-6


def randn(seed: int, *shape: int) -> Tensor:
    return Rng(seed).randn(*shape or (3, 4, 7), dtype="float64")


X = randn(1)
WEIGHTS = X.softmax(-1)


def says(got: Tensor, right: Tensor = X, allowed: float = ALLOWED) -> str:
    return relate(right, got, allowed, AXES[-right.ndim :]) or ""


def part(axis: int, *wrong: int) -> Tensor:
    """Right but at these positions of an axis."""
    return X.index_add(axis, torch.tensor(wrong), randn(2).narrow(axis, 0, len(wrong)))


FOUND: dict[str, tuple[Tensor, Tensor, str]] = {
    "zero": (X, torch.zeros_like(X), "Every entry of yours is zero."),
    "too large": (X, X * 7**0.5, "Everything is 2.646 times too large."),
    "too small": (X, X / 12, "Everything is 12 times too small."),
    "sign": (X, -X, "Everything has the wrong sign."),
    "sign and scale": (X, X * -4, "Everything is 4 times too large and has the wrong sign."),
    "sign and too small": (X, X / -8, "Everything is 8 times too small and has the wrong sign."),
    "offset up": (X, X + 0.25, "Everything is too large by 0.25."),
    "offset down": (X, X - 1.5, "Everything is too small by 1.5."),
    "reversed": (X, X.flip(2), "It is right but for the order along k_len, which is reversed."),
    "reversed first": (X, X.flip(0), "It is right but for the order along head, which is reversed."),
    "shifted to the end": (X, X.roll(1, 1), "It is right but shifted by one along q_len, towards the end."),
    "shifted to the start": (X, X.roll(-1, 2), "It is right but shifted by one along k_len, towards the start."),
    "permuted": (X, X[:, [2, 0, 3, 1]], "It is right but for the order along q_len: yours holds 2, 0, 3, 1."),
    "permuted first": (X, X[[1, 0, 2]], "It is right but for the order along head: yours holds 1, 0, 2."),
    "rearranged": (
        X,
        X.flatten().roll(5).reshape(3, 4, 7),
        "Yours holds exactly the right numbers, but at other places.",
    ),
    "scores too large": (
        WEIGHTS,
        (X * 5**0.5).softmax(-1),
        "It is as if the scores were 2.236 times too large before the softmax along k_len.",
    ),
    "scores too small": (
        X.softmax(1),
        (X / 3).softmax(1),
        "It is as if the scores were 3 times too small before the softmax along q_len.",
    ),
    "one value": (X, X.masked_fill(X > 1, 9.0), "Every wrong entry of yours is 9."),
    "scaled slices": (
        X,
        X * Rng(5).randn(3, 4, 1, dtype="float64", shift=4.0),
        "Along k_len the proportions are right, but each slice is scaled by a factor of its own.",
    ),
    "up to": (X, part(1, 2, 3), "It is right up to q_len 1 and wrong from there on."),
    "from on": (X, part(2, 0, 1, 2), "It is right from k_len 3 on and wrong before."),
    "some": (X, part(2, 1, 4), "It is wrong at k_len 1, 4 only."),
    "one": (X, part(0, 1), "Only head 1 is wrong."),
    "swapped": (
        X,
        X.transpose(1, 2),
        "Your shape is the expected one with q_len and k_len swapped and its values are right.",
    ),
    "swapped shape": (X, torch.ones(7, 4, 3), "Your shape is the expected one with head and k_len swapped."),
    "axis of one": (
        X,
        X[:, None],
        "Your shape differs from the expected one only by axes of size 1; its values are right.",
    ),
    "axis of one, other values": (
        X,
        torch.ones(3, 4, 7, 1),
        "Your shape differs from the expected one only by axes of size 1.",
    ),
    "grouped": (X, X.flatten(1), "The values are right and in the right order, but the axes are grouped differently."),
    "axis gone": (X, X[:, 0], "The axis q_len is gone."),
    "axis more": (X, torch.ones(3, 4, 2, 7), "Yours has an axis more: axis 2 of size 2."),
}
EVERY = pytest.mark.parametrize(("right", "got", "sentence"), FOUND.values(), ids=FOUND)


@EVERY
def test_relation_is_found_where_it_holds(right: Tensor, got: Tensor, sentence: str) -> None:
    assert says(got, right) == sentence


@EVERY
def test_relation_is_found_through_the_rounding_of_float32(right: Tensor, got: Tensor, sentence: str) -> None:
    assert says(got.float().double(), right, allowed=1e-5) == sentence


@pytest.mark.parametrize("name", [name for name, (right, got, _) in FOUND.items() if got.shape == right.shape])
def test_relation_is_not_claimed_when_one_entry_breaks_it(name: str) -> None:
    right, got, sentence = FOUND[name]
    inner = torch.zeros_like(right, dtype=torch.bool)
    inner[1:2, 1:3, 1:6] = True  # a shift says nothing of the border
    kept = (got == right) if (got == right).any() else torch.ones_like(inner)  # what is wrong anyway may stay so
    entries = (inner & kept if (inner & kept).any() else kept).nonzero().tolist()
    for entry in entries:
        broken = got.clone()
        broken[tuple(entry)] += 0.01
        assert says(broken, right) != sentence


@pytest.mark.parametrize("name", ["swapped", "axis of one", "grouped"])
def test_values_are_not_called_right_when_one_is_wrong(name: str) -> None:
    got = FOUND[name][1].clone(memory_format=torch.contiguous_format)
    got.view(-1)[5] += 0.01
    assert "values are right" not in says(got).lower()


# --- random tensors ---


@pytest.mark.parametrize("shape", [(3, 4, 7), (2, 5), (6,), (2, 3, 4, 5)])
def test_nothing_is_claimed_of_random_tensors(shape: tuple[int, ...]) -> None:
    axes = [f"axis {i}" for i in range(len(shape))]
    for seed in range(30):
        rng = Rng(seed)
        right, other = rng.randn(*shape, dtype="float64"), rng.randn(*shape, dtype="float64")
        for got in (other, right + other / 2, right * (1 + other / 2)):
            assert relate(right, got, ALLOWED, axes) is None


def test_nothing_is_claimed_of_random_weights() -> None:
    for seed in range(100, 130):
        assert says(randn(seed).softmax(-1), WEIGHTS) == ""


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 7), (4, 6), (2, 2, 4, 8), (3, 4, 8), (4, 7, 3), (2,), ()])
def test_nothing_is_claimed_of_unrelated_shapes(shape: tuple[int, ...]) -> None:
    assert says(torch.ones(shape, dtype=torch.float64)) == ""


# --- near misses ---


@pytest.mark.parametrize("error", [0.5, 2.0, 8.0])
def test_error_of_about_the_tolerance_is_no_relation(error: float) -> None:
    """A tensor that lost some digits is neither scaled nor offset nor shifted."""
    for seed in range(100, 110):
        text = says(X + error * ALLOWED * randn(seed))
        assert not text.startswith(("Everything", "It is right but", "Along"))


def test_lost_digits_are_counted() -> None:
    text = says(X + 3e-6 * X.abs().max() * randn(2).sign())
    assert text.startswith("It is right to about 5 digits: ")


def test_one_entry_just_beyond_the_tolerance_is_no_offset_of_everything() -> None:
    got = X.clone()
    got[1, 2, 3] += 1.5 * ALLOWED
    assert not says(got).startswith("Everything")


@pytest.mark.parametrize("factor", [1.0001, 1.0003, 1 / 1.0003, -1.0003])
def test_multiple_of_nearly_one_is_not_told_as_one(factor: float) -> None:
    assert " 1 times" not in says(X * factor)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6])
def test_small_values_that_are_not_proportional_are_no_multiple(size: float) -> None:
    """Noise below the tolerance is proportional to nothing."""
    for seed in range(100, 110):
        assert not says(size * (X + 0.1 * randn(seed)), allowed=3e-5).startswith("Everything is")


@pytest.mark.parametrize(
    ("wrong", "sentence"), [(0, "Only q_len 0 is wrong."), (1, "Only q_len 1 is wrong."), (3, "Only q_len 3 is wrong.")]
)
def test_wrong_entries_of_a_constant_axis_are_no_shift(wrong: int, sentence: str) -> None:
    right = X[:, :1].expand(3, 4, 7)
    got = right.clone()
    got[:, wrong] += randn(4)[:, 0]
    assert says(got, right) == sentence


def test_softmax_of_the_negative_scores_is_told_as_a_sign() -> None:
    text = says((-X).softmax(-1), WEIGHTS)
    assert "-1" not in text
    assert text == "" or "sign" in text


# --- weights and slices ---


def test_weights_that_were_not_normalised_are_told_by_their_sums() -> None:
    sums = X.exp().sum(-1)
    low, high = (round(float(x), 3) for x in (sums.min(), sums.max()))
    assert says(X.exp(), WEIGHTS) == f"Along k_len yours sums to {low:g} up to {high:g}, where it should be 1."


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_scaled_along_any_axis(axis: int) -> None:
    factors = Rng(5).randn(*(1 if i == axis else n for i, n in enumerate(X.shape)), dtype="float64", shift=4.0)
    assert says(X * factors) == (
        f"Along {AXES[axis]} the proportions are right, but each slice is scaled by a factor of its own."
    )


# --- where nothing can be shown ---


@pytest.mark.parametrize(
    ("right", "got"),
    [
        (X, X.masked_fill(X > 1, float("nan"))),
        (X / 0, X),
        (torch.tensor(1.0).double(), torch.tensor(2.0).double()),
        (torch.tensor([1.0]).double(), torch.tensor([2.0]).double()),
        (torch.empty(0, 4, 7).double(), torch.empty(0, 4, 7).double()),
        (X, torch.empty(0, 4, 7).double()),
    ],
    ids=["nan", "inf", "scalar", "one entry", "both empty", "empty"],
)
def test_nothing_is_claimed_where_nothing_can_be_shown(right: Tensor, got: Tensor) -> None:
    assert says(got, right) == ""


def test_ones_where_zeros_are_right_are_an_offset_and_no_multiple() -> None:
    assert says(torch.ones(2, 3).double(), torch.zeros(2, 3).double()) == "Everything is too large by 1."


def test_axis_without_a_name_is_told_by_its_number_once() -> None:
    axes = ["axis 0", "axis 1", "k_len"]
    assert relate(X, X[0], ALLOWED, axes) == "The axis 0 is gone."
    assert relate(X, part(1, 3), ALLOWED, axes) == "Only index 3 of axis 1 is wrong."


def test_close_needs_the_same_shape() -> None:
    assert close(torch.zeros(2, 3), torch.full((2, 3), 0.5), 0.5)
    assert not close(torch.zeros(2, 3), torch.full((2, 3), 0.6), 0.5)
    assert not close(torch.zeros(2, 3), torch.zeros(3), 0.5)


@pytest.mark.parametrize(
    ("got", "sizes", "text"),
    [
        (
            X * 12**0.5,
            {"head_dim": 12, "q_len": 5},
            "Everything is 3.464 times too large. sqrt(head_dim) is 3.464 here.",
        ),
        (X / 7, {"k_len": 7, "d": 49}, "Everything is 7 times too small. k_len and sqrt(d) are 7 here."),
        (X * 1.9, {"n_heads": 2}, "Everything is 1.9 times too large."),
        (X * 1.0005, {"n_heads": 1}, "Everything is 1.001 times too large."),
    ],
)
def test_factor_is_told_by_the_size_that_it_is(got: Tensor, sizes: dict[str, int], text: str) -> None:
    assert relate(X, got, ALLOWED, AXES[-X.ndim :], sizes) == text


def test_scores_are_not_called_too_small_where_only_the_sums_are_off() -> None:
    sums = 1 + 4e-4 * torch.rand(3, 1, 7, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    told = says(X.softmax(1) * sums, X.softmax(1))
    assert told == "Along q_len the proportions are right, but each slice is scaled by a factor of its own."
