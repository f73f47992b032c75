"""Module 1. Why write it again if torch has it?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def softmax(x: Tensor, dim: int) -> Tensor:
    return torch.softmax(x, dim=dim)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len {k_len} is smaller than q_len {q_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(diagonal=k_len - q_len)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    if q.size(-1) != k.size(-1):
        raise ValueError(f"head_dim of q and k: {q.size(-1)} and {k.size(-1)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, is {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).mT / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    weights = softmax(scores, dim=-1)
    return (weights if mask is None else weights * mask).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k_len of k and v: {k.size(-2)} and {v.size(-2)}")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    b, t, d_model = x.shape
    if d_model % n_heads != 0:
        raise ValueError(f"d_model {d_model}, n_heads {n_heads}: does not divide")
    return x.reshape(b, t, n_heads, d_model // n_heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError(f"d_model {d_model}, n_heads {n_heads}: does not divide")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q, k, v = (split_heads(p(x), self.n_heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            tri = causal_mask(x.size(1), device=x.device)
            mask = tri if mask is None else mask & tri
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
