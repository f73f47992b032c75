"""Module 1, attention, with plain loops: one output feature, one query, one key or one head at a time."""

import math

import torch
from torch import Tensor, nn


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """The widest dtype among the tensors, and at least float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def finite_or_zero(maximum: Tensor) -> Tensor:
    """A running maximum that is safe to subtract: 0 where every score so far was -inf."""
    return torch.where(maximum == -math.inf, torch.zeros_like(maximum), maximum)


def check_q_k_mask(q: Tensor, k: Tensor, mask: Tensor | None) -> None:
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have the same head_dim, got q with {q.shape[-1]} and k with {k.shape[-1]}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must have dtype torch.bool, got mask with {mask.dtype}")


def head_size(d_model: int, n_heads: int) -> int:
    if n_heads < 1 or d_model % n_heads != 0:
        raise ValueError(f"d_model must be divisible by n_heads, got d_model={d_model} and n_heads={n_heads}")
    return d_model // n_heads


def softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax along `dim`: one pass for the maximum and the sum together, one for the result."""
    scores = torch.atleast_1d(x).to(working_dtype(x)).movedim(dim, 0)

    maximum = scores.new_full(scores.shape[1:], -math.inf)
    total = scores.new_zeros(scores.shape[1:])
    for score in scores:
        new_maximum = torch.maximum(maximum, score.detach())
        shift = finite_or_zero(new_maximum)
        total = total * torch.exp(maximum - shift) + torch.exp(score - shift)
        maximum = new_maximum

    result = torch.exp(scores - maximum) / total
    return result.movedim(0, dim).reshape(x.shape).to(x.dtype)


class Linear(nn.Module):
    """y = x weightᵀ + bias, one output feature after the other."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        if bias:
            self.bias = nn.Parameter(torch.zeros(d_out))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        dtype = working_dtype(x, self.weight)
        wide_x = x.to(dtype)
        features = []
        for i, row in enumerate(self.weight.to(dtype)):
            feature = wide_x @ row
            if self.bias is not None:
                feature = feature + self.bias[i]
            features.append(feature)
        return torch.stack(features, dim=-1).to(x.dtype)


def causal_mask(q_len: int, k_len: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """(q_len, k_len) mask, filled row by row; query i sits at position k_len - q_len + i."""
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len must not be smaller than q_len, got k_len={k_len} and q_len={q_len}")
    mask = torch.zeros(q_len, k_len, dtype=torch.bool, device=device)
    for i in range(q_len):
        position = k_len - q_len + i
        mask[i, : position + 1] = True
    return mask


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """The weights of one query after the other; a query without keys gets zeros."""
    check_q_k_mask(q, k, mask)
    q_len, k_len = q.shape[-2], k.shape[-2]
    dtype = working_dtype(q, k)
    scaled_q = q.to(dtype) / math.sqrt(q.shape[-1])
    wide_k = k.to(dtype)
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k_len)

    weights = scaled_q.new_zeros(*q.shape[:-1], k_len)
    for i in range(q_len):
        row = (wide_k @ scaled_q[..., i, :, None])[..., 0]
        if mask is None:
            weights[..., i, :] = softmax(row, dim=-1)
        else:
            allowed = mask[..., i, :]
            # A row of -inf alone has no softmax: give it ordinary scores here and zero weights below.
            excluded = ~allowed & allowed.any(dim=-1, keepdim=True)
            row = torch.where(excluded, -math.inf, row)
            weights[..., i, :] = torch.where(allowed, softmax(row, dim=-1), 0.0)
    return weights.to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Read the keys one at a time, keeping a running maximum, sum of weights and sum of weighted values."""
    check_q_k_mask(q, k, mask)
    k_len = k.shape[-2]
    if v.shape[-2] != k_len:
        raise ValueError(f"k and v must have the same k_len, got k with {k_len} and v with {v.shape[-2]}")
    dtype = working_dtype(q, k, v)
    scaled_q = q.to(dtype) / math.sqrt(q.shape[-1])
    wide_k, wide_v = k.to(dtype), v.to(dtype)
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k_len)

    maximum = scaled_q.new_full((*q.shape[:-1], 1), -math.inf)
    total = scaled_q.new_zeros(*q.shape[:-1], 1)
    values = scaled_q.new_zeros(*q.shape[:-1], v.shape[-1])
    for j in range(k_len):
        score = scaled_q @ wide_k[..., j, :, None]
        if mask is not None:
            score = torch.where(mask[..., j, None], score, -math.inf)
        new_maximum = torch.maximum(maximum, score.detach())
        shift = finite_or_zero(new_maximum)
        keep = torch.exp(maximum - shift)
        weight = torch.exp(score - shift)
        total = total * keep + weight
        values = values * keep + weight * wide_v[..., j, None, :]
        maximum = new_maximum

    # The largest score adds exp(0) = 1 to the total, so it is 0 only where nothing was attended to.
    total = torch.where(total == 0, torch.ones_like(total), total)
    return (values / total).to(q.dtype)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(batch, seq_len, d_model) -> (batch, n_heads, seq_len, head_dim)."""
    head_dim = head_size(x.shape[-1], n_heads)
    heads = []
    for head in range(n_heads):
        heads.append(x[..., head * head_dim : (head + 1) * head_dim])
    return torch.stack(heads, dim=1)


def merge_heads(x: Tensor) -> Tensor:
    """(batch, n_heads, seq_len, head_dim) -> (batch, seq_len, d_model)."""
    return torch.cat([x[:, head] for head in range(x.shape[1])], dim=-1)


class MultiHeadAttention(nn.Module):
    """Attention over one slice of d_model after the other, side by side again through out_proj."""

    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.head_dim = head_size(d_model, n_heads)
        self.q_proj = Linear(d_model, d_model, bias=bias)
        self.k_proj = Linear(d_model, d_model, bias=bias)
        self.v_proj = Linear(d_model, d_model, bias=bias)
        self.out_proj = Linear(d_model, d_model, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        batch, seq_len, _ = x.shape
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"mask must have dtype torch.bool, got mask with {mask.dtype}")

        allowed = torch.ones(seq_len, seq_len, dtype=torch.bool, device=x.device)
        if causal:
            allowed = causal_mask(seq_len, device=x.device)
        if mask is not None:
            allowed = allowed & mask
        allowed = allowed.expand(batch, self.n_heads, seq_len, seq_len)

        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        outputs = []
        for head in range(self.n_heads):
            start, stop = head * self.head_dim, (head + 1) * self.head_dim
            output = scaled_dot_product_attention(
                q[:, :, start:stop], k[:, :, start:stop], v[:, :, start:stop], allowed[:, head]
            )
            outputs.append(output)
        return self.out_proj(torch.cat(outputs, dim=-1))
