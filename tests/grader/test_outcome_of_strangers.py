"""Bytes of a stranger are an outcome or refused, whatever they are."""

import contextlib
import json
import math
from typing import Any

import pytest
import torch
from frames import FIELDS, FUZZ, received
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from grader.outcome import (
    BadFrame,
    Outcome,
    Raised,
    decode,
    encode,
    flatten,
    lengths,
)

RAISED = {"kind": "ValueError", "bases": ["ValueError"], "message": "no", "trace": ""}


@pytest.mark.parametrize("header", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(header, b"")


@pytest.mark.parametrize(
    "leaf",
    [
        ["", "tensor", ["0", "cpu"]],
        ["", "tensor", "0"],
        ["", "int", "zz"],
        ["", "int", 3],
        ["", "float", "one"],
        ["", "bytes", "0g"],
        ["", "json", 3],
        ["", "json", [1]],
        ["", "pickle", "gASVAA=="],
        ["", "list", 3],
        ["", ["list"], []],
        ["", "json"],
        3,
    ],
)
def test_leaf_that_is_none_is_refused(leaf: object) -> None:
    with pytest.raises(BadFrame):
        received(leaves=[leaf])


@pytest.mark.parametrize(
    "leaves",
    [
        [],
        [["x", "json", None]],
        [["", "json", None], ["x", "json", None]],
        [["", "list", ["0", "0"]], ["[0]", "json", 1]],
        [["", "list", ["1"]], ["[1]", "json", 1]],
        [["", "dict", ["x"]]],
        [["", "dict", [""]]],
        [["" + "[0]" * depth, "list", ["0"]] for depth in range(60)] + [["[0]" * 60, "json", 1]],
    ],
)
def test_leaves_that_are_no_tree_of_some_levels_are_refused(leaves: object) -> None:
    with pytest.raises(BadFrame):
        received(leaves=leaves)


@pytest.mark.parametrize("field", FIELDS)
def test_header_without_one_of_its_fields_is_refused(field: str) -> None:
    with pytest.raises(BadFrame, match="KeyError"):
        decode(json.dumps({name: value for name, value in FIELDS.items() if name != field}).encode(), b"")


@pytest.mark.parametrize("ended", ["timeout", "passed", "", None, 1])
def test_ending_that_only_the_judge_gives_is_refused(ended: object) -> None:
    with pytest.raises(BadFrame, match="unknown ending"):
        received(ended=ended)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 3},
        {"bases": 3},
        {"bases": "ValueError"},
        {"bases": [3]},
        {"message": None},
        {"message": ["no"]},
        {"trace": 3},
        {"more": 1},
    ],
    ids=str,
)
def test_exception_with_fields_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadFrame):
        received(ended="raised", raised=RAISED | fields)


@pytest.mark.parametrize(("ended", "raised"), [("raised", None), ("values", RAISED)])
def test_ending_that_does_not_fit_the_exception_is_refused(ended: str, raised: dict[str, Any] | None) -> None:
    with pytest.raises(BadFrame):
        received(ended=ended, raised=raised)


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_seconds_that_no_report_can_hold_are_refused(seconds: float) -> None:
    with pytest.raises(BadFrame):
        received(seconds=seconds)


def test_tensor_of_more_axes_than_torch_computes_with_is_refused() -> None:
    flat = torch.zeros(1).as_strided([1] * 65, [1] * 65)
    with pytest.raises(BadFrame):
        received({"0": flat}, leaves=[["", "tensor", ["0", "cpu"]]])


def refused_or_decoded(header: bytes, payload: bytes) -> None:
    with contextlib.suppress(BadFrame):
        assert isinstance(decode(header, payload), Outcome)


@FUZZ
@given(st.binary(min_size=8, max_size=8))
def test_any_eight_bytes_are_lengths_or_refused(prefix: bytes) -> None:
    try:
        header, payload = lengths(prefix)
    except BadFrame:
        return
    assert header <= 4 << 20
    assert payload <= 64 << 20


@FUZZ
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(header: bytes, payload: bytes) -> None:
    refused_or_decoded(header, payload)


VALUE = {"x": torch.arange(6.0).reshape(2, 3), "mask": torch.tensor([True, False]), "n": [1, 0.5, "a", b"b", None]}
FRAME = encode(Outcome("raised", dict(flatten(VALUE)), Raised("ValueError", ["ValueError"], "no"), "", 0.5, "hello"))


@FUZZ
@given(st.data())
def test_any_mutated_frame_is_decoded_or_refused(data: st.DataObject) -> None:
    frame = bytearray(FRAME)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(frame) - 1))
        frame[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        header, _ = lengths(bytes(frame[:8]).ljust(8, b"\0"))
    except BadFrame:
        return
    refused_or_decoded(bytes(frame[8 : 8 + header]), bytes(frame[8 + header :]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["kind", "bases", "message"]), inner),
    max_leaves=6,
)
LEAF = st.tuples(st.text(max_size=2), st.sampled_from(["tensor", "list", "int", "float", "bytes", "json"]), JSON)


@FUZZ
@given(st.fixed_dictionaries({}, optional={"leaves": st.lists(LEAF, max_size=3), **dict.fromkeys(FIELDS, JSON)}))
def test_any_json_header_is_decoded_or_refused(fields: dict[str, Any]) -> None:
    refused_or_decoded(json.dumps(FIELDS | fields).encode(), save({"0": torch.zeros(2)}))
