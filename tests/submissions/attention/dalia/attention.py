"""Module 1, attention. Dalia - tasks 1.1 to 1.4 so far, the rest on Sunday."""

import math

import torch
from torch import Tensor, nn


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, without overflow for scores of any size."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    shifted = wide - wide.max(dim=dim, keepdim=True).values
    exps = shifted.exp()
    return (exps / exps.sum(dim=dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    """y = x weightᵀ + bias."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        out = x @ self.weight.T
        if self.bias is not None:
            out = out + self.bias
        return out


def causal_mask(q_len: int, k_len: int | None = None, device=None) -> Tensor:
    """True where a query may attend to a key: at its own position and before it."""
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len={k_len} is smaller than q_len={q_len}")
    q_positions = torch.arange(k_len - q_len, k_len, device=device)
    k_positions = torch.arange(k_len, device=device)
    return k_positions[None, :] <= q_positions[:, None]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / sqrt(head_dim)) over the keys, with False entries of `mask` excluded."""
    head_dim = q.size(-1)
    if head_dim != k.size(-1):
        raise ValueError(f"head_dim differs: q has {head_dim}, k has {k.size(-1)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask should be torch.bool and not {mask.dtype}")

    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(head_dim)
    if mask is None:
        return softmax(scores, dim=-1).to(q.dtype)

    # the lowest finite number instead of -inf: a row with no key at all stays finite and is zeroed below
    scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    return (softmax(scores, dim=-1) * mask).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / sqrt(head_dim)) v"""
    raise NotImplementedError("Task 1.5: scaled_dot_product_attention")


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Cut d_model into n_heads consecutive slices of head_dim = d_model / n_heads, one a head."""
    raise NotImplementedError("Task 1.6: split_heads")


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side again: the inverse of split_heads."""
    raise NotImplementedError("Task 1.7: merge_heads")


class MultiHeadAttention(nn.Module):
    """n_heads attentions side by side, then mixed by out_proj."""

    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        raise NotImplementedError("Task 1.8: MultiHeadAttention.__init__")

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        raise NotImplementedError("Task 1.8: MultiHeadAttention.forward")
