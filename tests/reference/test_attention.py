"""The reference of module 1 against PyTorch's own kernels, and given against the same oracles lightly."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_oracles import BOTH, EVERY_DTYPE, randn, same
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from reference import attention


def bools(*shape: int, seed: int = 0, share: float = 0.6) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def same_with_gradients(ours: Callable[..., Tensor], oracle: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """The output of both, and the gradient of every input from an upstream gradient that is not constant."""
    got, right = ours(*inputs), oracle(*inputs)
    same(got, right)
    upstream = randn(*got.shape, seed=99, dtype=got.dtype).detach()
    for one, other in zip(
        torch.autograd.grad(got, inputs, upstream), torch.autograd.grad(right, inputs, upstream), strict=True
    ):
        same(one, other)


def fused(mask: Tensor | None = None) -> Callable[..., Tensor]:
    """PyTorch's kernel; queries that may attend to nothing, on which its versions differ, are set to zero."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out if mask is None else out.masked_fill(~mask.any(-1, keepdim=True), 0)

    return attend


# --- softmax ---


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize(("shape", "dim"), [((2, 3, 5), -1), ((2, 3, 5), 1), ((4, 3), 0), ((6,), 0)])
def test_softmax_is_that_of_torch(impl: Any, dtype: torch.dtype, shape: tuple[int, ...], dim: int) -> None:
    x = randn(*shape, dtype=dtype)
    same_with_gradients(lambda x: impl.softmax(x, dim), lambda x: torch.softmax(x, dim), [x])


@BOTH
@EVERY_DTYPE
def test_softmax_survives_scores_of_ten_thousand(impl: Any, dtype: torch.dtype) -> None:
    x = torch.tensor([[1e4, -1e4, 9.9e3], [-1e4, -1e4, -9.9e3], [1e4, 1e4, 0.0]], dtype=dtype).requires_grad_()
    same_with_gradients(lambda x: impl.softmax(x, -1), lambda x: torch.softmax(x, -1), [x])
    assert impl.softmax(x, -1).isfinite().all()


def test_softmax_gives_minus_infinity_no_weight_and_no_gradient() -> None:
    x = randn(3, 5).detach().masked_fill(torch.ones(3, 5).triu(2).bool(), -math.inf).requires_grad_()
    same_with_gradients(lambda x: attention.softmax(x, -1), lambda x: torch.softmax(x, -1), [x])
    assert attention.softmax(x, -1)[0, 2:].tolist() == [0.0, 0.0, 0.0]


def test_softmax_sums_long_half_precision_rows_in_float32() -> None:
    x = randn(2, 70_000, dtype=torch.float16).detach() * 0.01
    same(attention.softmax(x, -1).float(), torch.softmax(x.float(), -1), tolerance=1e-7)


def test_softmax_leaves_its_input_alone() -> None:
    x = randn(2, 3).detach()
    before = x.clone()
    attention.softmax(x, -1)
    assert torch.equal(x, before)


# --- Linear ---


@EVERY_DTYPE
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (4,), (2, 3)])
def test_linear_is_that_of_torch(dtype: torch.dtype, bias: bool, leading: tuple[int, ...]) -> None:
    ours, oracle = attention.Linear(6, 5, bias=bias).to(dtype), nn.Linear(6, 5, bias=bias).to(dtype)
    oracle.load_state_dict(ours.state_dict())
    x = randn(*leading, 6, dtype=dtype)
    weights = {name: p.detach().requires_grad_() for name, p in ours.named_parameters()}

    def call(layer: nn.Module) -> Callable[..., Tensor]:
        return lambda x, *ps: torch.func.functional_call(layer, dict(zip(weights, ps, strict=True)), (x,))

    same_with_gradients(call(ours), call(oracle), [x, *weights.values()])


def test_linear_registers_what_torch_registers() -> None:
    for bias in (True, False):
        ours, oracle = attention.Linear(6, 5, bias=bias), nn.Linear(6, 5, bias=bias)
        assert {n: p.shape for n, p in ours.state_dict().items()} == {
            n: p.shape for n, p in oracle.state_dict().items()
        }
    assert attention.Linear(6, 5, bias=False).bias is None


def test_linear_starts_from_values_that_train() -> None:
    layer = attention.Linear(400, 50)
    assert layer.weight.abs().max() <= 1 / 20
    assert layer.weight.std() > 0.02
    assert not layer.bias.any()  # type: ignore[union-attr]


# --- causal_mask ---


