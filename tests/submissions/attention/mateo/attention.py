"""Mateo. I wanted the softmax of the FlashAttention paper: one pass, with a running maximum."""

import math

import torch
from torch import nn


def softmax(x, dim):
    """Online softmax: keeps the largest score so far and rescales the sum whenever a larger one turns up."""
    rows = x.to(torch.promote_types(x.dtype, torch.float32)).movedim(dim, -1)
    best = rows[..., :1]
    total = torch.zeros_like(best)
    i = 0
    while i < rows.shape[-1]:
        score = rows[..., i : i + 1]
        if (score > best).any():
            larger = torch.maximum(best, score)
            total = total * (best - larger).exp()
            best = larger
            total = total + (score - best).exp()
            i += 1
    return ((rows - best).exp() / total).movedim(-1, dim).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        self.weight = nn.Parameter((torch.rand(d_out, d_in) * 2 - 1) / math.sqrt(d_in))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        y = x @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        return y


def causal_mask(q_len, k_len=None, device=None):
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len is {k_len} but there are {q_len} queries (q_len)")
    rows = torch.arange(k_len - q_len, k_len, device=device)
    cols = torch.arange(k_len, device=device)
    return rows.unsqueeze(-1) >= cols


def attention_weights(q, k, mask=None):
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim of q is {q.shape[-1]} and of k {k.shape[-1]}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}, it has to be bool")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        return softmax(scores, -1).to(q.dtype)
    scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    return softmax(scores, -1).masked_fill(~mask, 0.0).to(q.dtype)


def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k_len of k is {k.shape[-2]} and of v {v.shape[-2]}")
    return attention_weights(q, k, mask) @ v


def split_heads(x, n_heads):
    b, t, d_model = x.shape
    if d_model % n_heads:
        raise ValueError(f"d_model = {d_model}, which n_heads = {n_heads} does not divide")
    return x.reshape(b, t, n_heads, -1).transpose(1, 2)


def merge_heads(x):
    return x.transpose(1, 2).flatten(-2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model = {d_model}, which n_heads = {n_heads} does not divide")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x, mask=None, causal=True):
        q, k, v = (split_heads(p(x), self.n_heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            past = causal_mask(x.shape[1], device=x.device)
            mask = past if mask is None else mask & past
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
