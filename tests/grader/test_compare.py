"""Comparing outcomes: what counts as the same, by how much it may differ, and which difference is told first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from outcomes import INF, NAN, ROW, raised, values
from torch import Tensor

from grader.compare import KINDS, Mismatch, compare, compare_leaves, same_output
from grader.expected import Expected, Truth, as_floats, half_epsilon
from grader.outcome import Container, Foreign, Outcome, Raised, TensorLeaf


def expected(value: object, estimate: float = 0.0, floor: float = 1e-6) -> Expected:
    """What a judge expects where the reference gave this value and rounding errs by so much."""
    native = value if isinstance(value, Outcome) else values(value)
    floats = {path: as_floats(leaf) for path, leaf in native.leaves.items()}
    truths = {path: Truth(right, estimate, floor) for path, right in floats.items() if right is not None}
    return Expected(ROW, 0, native, truths)


def difference(right: object, got: object, arguments: Sequence[str] = ()) -> Mismatch:
    outcome = got if isinstance(got, Outcome) else values(got)
    found = compare(expected(right), outcome, arguments)
    assert found is not None
    return found


def on(device: str, tensor: Tensor) -> Outcome:
    return Outcome("values", {"": TensorLeaf(tensor, device)})


# --- each kind of difference ---

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


SAME = [
    *(X, X.bfloat16(), X.long(), X > 2, torch.tensor(2.0), torch.empty(0, 3), torch.tensor([NAN, INF, -INF, 0.0])),
    *(1, 0.5, True, "a", b"a", None, [], {}, NAN, -INF, [1, {"a": X, "b": (None, "c")}]),
]


@pytest.mark.parametrize("value", SAME, ids=lambda value: type(value).__name__)
def test_the_same_value_is_right(value: object) -> None:
    assert compare(expected(value), values(value)) is None


@pytest.mark.parametrize(
    ("kind", "right", "got"),
    [
        ("ended", X, Outcome("timeout", why="it did not end within 2 seconds")),
        ("ended", raised("ValueError", "q"), Outcome("crashed", why="it ran out of memory")),
        ("raised", X, raised("IndexError", "out of range")),
        ("accepted", raised("ValueError", "q"), X),
        ("exception", raised("ValueError", "q"), raised("IndexError", "q")),
        ("structure", {"a": 1, "b": 2}, {"a": 1}),
        ("structure", {"a": 1}, {"a": 1, "b": 2}),
        ("structure", [1, 2], [1]),
        ("structure", [1], {"0": 1}),
        ("type", X, X.tolist()),
        ("type", X, None),
        ("type", X, X.numpy()),
        ("type", 1, 1.0),
        ("type", 1, True),
        ("type", "a", b"a"),
        ("type", 0.5, np.float64(0.5)),
        ("dtype", X, X.double()),
        ("dtype", X > 2, (X > 2).long()),
        ("device", on("cuda", X), on("cpu", X)),
        ("shape", X, X[:, :2]),
        ("shape", X, X[None]),
        ("shape", X, X.T),
        ("finite", X, X.masked_fill(X == 2, NAN)),
        ("finite", torch.tensor([INF, 1.0]), torch.tensor([-INF, 1.0])),
        ("finite", torch.tensor([NAN, 1.0]), torch.tensor([0.0, 1.0])),
        ("finite", torch.tensor([NAN, 1.0]), torch.tensor([INF, 1.0])),
        ("finite", 0.5, NAN),
        ("values", X, X + 1),
        ("values", X.long(), X.long() + 1),
        ("values", X > 2, X > 3),
        ("values", 0.5, 0.6),
        ("values", 1, 2),
        ("values", "a", "b"),
        ("values", True, False),
    ],
)
def test_difference_has_its_kind(kind: str, right: object, got: object) -> None:
    assert difference(right, got).kind == kind


def test_foreign_value_never_counts_as_right() -> None:
    assert difference([object()], [object()]) == Mismatch("type", "[0]", Foreign("object"), Foreign("object"))


def test_difference_of_a_nested_leaf_has_its_path() -> None:
    found = difference({"a": [X, X]}, {"a": [X, X + 1]})
    assert (found.path, found.kind) == ("a[1]", "values")


def test_order_of_dict_keys_is_free() -> None:
    assert compare(expected({"a": 1, "b": 2}), values({"b": 2, "a": 1})) is None


def test_leaf_missing_below_a_container_that_claims_it_is_found() -> None:
    lying = Outcome("values", {"": Container("list", ("0", "1")), "[0]": 1})
    assert difference([1, 2], lying).kind == "structure"


def test_wrong_marks_exactly_the_entries_that_differ() -> None:
    for right in (X, X.long()):
        found = difference(right, right + torch.tensor([[0, 1, 0], [0, 0, 1]]))
        assert found.wrong is not None
        assert found.wrong.tolist() == [[False, True, False], [False, False, True]]
    pattern = difference(X, X.masked_fill(X == 2, NAN)).wrong
    assert pattern is not None
    assert pattern.tolist() == [[False, True, False], [False, False, False]]


# --- which difference comes first ---


@pytest.mark.parametrize(
    ("first", "then", "got"),
    [
        ("type", "values", [2.0]),
        ("dtype", "device", TensorLeaf((X + 1).double(), "cuda")),
        ("dtype", "shape", TensorLeaf(X.double()[:, :2], "cpu")),
        ("dtype", "finite", TensorLeaf((X / 0).double(), "cpu")),
        ("dtype", "values", TensorLeaf((X + 1).double(), "cpu")),
        ("device", "shape", TensorLeaf(X[:, :2], "cuda")),
        ("device", "values", TensorLeaf(X + 1, "cuda")),
        ("finite", "values", TensorLeaf((X + 1).masked_fill(X == 2, NAN), "cpu")),
    ],
)
def test_of_two_differences_in_one_leaf_the_graver_is_told(first: str, then: str, got: Any) -> None:
    outcome = Outcome("values", {"": got}) if isinstance(got, TensorLeaf) else values(got)
    assert difference(X, outcome).kind == first
    assert KINDS.index(first) < KINDS.index(then)


def test_of_two_leaves_the_graver_difference_is_told_and_of_equal_ones_the_first() -> None:
    right = {"a": X, "b": X, "c": X}
    assert difference(right, {"a": X + 1, "b": X.double(), "c": X[:1]}).path == "b"
    assert difference(right, {"a": X, "b": X + 1, "c": X + 2}).path == "b"


# --- tolerance ---


def test_allowed_is_four_times_the_estimate_and_four_times_the_floor() -> None:
    assert Truth(X, 2.0**-10, 2.0**-12).allowed == 2.0**-8 + 2.0**-10


@pytest.mark.parametrize("sign", [1, -1])
def test_entry_off_by_what_is_allowed_is_right_and_by_more_is_not(sign: int) -> None:
    right = torch.zeros(3, dtype=torch.float64)
    allowed = torch.tensor(2.0**-8 + 2.0**-10, dtype=torch.float64)
    judge = expected(right, 2.0**-10, 2.0**-12)
    off = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64) * sign
    assert compare(judge, values(off * allowed)) is None
    found = compare(judge, values(off * allowed * (1 + 1e-12)))
    assert found is not None
    assert found.kind == "values"
    assert found.allowed == float(allowed)


def test_values_are_held_against_the_truth_and_not_against_the_native_run() -> None:
    judge = replace(expected(X), truths={"": Truth(X.double() + 0.5, 0.0, 1e-6)})
    assert compare(judge, values(X + 0.5)) is None
    assert compare(judge, values(X)) is not None


def test_pattern_of_nan_and_inf_is_that_of_the_native_run() -> None:
    native = torch.tensor([INF, NAN, 1.0])
    judge = replace(expected(native), truths={"": Truth(torch.tensor([7e4, 2.0, 1.0]).double(), 0.0, 1e-6)})
    assert compare(judge, values(native)) is None
    found = compare(judge, values(torch.tensor([7e4, 2.0, 1.0])))
    assert found is not None
    assert found.kind == "finite"


def test_python_float_has_the_tolerance_of_its_truth() -> None:
    judge = expected(0.5, estimate=0.0, floor=2.0**-20)
    assert compare(judge, values(0.5 + 2.0**-18)) is None
    assert compare(judge, values(0.5 + 2.0**-17)) is not None


def test_discrete_values_have_no_tolerance() -> None:
    judge = expected(torch.tensor([10**9]), floor=1e9)
    assert compare(judge, values(torch.tensor([10**9 + 1]))) is not None


# --- expected exceptions ---


@pytest.mark.parametrize(
    ("got", "right"),
    [
        (raised("ValueError", "k_len is too small"), True),
        (raised("ValueError", "the given q_len does not fit"), True),
        (raised("OddLength", "bad k_len", "ValueError"), True),
        (raised("UnicodeError", "bad k_len", "UnicodeError", "ValueError"), True),
        (raised("ValueError", "wrong lengths"), False),
        (raised("ValueError", "bad k_length"), False),
        (raised("ValueError", "bad device"), False),
        (raised("TypeError", "k_len is too small"), False),
        (raised("Exception", "k_len is too small"), False),
    ],
)
def test_exception_is_right_by_type_and_by_an_argument_that_the_reference_names(got: Outcome, right: bool) -> None:
    judge = expected(raised("ValueError", "k_len must be at least q_len, got k_len=3"))
    assert (compare(judge, got, ["q_len", "k_len", "device"]) is None) == right


def test_exception_of_a_reference_that_names_no_argument_is_right_by_type_alone() -> None:
    judge = expected(raised("ValueError", "the file is empty"))
    assert compare(judge, raised("ValueError", "nothing there"), ["q_len"]) is None


def test_task_that_is_not_there_is_no_expected_exception() -> None:
    missing = Outcome("raised", raised=Raised("MissingTask", [], "causal_mask is not defined"))
    assert difference(raised("ValueError", "no"), missing).kind == "exception"


# --- the same output twice ---


def test_same_output_takes_two_devices_in_one_operation_for_one_mistake_whatever_the_operation() -> None:
    device = "to be on the same device, but"
    one, other, another = (
        Outcome("raised", raised=Raised("RuntimeError", ["RuntimeError"], message))
        for message in (
            f"Expected all tensors {device} got mat2 is on cpu",
            f"expected self and mask {device} got",
            "No",
        )
    )
    judge = Expected(ROW, 0, values(X), {})
    assert same_output(one, other, judge)
    assert not same_output(one, another, judge)


def test_same_output_allows_the_rounding_of_both() -> None:
    judge = expected(X, estimate=0.0, floor=half_epsilon(TensorLeaf(X, "cpu")) * 6)
    wrong = values(3 * X)
    assert same_output(wrong, values(3 * X * (1 + 2.0**-23)), judge)
    assert not same_output(wrong, values(3 * X * (1 + 2.0**-18)), judge)
    assert not same_output(wrong, values(X), judge)


def test_same_output_widens_with_the_error_of_the_reference() -> None:
    floor = half_epsilon(TensorLeaf(X, "cpu")) * 6
    near = values(3 * X * (1 + 2.0**-18))
    assert not same_output(values(3 * X), near, expected(X, estimate=floor, floor=floor))
    assert same_output(values(3 * X), near, expected(X, estimate=100 * floor, floor=floor))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (raised("IndexError", "a"), raised("IndexError", "a"), True),
        (raised("IndexError", "a"), raised("IndexError", "b"), False),
        (raised("IndexError", "a"), raised("KeyError", "a"), False),
        (raised("IndexError", "a"), values(X), False),
        (Outcome("timeout"), Outcome("timeout"), True),
        (Outcome("timeout"), Outcome("crashed"), False),
        (values([X, 1]), values([X, 2]), False),
        (values([X, 1]), values([X, 1]), True),
        (values(X / 0), values(X / 0), True),
        (values(X[:1]), values(X), False),
        (values(torch.zeros(2, 3)), values(torch.zeros(2, 3)), True),
        (values(torch.zeros(2, 3)), values(torch.full((2, 3), 1e-30)), False),
    ],
)
def test_same_output_compares_how_both_ended(one: Outcome, other: Outcome, same: bool) -> None:
    assert same_output(one, other, expected(X)) == same


def test_compare_leaves_takes_any_two_sets_of_leaves() -> None:
    leaves = values([1, 2]).leaves
    assert compare_leaves(leaves, {}, leaves) is None
    assert compare_leaves(leaves, {}, values([1, 3]).leaves) == Mismatch("values", "[1]", 2, 3)
