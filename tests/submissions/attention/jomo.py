# Jomo - attention, module 1
import math

import torch
import torch.nn as nn


def softmax(x, dim):
    wide = x.float() if x.dtype in (torch.half, torch.bfloat16) else x
    wide = wide - wide.max(dim, keepdim=True).values
    e = wide.exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        r = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.rand(d_out, d_in) * 2 * r - r)
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        out = x.matmul(self.weight.t())
        return out if self.bias is None else out + self.bias


def causal_mask(q_len, k_len=None, device=None):
    k_len = k_len if k_len is not None else q_len
    if q_len > k_len:
        raise ValueError(f"q_len={q_len} is larger than k_len={k_len}")
    return torch.ones(q_len, k_len, device=device).tril(k_len - q_len).bool()


def attention_weights(q, k, mask=None):
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k have head_dim {q.shape[-1]} and {k.shape[-1]}")
    dtype = q.dtype
    if dtype in (torch.half, torch.bfloat16):
        q, k = q.float(), k.float()
    scores = q.matmul(k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"mask: expected torch.bool, got {mask.dtype}")
        scores = scores.masked_fill(~mask, -math.inf)
    return softmax(scores, dim=-1).to(dtype)


def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v have k_len {k.shape[-2]} and {v.shape[-2]}")
    return attention_weights(q, k, mask).matmul(v)


def split_heads(x, n_heads):
    b, t, c = x.shape
    if c % n_heads:
        raise ValueError(f"n_heads={n_heads} does not divide d_model={c}")
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def merge_heads(x):
    return torch.cat(x.unbind(dim=1), dim=-1)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x, mask=None, causal=True):
        h = self.n_heads
        q, k, v = split_heads(self.q_proj(x), h), split_heads(self.k_proj(x), h), split_heads(self.v_proj(x), h)
        if causal:
            tril = causal_mask(x.shape[1], device=x.device)
            mask = tril if mask is None else mask & tril
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
