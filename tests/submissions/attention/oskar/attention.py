import math
import sys

import torch
from torch import nn


def softmax(x, dim):
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    y = torch.exp(y - y.amax(dim, keepdim=True))
    return (y / y.sum(dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        self.weight = nn.Parameter((2 * torch.rand(d_out, d_in) - 1) / math.sqrt(d_in))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        return x @ self.weight.T + (0 if self.bias is None else self.bias)


def causal_mask(q_len, k_len=None, device=None):
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len {k_len} < q_len {q_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention_weights(q, k, mask=None):
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim of q and k: {q.shape[-1]} != {k.shape[-1]}")
    if mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, not {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).mT / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    return softmax(scores, -1).masked_fill(~mask, 0).to(q.dtype)


def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k_len of k and v: {k.shape[-2]} != {v.shape[-2]}")
    return attention_weights(q, k, mask) @ v


def split_heads(x, n_heads):
    b, t, d = x.shape
    if d % n_heads:
        raise ValueError(f"d_model {d} % n_heads {n_heads} != 0")
    return x.reshape(b, t, n_heads, d // n_heads).transpose(1, 2)


def merge_heads(x):
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} % n_heads {n_heads} != 0")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x, mask=None, causal=True):
        q, k, v = (split_heads(p(x), self.n_heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            tri = causal_mask(x.shape[1], device=x.device)
            mask = tri if mask is None else tri & mask
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))


def main():
    """My own test: rows sum to one, nothing from the future."""
    w = attention_weights(torch.randn(4, 8), torch.randn(4, 8), causal_mask(4))
    ok = bool((w.sum(-1) - 1).abs().max() < 1e-5) and bool((w.triu(1) == 0).all())
    print("all good" if ok else "broken")
    return 0 if ok else 1


sys.exit(main())
