"""Module 1: attention."""

import math

import torch
from torch import Tensor, nn


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def softmax(x: Tensor, dim: int) -> Tensor:
    wide = _at_least_float32(x)
    # exp(log softmax), as in the lecture
    shifted = wide - wide.amax(dim=dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim=dim, keepdim=True).log()).exp().to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        nn.init.uniform_(self.weight, -(d_in**-0.5), d_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        result = x @ self.weight.T
        if self.bias is not None:
            result = result + self.bias
        return result


def causal_mask(q_len: int, k_len: int | None = None, device: torch.device | str | None = None) -> Tensor:
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len ({k_len}) must be at least q_len ({q_len})")
    # build the square one for all keys and keep the last q_len rows
    return torch.ones(k_len, k_len, dtype=torch.bool, device=device).tril()[k_len - q_len :]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    if q.size(-1) != k.size(-1):
        raise ValueError(f"head_dim of q is {q.size(-1)}, head_dim of k is {k.size(-1)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be a bool tensor, got {mask.dtype}")
    scores = _at_least_float32(q) @ _at_least_float32(k).transpose(-2, -1) / math.sqrt(q.size(-1))
    if mask is None:
        return softmax(scores, dim=-1).to(q.dtype)
    lonely = ~mask.any(dim=-1, keepdim=True)
    scores = scores.masked_fill(~mask & ~lonely, float("-inf"))
    return softmax(scores, dim=-1).masked_fill(lonely, 0.0).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k_len of k is {k.size(-2)}, k_len of v is {v.size(-2)}")
    return attention_weights(q, k, mask) @ v


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    batch, seq_len, d_model = x.shape
    head_dim, rest = divmod(d_model, n_heads)
    if rest:
        raise ValueError(f"d_model {d_model} is not divisible by n_heads {n_heads}")
    return x.reshape(batch, seq_len, n_heads, head_dim).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    batch, n_heads, seq_len, head_dim = x.shape
    return x.transpose(1, 2).reshape(batch, seq_len, n_heads * head_dim)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} is not divisible by n_heads {n_heads}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q = split_heads(self.q_proj(x), self.n_heads)
        k = split_heads(self.k_proj(x), self.n_heads)
        v = split_heads(self.v_proj(x), self.n_heads)
        if causal:
            mask = causal_mask(x.size(1), device=x.device)
        attended = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(merge_heads(attended))
