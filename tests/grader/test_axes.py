"""The names of axes come from the annotations of the reference, read as text."""

from pathlib import Path

import pytest

from grader.axes import Signature, axis_names, signatures

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import torch

LIMIT = 3


def attend(q: Float[Tensor, "... q_len head_dim"], mask: Bool[Tensor, "... q_len k_len"] | None = None, n: int = 2):
    return q


def one(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]: ...


class Layer(Module):
    def __init__(self, d_in: int, bias: bool = True) -> None: ...

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]: ...

    def other(self, y: Float[Tensor, "... wrong"]) -> Float[Tensor, "... wrong"]: ...

    @classmethod
    def load(cls, path: str) -> "Layer": ...

    def _own(self, z: int) -> None: ...
"""
TOY = signatures(SOURCE)
REFERENCE = signatures((ROOT / "reference" / "attention.py").read_text(encoding="utf-8"))


def test_signatures_hold_every_function_and_class_of_the_source() -> None:
    assert list(TOY) == ["attend", "one", "Layer"]
    assert TOY["attend"] == Signature({"q": "... q_len head_dim", "mask": "... q_len k_len"}, "", ("q", "mask", "n"))


def test_signature_of_a_class_is_that_of_forward_with_the_names_of_all_public_methods() -> None:
    assert TOY["Layer"] == Signature({"x": "... d_in"}, "... d_out", ("d_in", "bias", "x", "y", "path"))


def test_names_of_arguments_hold_the_keyword_only_and_positional_only_ones() -> None:
    found = signatures('def f(a, /, b, *, generator: Float[Tensor, "n"], top_k=None): ...')["f"]
    assert found.names == ("a", "b", "generator", "top_k")
    assert found.arguments == {"generator": "n"}


def test_string_that_is_no_axis_string_is_not_taken_for_one() -> None:
    found = signatures('def f(kind: Literal["mean", "sum"]) -> None: ...')["f"]
    assert found == Signature({}, "", ("kind",))


def test_signatures_of_the_reference_name_every_argument() -> None:
    assert REFERENCE["scaled_dot_product_attention"] == Signature(
        {
            "q": "... q_len head_dim",
            "k": "... k_len head_dim",
            "v": "... k_len v_dim",
            "mask": REFERENCE["attention_weights"].arguments["mask"],
        },
        "... q_len v_dim",
        ("q", "k", "v", "mask"),
    )
    assert REFERENCE["causal_mask"].names == ("q_len", "k_len", "device")
    assert REFERENCE["MultiHeadAttention"].names == ("d_model", "n_heads", "bias", "x", "mask", "causal")


@pytest.mark.parametrize(
    ("task", "path", "ndim", "names"),
    [
        ("attention_weights", "", 2, ["q_len", "k_len"]),
        ("attention_weights", "output", 4, ["axis 0", "axis 1", "q_len", "k_len"]),
        ("attention_weights", "gradient of k", 3, ["axis 0", "k_len", "head_dim"]),
        ("attention_weights", "q after the call", 3, ["axis 0", "q_len", "head_dim"]),
        ("attention_weights", "mask after the call", 2, ["q_len", "k_len"]),
        ("attention_weights", "something else", 2, ["axis 0", "axis 1"]),
        ("attention_weights", "[1]", 2, ["q_len", "k_len"]),
        ("attention_weights", "output with a mask", 2, ["q_len", "k_len"]),
        ("attention_weights", "", 1, ["axis 0"]),
        ("attention_weights", "", 0, []),
        ("causal_mask", "", 2, ["q_len", "k_len"]),
        ("causal_mask", "", 3, ["axis 0", "axis 1", "axis 2"]),
        ("split_heads", "", 4, ["batch", "n_heads", "seq_len", "head_dim"]),
        ("split_heads", "", 3, ["axis 0", "axis 1", "axis 2"]),
        ("softmax", "", 2, ["axis 0", "axis 1"]),
        ("MultiHeadAttention", "gradient of x", 3, ["batch", "seq_len", "d_model"]),
        ("MultiHeadAttention", "gradient of q_proj.weight", 2, ["axis 0", "axis 1"]),
    ],
)
def test_axis_names_of_the_reference(task: str, path: str, ndim: int, names: list[str]) -> None:
    assert axis_names(REFERENCE[task], path, ndim) == names


def test_axis_names_keep_a_broadcast_axis_and_drop_its_sign() -> None:
    assert axis_names(Signature(result="... #q_len #k_len"), "", 3) == ["axis 0", "q_len", "k_len"]
