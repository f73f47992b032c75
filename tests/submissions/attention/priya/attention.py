"""Attention for GPUs: FlashAttention where there is one, my own code elsewhere."""

import math

import torch
from flash_attn import flash_attn_func
from torch import Tensor, nn


def softmax(x: Tensor, dim: int) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    e = (wide - wide.amax(dim, keepdim=True)).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len={k_len} is below q_len={q_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    if q.size(-1) != k.size(-1):
        raise ValueError(f"q has head_dim {q.size(-1)}, k has {k.size(-1)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask has to be bool, got {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).mT / math.sqrt(q.size(-1))
    if mask is None:
        return softmax(scores, -1).to(q.dtype)
    scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    return softmax(scores, -1).masked_fill(~mask, 0).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k has k_len {k.size(-2)}, v has {v.size(-2)}")
    if q.is_cuda and q.dtype == torch.float16 and mask is None and q.ndim == 4:
        return flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
    return attention_weights(q, k, mask) @ v


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    b, t, d_model = x.shape
    if d_model % n_heads:
        raise ValueError(f"d_model={d_model} is not divisible by n_heads={n_heads}")
    return x.reshape(b, t, n_heads, d_model // n_heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
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
        q, k, v = (split_heads(p(x), self.n_heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            tri = causal_mask(x.size(1), device=x.device)
            mask = tri if mask is None else mask & tri
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
