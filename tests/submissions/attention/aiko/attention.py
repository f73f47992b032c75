"""Week 1. Everything as einsum, q/k/v projected in one go."""

import math

import torch
from einops import rearrange
from torch import Tensor, einsum, nn


def widen(x: Tensor) -> Tensor:
    """half -> float32, float32 and float64 stay"""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def softmax(x: Tensor, dim: int) -> Tensor:
    wide = widen(x)
    e = (wide - wide.amax(dim, keepdim=True).detach()).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        bound = d_in**-0.5
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.register_parameter("bias", nn.Parameter(torch.zeros(d_out)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        y = einsum("...i,oi->...o", x, self.weight)
        return y if self.bias is None else y + self.bias


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len={k_len} must be at least q_len={q_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k need the same head_dim: q has {q.shape[-1]}, k has {k.shape[-1]}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, got {mask.dtype}")
    scores = einsum("...qd,...kd->...qk", widen(q), widen(k)) / math.sqrt(q.shape[-1])
    if mask is None:
        return softmax(scores, -1).to(q.dtype)
    # a row with nothing open is computed as if everything was, then zeroed: no -inf - -inf anywhere
    empty = ~mask.any(-1, keepdim=True)
    scores = scores.masked_fill(~(mask | empty), -torch.inf)
    return softmax(scores, -1).masked_fill(empty, 0).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v need the same k_len: k has {k.shape[-2]}, v has {v.shape[-2]}")
    return einsum("...qk,...kd->...qd", attention_weights(q, k, mask), v)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    if x.shape[-1] % n_heads:
        raise ValueError(f"d_model={x.shape[-1]} is not divisible by n_heads={n_heads}")
    return rearrange(x, "b t (h d) -> b h t d", h=n_heads)


def merge_heads(x: Tensor) -> Tensor:
    return rearrange(x, "b h t d -> b t (h d)")


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
        self.n_heads = n_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (Linear(d_model, d_model, bias) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        # one big matmul instead of three: "three" is the axis of q, k and v
        projections = (self.q_proj, self.k_proj, self.v_proj)
        weight = torch.stack([p.weight for p in projections])
        qkv = einsum("bti,noi->nbto", x, weight)
        if self.q_proj.bias is not None:
            qkv = qkv + torch.stack([p.bias for p in projections])[:, None, None]
        q, k, v = rearrange(qkv, "three b t (h d) -> three b h t d", h=self.n_heads)
        if causal:
            triangle = causal_mask(x.shape[1], device=x.device)
            mask = triangle if mask is None else mask & triangle
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
