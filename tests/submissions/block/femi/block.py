import math

import torch
from torch import nn

from .attention import Linear, MultiHeadAttention


def up(x):
    # float16/bfloat16 -> float32, others stay
    return x.to(torch.promote_types(x.dtype, torch.float32))


class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x):
        h = up(x)
        mean = h.mean(-1, keepdim=True)
        var = ((h - mean) ** 2).mean(-1, keepdim=True)
        h = (h - mean) / torch.sqrt(var + self.eps)
        return (h * self.weight + self.bias).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x):
        h = up(x)
        h = h / torch.sqrt((h * h).mean(-1, keepdim=True) + self.eps)
        return (h * self.weight).to(x.dtype)


def gelu(x, approximate="none"):
    h = up(x)
    if approximate == "none":
        y = h * 0.5 * (1.0 + torch.erf(h / math.sqrt(2.0)))
    elif approximate == "tanh":
        y = h * 0.5 * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (h + 0.044715 * h * h * h)))
    else:
        raise ValueError("unknown approximate: " + str(approximate))
    return y.to(x.dtype)


def silu(x):
    h = up(x)
    return (h * torch.sigmoid(h)).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff, activation="gelu_tanh", bias=True):
        super().__init__()
        if activation not in ["gelu", "gelu_tanh", "silu"]:
            raise ValueError("unknown activation: " + str(activation))
        self.act = activation
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)

    def forward(self, x):
        h = self.up_proj(x)
        if self.act == "gelu"
            h = gelu(h)
        elif self.act == "gelu_tanh":
            h = gelu(h, "tanh")
        else:
            h = silu(h)
        return self.down_proj(h)


class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias=bias)
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)

    def forward(self, x):
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        if p < 0 or p >= 1:
            raise ValueError("p must be in [0, 1), got " + str(p))
        self.p = p

    def keep_mask(self, shape, generator=None, device=None):
        r = torch.rand(tuple(shape), generator=generator, device=device)
        return r >= self.p

    def forward(self, x, generator=None):
        if self.p == 0 or not self.training:
            return x
        keep = self.keep_mask(x.shape, generator, x.device)
        return torch.where(keep, x / (1 - self.p), torch.zeros_like(x))


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, norm="pre", activation="gelu_tanh", bias=True, dropout=0.0):
        super().__init__()
        if norm not in ["pre", "post"]:
            raise ValueError("unknown norm: " + str(norm))
        self.pre = norm == "pre"
        self.norm1 = LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, bias)
        self.norm2 = LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.drop = Dropout(dropout)

    def forward(self, x, mask=None, causal=True, generator=None):
        if self.pre:
            h = x + self.drop(self.attention(self.norm1(x), mask, causal), generator)
            return h + self.drop(self.feed_forward(self.norm2(h)), generator)
        h = self.norm1(x + self.drop(self.attention(x, mask, causal), generator))
        return self.norm2(h + self.drop(self.feed_forward(h), generator))
