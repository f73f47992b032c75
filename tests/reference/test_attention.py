"""The reference of module 1 against PyTorch's own kernels, and given against the same oracles lightly."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import beartype
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from assignments.given import attention as given
from reference import attention

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# relative to values of about one; half precision rounds every intermediate result of an oracle of its own
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}
BOTH = pytest.mark.parametrize("impl", [attention, given], ids=["reference", "given"])
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def bools(*shape: int, seed: int = 0, share: float = 0.6) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def same(got: Tensor, right: Tensor, tolerance: float | None = None) -> None:
    """Equal in dtype and shape, and in value as far as the dtype can tell."""
    tolerance = TOLERANCE[got.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(got, right, rtol=tolerance, atol=tolerance)


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


# --- split_heads and merge_heads ---


@BOTH
def test_heads_are_consecutive_slices_and_merge_is_the_inverse(impl: Any) -> None:
    x = randn(2, 5, 12).detach()
    heads = impl.split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    for h in range(3):
        assert torch.equal(heads[:, h], x[..., h * 4 : (h + 1) * 4])
    assert torch.equal(impl.merge_heads(heads), x)
    assert torch.equal(impl.merge_heads(heads.contiguous()), x)


def test_split_heads_takes_inputs_that_are_not_contiguous() -> None:
    x = randn(12, 5, 2).detach().transpose(0, 2)
    assert torch.equal(attention.split_heads(x, 3), attention.split_heads(x.contiguous(), 3))


# --- MultiHeadAttention ---


def oracle_of(layer: nn.Module, d_model: int, n_heads: int, bias: bool) -> nn.MultiheadAttention:
    """PyTorch's layer with the weights of ours."""
    oracle = nn.MultiheadAttention(d_model, n_heads, bias=bias, batch_first=True).to(layer.q_proj.weight.dtype)
    with torch.no_grad():
        for kind in ("weight", "bias") if bias else ("weight",):
            stacked = torch.cat([getattr(getattr(layer, f"{name}_proj"), kind) for name in "qkv"])
            getattr(oracle, f"in_proj_{kind}").copy_(stacked)
            getattr(oracle.out_proj, kind).copy_(getattr(layer.out_proj, kind))
    return oracle


def gradients_of(layer: nn.Module) -> dict[str, Tensor]:
    """Each parameter's gradient under the name that ours has for it."""
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    for kind in ("weight", "bias"):
        stacked = found.pop(f"in_proj_{kind}", None)
        if stacked is not None:
            found |= {f"{name}_proj.{kind}": part for name, part in zip("qkv", stacked.chunk(3), strict=True)}
    return found


@BOTH
@EVERY_DTYPE
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_is_that_of_torch(impl: Any, dtype: torch.dtype, bias: bool, causal: bool) -> None:
    torch.manual_seed(0)
    layer = impl.MultiHeadAttention(12, 3, bias=bias)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=12**-0.5)
    layer.to(dtype)
    oracle = oracle_of(layer, 12, 3, bias)
    x, y = randn(2, 5, 12, dtype=dtype), randn(2, 5, 12, dtype=dtype)
    mask = ~torch.ones(5, 5, dtype=torch.bool).tril() if causal else None
    out, right = layer(x, causal=causal), oracle(y, y, y, attn_mask=mask, need_weights=False)[0]
    same(out, right)
    upstream = randn(2, 5, 12, seed=9, dtype=dtype).detach()
    out.backward(upstream)
    right.backward(upstream)
    assert x.grad is not None
    assert y.grad is not None
    loose = 5 * TOLERANCE[dtype]  # sums over batch and seq_len of products already rounded
    same(x.grad, y.grad, tolerance=loose)
    ours, theirs = gradients_of(layer), gradients_of(oracle)
    assert ours.keys() == theirs.keys() == dict(layer.named_parameters()).keys()
    for name, gradient in ours.items():
        same(gradient, theirs[name], tolerance=loose)


@BOTH
def test_padding_and_causal_masks_count_together(impl: Any) -> None:
    layer = impl.MultiHeadAttention(12, 3).double()
    x = randn(3, 5, 12).detach()
    real = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]  # padded on the right: no query is left without a key
    oracle = oracle_of(layer, 12, 3, bias=False)
    future = ~torch.ones(5, 5, dtype=torch.bool).tril()
    for causal, hidden in ((True, future), (False, None)):
        right = oracle(x, x, x, key_padding_mask=~real, attn_mask=hidden, need_weights=False)[0]
        same(layer(x, mask=real[:, None, None, :], causal=causal), right)


@BOTH
def test_queries_before_left_padding_give_the_bias_alone(impl: Any) -> None:
    layer = impl.MultiHeadAttention(12, 3, bias=True).double()
    nn.init.normal_(layer.out_proj.bias)
    real = torch.tensor([[False, False, True, True, True]])
    out = layer(randn(1, 5, 12), mask=real[:, None, None, :])
    same(out[0, :2], layer.out_proj.bias.expand(2, 12))


def test_multi_head_attention_is_causal_by_default() -> None:
    layer = attention.MultiHeadAttention(12, 3).double()
    x = randn(1, 5, 12)
    (gradient,) = torch.autograd.grad(layer(x)[0, 2].sum(), x)
    assert gradient[0, :3].any(dim=-1).all()
    assert not gradient[0, 3:].any()


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
