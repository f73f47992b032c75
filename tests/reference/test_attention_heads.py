"""Heads and multi-head attention against PyTorch's own."""

from typing import Any

import pytest
import torch
from attention_oracles import BOTH, EVERY_DTYPE, TOLERANCE, randn, same
from torch import Tensor, nn

from reference import attention

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
