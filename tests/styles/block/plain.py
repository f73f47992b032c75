"""Module 2, the block, spelled out: one token or one feature at a time, one line a step, no broadcasting to trust."""

import math

import torch
from torch import nn

from .attention import Linear, MultiHeadAttention


def compute_in(x):
    """The dtype to compute in."""
    if x.dtype == torch.float64:
        return torch.float64
    return torch.float32


class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        tokens = x.reshape(-1, self.d_model).to(compute_in(x))
        results = []
        for token in tokens:
            mean = token.sum() / self.d_model
            deviation = token - mean
            variance = (deviation * deviation).sum() / self.d_model
            result = deviation / (variance + self.eps) ** 0.5
            results.append(self.weight * result + self.bias)
        return torch.stack(results).reshape(x.shape).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        tokens = x.reshape(-1, self.d_model).to(compute_in(x))
        results = []
        for token in tokens:
            mean_square = torch.dot(token, token) / self.d_model
            root = (mean_square + self.eps) ** 0.5
            results.append(token / root * self.weight)
        return torch.stack(results).reshape(x.shape).to(x.dtype)


def gelu(x, approximate="none"):
    y = x.to(compute_in(x))
    if approximate == "none":
        result = 0.5 * y * torch.erfc(-y / math.sqrt(2))
    elif approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (y + 0.044715 * y * y * y)
        result = 0.5 * y + 0.5 * y * torch.tanh(inner)
    else:
        raise ValueError("approximate must be 'none' or 'tanh', not " + repr(approximate))
    return result.to(x.dtype)


def silu(x):
    y = x.to(compute_in(x))
    small = torch.exp(-y.abs())  # between 0 and 1, on either side
    sigmoid = torch.where(y >= 0, torch.ones_like(y), small) / (1 + small)
    return (y * sigmoid).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff, activation="gelu_tanh", bias=True):
        super().__init__()
        if activation == "gelu_tanh":
            self.function = lambda x: gelu(x, approximate="tanh")
        elif activation == "gelu":
            self.function = gelu
        elif activation == "silu":
            self.function = silu
        else:
            raise ValueError(f"unknown activation {activation}: use gelu, gelu_tanh or silu")
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x):
        h = self.up_proj(x)
        h = self.function(h)
        return self.down_proj(h)


class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x):
        gate = silu(self.gate_proj(x))
        value = self.up_proj(x)
        return self.down_proj(gate * value)


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        if not (p >= 0 and p < 1):
            raise ValueError(f"p={p} is not a probability below 1")
        self.p = p

    def keep_mask(self, shape, generator=None, device=None):
        count = math.prod(shape)
        numbers = torch.empty(count, device=device).uniform_(0, 1, generator=generator)
        kept = numbers > self.p
        return kept.reshape(tuple(shape))

    def forward(self, x, generator=None):
        if not self.training:
            return x
        if self.p == 0:
            return x
        kept = self.keep_mask(x.shape, generator=generator, device=x.device)
        zeros = torch.zeros_like(x)
        return torch.where(kept, x, zeros) * (1 / (1 - self.p))


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, norm="pre", activation="gelu_tanh", bias=True, dropout=0.0):
        super().__init__()
        if norm not in ["pre", "post"]:
            raise ValueError(f"norm is {norm}, it must be pre or post")
        self.norm = norm
        self.norm1 = LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, bias)
        self.norm2 = LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.dropout = Dropout(dropout)

    def attend(self, x, mask, causal, generator):
        return self.dropout(self.attention(x, mask, causal), generator)

    def think(self, x, generator):
        return self.dropout(self.feed_forward(x), generator)

    def forward(self, x, mask=None, causal=True, generator=None):
        if self.norm == "pre":
            h = x + self.attend(self.norm1(x), mask, causal, generator)
            return h + self.think(self.norm2(h), generator)
        h = self.norm1(x + self.attend(x, mask, causal, generator))
        return self.norm2(h + self.think(h, generator))