@BOTH
@pytest.mark.parametrize(("q_len", "k_len"), [(1, 1), (4, 4), (1, 5), (2, 3), (3, 7)])
def test_causal_mask_is_the_lower_triangle_that_ends_at_the_last_key(impl: Any, q_len: int, k_len: int) -> None:
    mask = impl.causal_mask(q_len, k_len)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[j <= i + k_len - q_len for j in range(k_len)] for i in range(q_len)]


def test_causal_mask_without_k_len_is_the_square_of_the_fused_kernel() -> None:
    q, k, v = (randn(2, 5, 4, seed=i) for i in range(3))
    same_with_gradients(
        lambda *a: attention.scaled_dot_product_attention(*a, attention.causal_mask(5)),
        lambda *a: F.scaled_dot_product_attention(*a, is_causal=True),
        [q, k, v],
    )


def test_causal_mask_of_fewer_queries_is_the_end_of_the_whole_one() -> None:
    assert torch.equal(attention.causal_mask(3, 7), attention.causal_mask(7)[-3:])


def test_causal_mask_is_made_on_the_device_asked_for() -> None:
    assert attention.causal_mask(2, 3, device="meta").device.type == "meta"
    with torch.device("meta"):
        assert attention.causal_mask(2).device.type == "meta"


# --- attention_weights and scaled_dot_product_attention ---


def naive_weights(mask: Tensor | None) -> Callable[..., Tensor]:
    """Torch's softmax over the scores in float32 or better, with -inf where nothing may be attended to."""

    def weights(q: Tensor, k: Tensor) -> Tensor:
        wide = torch.promote_types(q.dtype, torch.float32)
        scores = torch.einsum("...qd,...kd->...qk", q.to(wide), k.to(wide)) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return torch.softmax(scores, -1).nan_to_num(0.0).to(q.dtype)

    return weights


@BOTH
@EVERY_DTYPE
def test_weights_are_the_softmax_of_the_scaled_scores(impl: Any, dtype: torch.dtype) -> None:
    q, k = randn(2, 3, 4, 6, seed=1, dtype=dtype), randn(2, 3, 5, 6, seed=2, dtype=dtype)
    same_with_gradients(impl.attention_weights, naive_weights(None), [q, k])


@BOTH
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 5), (2, 1, 1, 5), (1, 5), (5,), (3, 4, 1)])
def test_weights_take_every_mask_that_broadcasts(impl: Any, shape: tuple[int, ...]) -> None:
    mask = bools(*shape)
    q, k = randn(2, 3, 4, 6, seed=1).detach(), randn(2, 3, 5, 6, seed=2).detach()
    got = impl.attention_weights(q, k, mask)
    same(got, naive_weights(mask)(q, k))
    assert not got[~mask.expand_as(got)].any()


@BOTH
@EVERY_DTYPE
def test_attention_is_that_of_the_fused_kernel(impl: Any, dtype: torch.dtype) -> None:
    q, k, v = (randn(2, 3, *size, seed=i, dtype=dtype) for i, size in enumerate([(4, 6), (5, 6), (5, 7)]))
    same_with_gradients(impl.scaled_dot_product_attention, fused(), [q, k, v])
    mask = bools(2, 1, 4, 5)
    mask[..., 0] = True
    masked = functools.partial(impl.scaled_dot_product_attention, mask=mask)
    same_with_gradients(masked, fused(mask), [q, k, v])


@BOTH
def test_attention_of_the_last_queries_is_the_end_of_the_whole(impl: Any) -> None:
    q, k, v = (randn(2, 7, 6, seed=i).detach() for i in range(3))
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    same(impl.scaled_dot_product_attention(q[:, -3:], k, v, impl.causal_mask(3, 7)), whole[:, -3:])


@BOTH
@EVERY_DTYPE
def test_query_with_nothing_to_attend_to_gets_zeros_and_no_gradient(impl: Any, dtype: torch.dtype) -> None:
    q, k, v = (randn(2, n, 6, seed=n, dtype=dtype) for n in (4, 5, 5))
    mask = bools(4, 5)
    mask[1] = False
    mask[0, 0] = True
    out = impl.scaled_dot_product_attention(q, k, v, mask)
    assert not impl.attention_weights(q, k, mask)[:, 1].any()
    assert not out[:, 1].any()
    for gradient in torch.autograd.grad(out, [q, k, v], torch.ones_like(out)):
        assert gradient.isfinite().all()
    (to_q,) = torch.autograd.grad(impl.scaled_dot_product_attention(q, k, v, mask).sum(), q)
    assert not to_q[:, 1].any()
    assert to_q[:, 0].any()


def test_mask_of_all_false_gives_zeros_everywhere() -> None:
    q, k, v = (randn(2, 3, 4, seed=i) for i in range(3))
    out = attention.scaled_dot_product_attention(q, k, v, torch.zeros(3, 3, dtype=torch.bool))
    assert not out.any()
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), [q, k, v]))


@BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_of_ten_thousand_overflow_nothing(impl: Any, sign: int) -> None:
    """Excluded keys stay excluded though their scores are 20,000 above those of the others."""
    q = torch.full((3, 4), 100.0, dtype=torch.float64) * sign + randn(3, 4, seed=1).detach()
    k = torch.tensor([[100.0] * 4, [-100.0] * 4, [99.0] * 4, [-99.0] * 4, [-100.0] * 4], dtype=torch.float64)
    mask = torch.tensor([[False, True, False, True, True], [True] * 5, [True, True, False, False, True]])
    for dtype in (torch.float64, torch.float32):
        inputs = [x.to(dtype).requires_grad_() for x in (q, k)]
        weights = impl.attention_weights(*inputs, mask)
        same(weights, naive_weights(mask)(*inputs), tolerance=1e-3 if dtype == torch.float32 else 1e-9)
        assert not weights[~mask].any()
        assert all(g.isfinite().all() for g in torch.autograd.grad(weights[:, 1].sum(), inputs))


def test_float16_scores_beyond_its_range_are_computed_in_float32() -> None:
    q, k = torch.full((2, 16), 300.0, dtype=torch.float16), torch.full((3, 16), 300.0, dtype=torch.float16)
    assert attention.attention_weights(q, k).isfinite().all()
    same(attention.attention_weights(q, k), torch.full((2, 3), 1 / 3, dtype=torch.float16))


def test_attention_takes_inputs_that_are_not_contiguous_and_leaves_them_alone() -> None:
    q, k, v = (randn(6, n, 2, seed=n).detach().transpose(0, 2) for n in (4, 5, 5))
    mask = bools(5, 4).T
    before = [x.clone() for x in (q, k, v, mask)]
    same(attention.scaled_dot_product_attention(q, k, v, mask), fused(mask)(q, k, v))
    assert all(map(torch.equal, before, (q, k, v, mask)))


SIZES = st.tuples(*[st.integers(1, 4)] * 2, st.integers(1, 5), st.integers(0, 3), st.integers(1, 6), st.integers(1, 6))


@settings(derandomize=True, database=None, deadline=None, max_examples=30)
@over(SIZES, st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_attention_is_that_of_the_fused_kernel_for_any_sizes(sizes: tuple[int, ...], seed: int, share: float) -> None:
    batch, heads, q_len, more, head_dim, v_dim = sizes
    k_len = q_len + more
    ends = [(q_len, head_dim), (k_len, head_dim), (k_len, v_dim)]
    q, k, v = (randn(batch, heads, *end, seed=seed + i) for i, end in enumerate(ends))
    mask = attention.causal_mask(q_len, k_len) & bools(batch, 1, q_len, k_len, seed=seed, share=share)
    with_mask = functools.partial(attention.scaled_dot_product_attention, mask=mask)
    # where every key is excluded the kernel's gradient may be NaN, so such queries are given one key in both
    open_mask = mask | ~mask.any(-1, keepdim=True)
    same(with_mask(q, k, v), fused(mask)(q, k, v))
    same_with_gradients(
        functools.partial(attention.scaled_dot_product_attention, mask=open_mask), fused(open_mask), [q, k, v]
    )


# --- gradients by finite differences ---


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda x: attention.softmax(x, 1), [(2, 3, 2)]),
        (lambda q, k: attention.attention_weights(q, k, bools(3, 4, seed=3)), [(2, 3, 2), (2, 4, 2)]),
        (
            lambda q, k, v: attention.scaled_dot_product_attention(q, k, v, attention.causal_mask(2, 3)),
            [(2, 2), (3, 2), (3, 3)],
        ),
        (lambda x: attention.merge_heads(attention.split_heads(x, 2)), [(2, 3, 4)]),
    ],
    ids=["softmax", "attention_weights", "scaled_dot_product_attention", "heads"],
)
def test_gradients_are_those_of_finite_differences(function: Callable[..., Tensor], shapes: list[Any]) -> None:
    assert torch.autograd.gradcheck(function, [randn(*shape, seed=i) for i, shape in enumerate(shapes)])


def test_gradients_of_a_whole_layer_are_those_of_finite_differences() -> None:
    layer = attention.MultiHeadAttention(4, 2, bias=True).double()
    names = list(dict(layer.named_parameters()))

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))  # type: ignore[no-any-return]

    inputs = [randn(2, 3, 4), *(p.detach().requires_grad_() for p in layer.parameters())]
    assert torch.autograd.gradcheck(call, inputs)
