"""Outcomes cross as bytes: what is sent comes back the same, and no bytes of a stranger do more than be refused."""

import math
import struct
from typing import Any

import numpy as np
import pytest
import torch
from frames import FUZZ, received
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grader import outcome
from grader.outcome import (
    LENGTHS,
    BadFrame,
    Container,
    Foreign,
    Leaf,
    Outcome,
    Raised,
    TensorLeaf,
    decode,
    encode,
    flatten,
    lengths,
)

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def across(sent: Outcome) -> Outcome:
    frame = encode(sent)
    header, payload = lengths(frame[: LENGTHS.size])
    assert len(frame) == LENGTHS.size + header + payload
    return decode(frame[LENGTHS.size : LENGTHS.size + header], frame[LENGTHS.size + header :])


def back(value: object) -> dict[str, Leaf]:
    """The leaves of a value after the crossing."""
    return across(Outcome("values", dict(flatten(value)))).leaves


def tensor_back(value: Tensor) -> TensorLeaf:
    (leaf,) = back(value).values()
    assert isinstance(leaf, TensorLeaf)
    assert type(leaf.values) is Tensor
    return leaf


# --- flatten ---


def test_flatten_names_every_leaf_by_its_path() -> None:
    assert dict(flatten({"a": [1, {"b": (None, "x")}], 3: True})) == {
        "": Container("dict", ("a", "3")),
        "a": Container("list", ("0", "1")),
        "a[0]": 1,
        "a[1]": Container("dict", ("b",)),
        "a[1].b": Container("list", ("0", "1")),
        "a[1].b[0]": None,
        "a[1].b[1]": "x",
        "3": True,
    }


def test_flatten_of_a_lone_value_has_the_empty_path() -> None:
    assert dict(flatten(2.5)) == {"": 2.5}
    assert dict(flatten([])) == {"": Container("list", ())}
    assert dict(flatten({})) == {"": Container("dict", ())}


class Text(str):
    """Not str itself, so it may lie when it is compared."""


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.zeros(2), "numpy.ndarray"),
        (np.float64(1.0), "numpy.float64"),
        (np.int64(1), "numpy.int64"),
        (object(), "object"),
        ({1, 2}, "set"),
        (1j, "complex"),
        (range(2), "range"),
        (torch.float32, "torch.dtype"),
        (Text("a"), f"{__name__}.Text"),
        (torch.zeros(2, device="meta"), "tensor on meta with layout torch.strided and dtype torch.float32"),
        (torch.zeros(2, dtype=torch.complex64), "tensor on cpu with layout torch.strided and dtype torch.complex64"),
        (torch.eye(2).to_sparse(), "tensor on cpu with layout torch.sparse_coo and dtype torch.float32"),
    ],
)
def test_foreign_value_crosses_as_the_name_of_its_type(value: object, kind: str) -> None:
    assert back({"value": value})["value"] == Foreign(kind)


# --- the round trip ---


PLAIN = [None, True, False, 0, -1, 2**200, "", "é 김 \0 \ud800", b"", b"\x00\xff", 0.0, 1e-310, 0.1]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_the_same(value: Leaf) -> None:
    came = back(value)[""]
    assert type(came) is type(value)
    assert came == value


def test_int_of_any_number_of_digits_comes_back() -> None:
    assert back([10**6000, -(10**6000)])["[1]"] == -(10**6000)


def test_sign_of_zero_comes_back() -> None:
    assert math.copysign(1, back(-0.0)[""]) == -1  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_floats_beyond_json_come_back_the_same(value: float) -> None:
    came = back(value)[""]
    assert isinstance(came, float)
    assert came == value or (math.isnan(came) and math.isnan(value))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_dtype_come_back_bit_by_bit(dtype: torch.dtype) -> None:
    sent = torch.arange(-3, 9).reshape(2, 6).to(dtype)
    came = tensor_back(sent)
    assert came.device == "cpu"
    assert came.values.dtype == dtype
    assert torch.equal(came.values, sent)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_nan_and_inf_in_tensors_come_back(dtype: torch.dtype) -> None:
    sent = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1.0], dtype=dtype)
    came = tensor_back(sent).values
    assert torch.equal(came.nan_to_num(7.0), sent.nan_to_num(7.0))
    assert came.isnan().tolist() == [True, False, False, False, False]
    assert came.signbit()[3]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_tensors_of_small_and_empty_shapes_come_back(shape: tuple[int, ...]) -> None:
    assert tensor_back(torch.ones(shape)).values.tolist() == torch.ones(shape).tolist()
    assert tensor_back(torch.ones(shape)).values.shape == shape


def test_several_empty_tensors_cross_together() -> None:
    leaves = back([torch.empty(0), torch.empty(0, 2)])
    assert [leaf.values.shape for leaf in leaves.values() if isinstance(leaf, TensorLeaf)] == [(0,), (0, 2)]


@pytest.mark.parametrize(
    "sent",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0)[::5],
        torch.arange(3.0).expand(4, 3),
        torch.arange(8.0).as_strided((3, 3), (1, 2)),
        torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    ],
    ids=["transposed", "strided", "expanded", "overlapping", "negative view"],
)
def test_views_come_back_with_their_own_values(sent: Tensor) -> None:
    assert tensor_back(sent).values.tolist() == sent.tolist()


