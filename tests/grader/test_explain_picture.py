"""The slice of a wrong tensor that a report draws."""

import pytest
import torch
from outcomes import INF, MASK, NAN, SIGNATURE, X, changed, mismatch, raised

from grader.explain import PICTURE_SIDE, picture
from grader.record import Picture
from grader.rng import Rng


def test_picture_is_the_plane_of_the_first_wrong_entry() -> None:
    got = changed(1, 2, 3, to=7.5)
    drawn = picture(mismatch(X, got), SIGNATURE)
    assert drawn is not None
    assert (drawn.axes, drawn.slice) == (("q_len", "k_len"), "output, axis 0 1")
    assert drawn.expected == [[pytest.approx(x, rel=1e-5) for x in row] for row in X[1].tolist()]
    assert drawn.got[2][3] == 7.5
    assert picture(mismatch({"a": X}, {"a": got}), SIGNATURE).slice == "a, axis 0 1"  # type: ignore[union-attr]


def test_picture_of_a_vector_is_one_row() -> None:
    drawn = picture(mismatch(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])), SIGNATURE)
    assert drawn == Picture(("", "axis 0"), "output", [[1.0, 2.0]], [[1.0, 3.0]])


def test_picture_of_bools_and_of_what_is_not_finite_can_be_written() -> None:
    right, got = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[NAN, INF, -INF]])
    drawn = picture(mismatch(right, got), SIGNATURE)
    assert drawn is not None
    assert drawn.got == [["nan", "inf", "-inf"]]
    masks = picture(mismatch(MASK, ~MASK), SIGNATURE)
    assert masks is not None
    assert masks.expected[0] == [1.0, 0.0, 0.0]


def test_picture_of_a_wrong_shape_shows_both() -> None:
    drawn = picture(mismatch(X, X[:, :, :2]), SIGNATURE)
    assert drawn is not None
    assert (len(drawn.expected), len(drawn.expected[0])) == (3, 5)
    assert (len(drawn.got), len(drawn.got[0])) == (3, 2)
    flat = picture(mismatch(X, X[0, 0]), SIGNATURE)
    assert flat is not None
    assert (len(flat.got), len(flat.got[0])) == (1, 5)
    deep = picture(mismatch(X[0], X[None]), SIGNATURE)
    assert deep is not None
    assert (len(deep.got), len(deep.got[0])) == (3, 5)


def test_picture_of_a_scalar_where_a_tensor_is_right_does_not_fail() -> None:
    drawn = picture(mismatch(X, X.sum()), SIGNATURE)
    assert drawn is None or drawn.got == [[pytest.approx(float(X.sum()), rel=1e-5)]]


@pytest.mark.parametrize("where", [(3, 4), (25, 3), (3, 25), (29, 39)])
def test_picture_is_cut_to_its_side_around_the_first_wrong_entry(where: tuple[int, int]) -> None:
    right = Rng(1).randn(30, 40)
    got = right.clone()
    got[where] = 123.0
    drawn = picture(mismatch(right, got), SIGNATURE)
    assert drawn is not None
    assert (len(drawn.got), {len(row) for row in drawn.got}) == (PICTURE_SIDE, {PICTURE_SIDE})
    assert any(123.0 in row for row in drawn.got)


@pytest.mark.parametrize(
    ("right", "got"),
    [
        (1.0, 2.0),
        (X, X.double()),
        (X, None),
        (torch.tensor(1.0), torch.tensor(2.0)),
        (X, X[:0]),
        (X, raised("ValueError", "no")),
    ],
    ids=["numbers", "dtype", "type", "scalars", "empty", "exception"],
)
def test_picture_is_left_out_where_there_is_nothing_to_see(right: object, got: object) -> None:
    assert picture(mismatch(right, got), SIGNATURE) is None
