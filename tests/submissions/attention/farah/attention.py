"""Attention from scratch (module 1)."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn import Module, Parameter

HALF = {torch.float16, torch.bfloat16}


def softmax(x: Tensor, dim: int) -> Tensor:
    y = x.float() if x.dtype in HALF else x
    y = torch.exp(y - y.amax(dim=dim, keepdim=True))
    return (y / y.sum(dim=dim, keepdim=True)).type_as(x)


class Linear(Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        r = 1.0 / sqrt(d_in)
        self.weight = Parameter((torch.rand(d_out, d_in) - 0.5) * 2 * r)
        self.bias = Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.mT
        return y + self.bias if self.bias is not None else y


def causal_mask(q_len: int, k_len: int | None = None, device: torch.device | str | None = None) -> Tensor:
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len={k_len} < q_len={q_len}: the first queries would come before every key")
    future = torch.ones(q_len, k_len, dtype=torch.bool, device=device).triu(k_len - q_len + 1)
    return ~future


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    d = q.size(-1)
    if d != k.size(-1):
        raise ValueError(f"q has head_dim {d}, k has head_dim {k.size(-1)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"expected a bool mask, got {mask.dtype}")
    qs, ks = (q.float(), k.float()) if q.dtype in HALF else (q, k)
    scores = (qs / sqrt(d)) @ ks.mT
    if mask is not None:
        dead = ~mask.any(dim=-1, keepdim=True)
        scores = scores.masked_fill(~mask, -torch.inf).masked_fill(dead, 0.0)
        return (softmax(scores, -1) * ~dead).type_as(q)
    return softmax(scores, -1).type_as(q)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k_len differs: k has {k.size(-2)}, v has {v.size(-2)}")
    return attention_weights(q, k, mask) @ v


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    batch, seq_len, d_model = x.shape
    if d_model % n_heads:
        raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
    # straight to the shape in the docstring
    return x.reshape(batch, n_heads, seq_len, d_model // n_heads)


def merge_heads(x: Tensor) -> Tensor:
    batch, n_heads, seq_len, head_dim = x.shape
    return x.permute(0, 2, 1, 3).reshape(batch, seq_len, n_heads * head_dim)


class MultiHeadAttention(Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q, k, v = (split_heads(proj(x), self.n_heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        allowed = mask
        if causal:
            allowed = causal_mask(x.size(1), device=x.device)
            if mask is not None:
                allowed = allowed & mask
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, allowed)))