def test_tensors_that_share_memory_come_back_apart() -> None:
    x = torch.arange(4.0)
    leaves = back({"x": x, "again": x, "part": x[1:3]})
    assert {path: leaf.values.tolist() for path, leaf in leaves.items() if isinstance(leaf, TensorLeaf)} == {
        "x": [0.0, 1.0, 2.0, 3.0],
        "again": [0.0, 1.0, 2.0, 3.0],
        "part": [1.0, 2.0],
    }


def test_flatten_copies_so_that_a_later_change_is_not_seen() -> None:
    x = torch.zeros(2)
    leaves = dict(flatten({"before": x}))
    x += 1
    assert leaves["before"].values.tolist() == [0.0, 0.0]  # type: ignore[union-attr]


def test_parameters_and_tensors_with_a_graph_cross_as_plain_tensors() -> None:
    weight = nn.Parameter(torch.ones(2))
    for sent in (weight, weight * 2):
        assert not tensor_back(sent).values.requires_grad
        assert tensor_back(sent).values.tolist() == sent.tolist()


class Liar(Tensor):
    """Answers every question about itself wrongly."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return torch.full((9,), 42.0)

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return True

    __hash__ = Tensor.__hash__


def test_tensor_subclass_cannot_answer_for_its_own_bytes() -> None:
    assert tensor_back(torch.tensor([1.0, 2.0]).as_subclass(Liar)).values.tolist() == [1.0, 2.0]


class Elsewhere(Tensor):
    device = torch.device("cuda")  # type: ignore[assignment]
    layout = torch.strided  # type: ignore[assignment]


def test_tensor_subclass_cannot_lie_about_its_device() -> None:
    leaf = tensor_back(torch.tensor([1.0]).as_subclass(Elsewhere))
    assert leaf.device == "cpu"


def test_everything_beside_the_leaves_comes_back() -> None:
    raised = Raised("ShapeError", ["ValueError", "Exception"], "got q (2, 3)\nand k", "attention.py, line 3")
    sent = Outcome("raised", raised=raised, why="why", seconds=0.25, printed="one\ntwo")
    assert across(sent) == sent


def test_containers_come_back_with_their_kind_and_keys() -> None:
    assert back({"b": [], "a": {}}) == {
        "": Container("dict", ("b", "a")),
        "b": Container("list", ()),
        "a": Container("dict", ()),
    }


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary()
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner))


@settings(FUZZ, max_examples=60)
@given(NESTED)
def test_any_nested_value_comes_back_the_same(value: object) -> None:
    assert back(value) == dict(flatten(value))


# --- limits ---


class Sly(dict[str, object]):
    """A dict that holds nothing and answers with something."""

    def items(self) -> Any:
        return {"": torch.ones(2)}.items()


class SlyList(list[int]):
    def __iter__(self) -> Any:
        return iter([torch.ones(2)])


def test_list_or_dict_of_a_class_of_its_own_has_no_say_in_what_it_holds() -> None:
    assert dict(flatten(Sly())) == {"": Container("dict", ())}
    assert dict(flatten(SlyList([3]))) == {"": Container("list", ("0",)), "[0]": 3}


def test_empty_key_is_not_the_whole() -> None:
    assert list(back({"": 1})) == ["", "''"]


def test_lists_without_end_are_an_error_of_the_submission() -> None:
    endless: list[object] = []
    endless += [endless, endless]
    with pytest.raises(RecursionError, match=r"^what it returned is nested more than 50 deep$"):
        dict(flatten(endless))


def test_tensor_too_large_crosses_as_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "MAX_PAYLOAD", 1 << 20)
    large = torch.zeros(1).expand(1024, 257)
    assert back(large)[""] == Foreign("tensor of shape (1024, 257), which is more than 1 MiB")
    assert isinstance(back(large[:900])[""], TensorLeaf)


def test_payload_too_large_becomes_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "MAX_PAYLOAD", 1000)
    assert across(Outcome("values", dict(flatten([torch.zeros(100)])))).ended == "values"
    came = across(Outcome("values", dict(flatten([torch.zeros(200), torch.zeros(200)])), seconds=0.5))
    assert came == Outcome(
        "crashed", why="it returned more than 0 MiB of tensors, 1 MiB of text or 100000 values", seconds=0.5
    )


def test_header_too_large_becomes_crashed() -> None:
    assert across(Outcome("values", {"": "x" * (4 << 20)})).ended == "crashed"


def test_too_many_leaves_become_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "MAX_LEAVES", 100)
    assert across(Outcome("values", dict(flatten([0] * 99)))).ended == "values"
    assert across(Outcome("values", dict(flatten([0] * 100)))).ended == "crashed"


@pytest.mark.parametrize(("header", "payload"), [((4 << 20) + 1, 0), (0, (64 << 20) + 1), (2**32 - 1, 2**32 - 1)])
def test_announced_lengths_beyond_the_limits_are_refused(header: int, payload: int) -> None:
    with pytest.raises(BadFrame, match=rf"^a frame of {header} \+ {payload} bytes is too large$"):
        lengths(struct.pack(">II", header, payload))


def test_printed_text_of_a_stranger_is_cut() -> None:
    assert len(received(printed="x" * 100_000).printed) == 32_000
