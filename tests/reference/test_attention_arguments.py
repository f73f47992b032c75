"""What attention refuses, and that its annotations are true."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from attention_oracles import EVERY_DTYPE, randn
from beartype import beartype

from assignments.given import attention as given
from reference import attention

# --- errors ---

HALF = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: attention.causal_mask(3, 2),
            r"^k_len must be at least q_len, got k_len=2 and q_len=3$",
        ),
        (
            lambda: attention.attention_weights(torch.zeros(2, 4), torch.zeros(5, 3)),
            r"^q and k must have the same head_dim, got q \(2, 4\) and k \(5, 3\)$",
        ),
        (
            lambda: attention.attention_weights(HALF, HALF, torch.ones(2, 2)),
            r"^mask must be bool \(True = may attend\), got mask of dtype torch\.float32$",
        ),
        (
            lambda: attention.scaled_dot_product_attention(HALF, HALF, HALF, torch.ones(2, 2).long()),
            r"^mask must be bool \(True = may attend\), got mask of dtype torch\.int64$",
        ),
        (
            lambda: attention.scaled_dot_product_attention(HALF, torch.zeros(5, 3), torch.zeros(4, 3)),
            r"^k and v must have the same k_len, got k \(5, 3\) and v \(4, 3\)$",
        ),
        (
            lambda: attention.split_heads(torch.zeros(2, 3, 10), 4),
            r"^d_model must be divisible by n_heads, got d_model=10 and n_heads=4$",
        ),
        (
            lambda: attention.MultiHeadAttention(10, 3),
            r"^d_model must be divisible by n_heads, got d_model=10 and n_heads=3$",
        ),
    ],
    ids=["k_len", "head_dim", "mask", "mask of attention", "v", "split_heads", "MultiHeadAttention"],
)
def test_wrong_arguments_are_refused_by_name(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: given.causal_mask(3, 2), "k_len"),
        (lambda: given.attention_weights(torch.zeros(2, 4), torch.zeros(5, 3)), "head_dim"),
        (lambda: given.attention_weights(HALF, HALF, torch.ones(2, 2)), "mask"),
        (lambda: given.scaled_dot_product_attention(HALF, torch.zeros(5, 3), torch.zeros(4, 3)), "k_len"),
        (lambda: given.split_heads(torch.zeros(2, 3, 10), 4), "n_heads"),
        (lambda: given.MultiHeadAttention(10, 3), "n_heads"),
    ],
)
def test_given_refuses_the_same_arguments(call: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        call()


# --- the annotations are true ---

checked = jaxtyping.jaxtyped(typechecker=beartype)
FUNCTIONS = [
    *("softmax", "causal_mask", "attention_weights"),
    *("scaled_dot_product_attention", "split_heads", "merge_heads"),
]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reference with every call checked against its annotations, the calls among its own functions too."""
    for name in FUNCTIONS:
        monkeypatch.setattr(attention, name, checked(getattr(attention, name)))
    for layer in (attention.Linear, attention.MultiHeadAttention):
        monkeypatch.setattr(layer, "forward", checked(layer.forward))
    return attention


@EVERY_DTYPE
def test_annotations_hold_for_every_task(typed: Any, dtype: torch.dtype) -> None:
    q, k, v = (randn(2, 3, *end, dtype=dtype) for end in ((4, 6), (5, 6), (5, 7)))
    assert typed.softmax(q, -2).shape == q.shape
    assert typed.scaled_dot_product_attention(q, k, v, typed.causal_mask(4, 5)).shape == (2, 3, 4, 7)
    assert typed.attention_weights(q[0, 0], k[0, 0]).shape == (4, 5)
    assert typed.MultiHeadAttention(12, 3, bias=True).to(dtype)(randn(2, 5, 12, dtype=dtype)).shape == (2, 5, 12)
    assert typed.Linear(6, 2).to(dtype)(q[0, 0, 0]).shape == (2,)


@pytest.mark.parametrize("shape", [(2, 1, 1, 5), (3, 5, 5), (1, 5), (1, 1)])
def test_annotations_hold_for_masks_that_broadcast(typed: Any, shape: tuple[int, ...]) -> None:
    """Padding, as the docstring of MultiHeadAttention passes it, has one query for all."""
    mask = torch.ones(shape, dtype=torch.bool)
    assert typed.MultiHeadAttention(12, 3)(randn(2, 5, 12, dtype=torch.float32), mask).shape == (2, 5, 12)


def test_annotations_refuse_what_does_not_fit(typed: Any) -> None:
    for call in (
        lambda: typed.attention_weights(HALF, torch.zeros(5, 3), torch.ones(4, 5, dtype=torch.bool)),
        lambda: typed.merge_heads(HALF),
        lambda: typed.softmax(torch.zeros(3, dtype=torch.int64), 0),
    ):
        with pytest.raises(jaxtyping.TypeCheckError):
            call()
