"""Hina, week 1."""

import math

import torch
from torch import Tensor, nn


def softmax(x: Tensor, dim: int) -> Tensor:
    """Just the formula: exp over the sum of exp."""
    exps = torch.exp(x.to(torch.promote_types(x.dtype, torch.float32)))
    return (exps / exps.sum(dim=dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        scale = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("...i,ji->...j", x, self.weight)
        if self.bias is not None:
            y = y + self.bias
        return y


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    if k_len is None:
        k_len = q_len
    elif k_len < q_len:
        raise ValueError(f"k_len must not be smaller than q_len ({k_len} < {q_len})")
    query = torch.arange(q_len, device=device).unsqueeze(1) + (k_len - q_len)
    key = torch.arange(k_len, device=device).unsqueeze(0)
    return key <= query


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    d = q.shape[-1]
    if k.shape[-1] != d:
        raise ValueError(f"q and k must have the same head_dim ({d} != {k.shape[-1]})")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must have dtype bool, not {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("...qd,...kd->...qk", q.to(wide), k.to(wide)) / math.sqrt(d)
    if mask is None:
        return softmax(scores, -1).to(q.dtype)
    # rows where nothing is allowed: open them all, then set the row to zero
    none = ~mask.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~(mask | none), float("-inf"))
    return softmax(scores, -1).masked_fill(none, 0.0).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v must have the same k_len ({k.shape[-2]} != {v.shape[-2]})")
    return torch.einsum("...qk,...kd->...qd", attention_weights(q, k, mask), v)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    batch, seq_len, d_model = x.shape
    if d_model % n_heads != 0:
        raise ValueError(f"d_model must be divisible by n_heads ({d_model} % {n_heads} != 0)")
    return x.reshape(batch, seq_len, n_heads, -1).permute(0, 2, 1, 3)


def merge_heads(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1, 3).flatten(2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError(f"d_model must be divisible by n_heads ({d_model} % {n_heads} != 0)")
        self.n_heads = n_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            self.add_module(name, Linear(d_model, d_model, bias=bias))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q, k, v = [split_heads(f(x), self.n_heads) for f in (self.q_proj, self.k_proj, self.v_proj)]
        if causal:
            past = causal_mask(x.shape[1], device=x.device)
            mask = past if mask is None else mask & past
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
