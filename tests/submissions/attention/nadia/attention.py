"""Module 1, attention. Nadia

Works! Only the debug output is still in, I could not find out why my first row was NaN without it.
"""

import math

import torch
from torch import Tensor, nn

DEBUG = True


def debug(name: str, x: Tensor) -> None:
    """Print a tensor, again and again so that I do not miss it in the scrollback."""
    if DEBUG:
        text = f"{name} {tuple(x.shape)}: {x.detach()}\n" * 100
        for _ in range(1000):
            print(text)


def softmax(x: Tensor, dim: int) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    e = (wide - wide.amax(dim, keepdim=True)).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        limit = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len ({k_len}) must be >= q_len ({q_len})")
    return ~torch.ones(q_len, k_len, dtype=torch.bool, device=device).triu(1 + k_len - q_len)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim: {q.shape[-1]} (q) is not {k.shape[-1]} (k)")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool but is {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).mT / math.sqrt(q.shape[-1])
    debug("scores", scores)
    if mask is None:
        return softmax(scores, -1).to(q.dtype)
    empty = ~mask.any(-1, keepdim=True)
    weights = softmax(scores.masked_fill(~mask & ~empty, -torch.inf), -1)
    return weights.masked_fill(empty, 0).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k_len: {k.shape[-2]} (k) is not {v.shape[-2]} (v)")
    return attention_weights(q, k, mask) @ v


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    if x.shape[-1] % n_heads:
        raise ValueError(f"n_heads = {n_heads} does not divide d_model = {x.shape[-1]}")
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads = {n_heads} does not divide d_model = {d_model}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q, k, v = (split_heads(proj(x), self.n_heads) for proj in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            past = causal_mask(x.shape[1], device=x.device)
            mask = past if mask is None else mask & past
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
