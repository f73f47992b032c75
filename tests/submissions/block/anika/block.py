"""Module 2. Functions first, layers as thin wrappers around them."""

import math
from functools import partial

import torch
from einops import rearrange, reduce
from torch import nn

from .attention import Linear, MultiHeadAttention


def in_float32(function):
    """Run a function of x in float32 at least and come back to the dtype of x."""

    def wrapped(x, *args, **kwargs):
        up = x if x.dtype in (torch.float32, torch.float64) else x.float()
        return function(up, *args, **kwargs).to(x.dtype)

    return wrapped


def mean_of(x):
    return rearrange(reduce(x, "... d -> ...", "mean"), "... -> ... 1")


@in_float32
def layer_norm(x, weight, bias, eps):
    x = x - mean_of(x)
    return x * (mean_of(x.pow(2)) + eps).pow(-0.5) * weight + bias


@in_float32
def rms_norm(x, weight, eps):
    return x * (mean_of(x.pow(2)) + eps).pow(-0.5) * weight


class LayerNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


@in_float32
def gelu_exact(x):
    return x / 2 + x / 2 * torch.erf(x * math.sqrt(0.5))


@in_float32
def gelu_tanh(x):
    return x / 2 + x / 2 * torch.tanh((x + 0.044715 * x**3) * math.sqrt(2 / math.pi))


GELUS = {"none": gelu_exact, "tanh": gelu_tanh}


def gelu(x, approximate="none"):
    if approximate not in GELUS:
        raise ValueError(f"approximate={approximate!r} is not one of {sorted(GELUS)}")
    return GELUS[approximate](x)


@in_float32
def silu(x):
    return x * torch.sigmoid(x)


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": partial(gelu, approximate="tanh"), "silu": silu}


class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff, activation="gelu_tanh", bias=True):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is not one of {sorted(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x):
        return self.down_proj(self.activation(self.up_proj(x)))


class SwiGLU(nn.Module):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x):
        return self.down_proj(self.up_proj(x) * silu(self.gate_proj(x)))


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p={p} is not in [0, 1)")
        self.p = p

    def keep_mask(self, shape, generator=None, device=None):
        return ~(torch.rand(*shape, generator=generator, device=device) < self.p)

    def forward(self, x, generator=None):
        if self.training and self.p:
            x = x * self.keep_mask(x.shape, generator, x.device) / (1 - self.p)
        return x


class TransformerBlock(nn.Module):
    def __init__(self, d_model, n_heads, d_ff, norm="pre", activation="gelu_tanh", bias=True, dropout=0.0):
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f"norm={norm!r} is neither 'pre' nor 'post'")
        self.norm1 = LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, bias=bias)
        self.norm2 = LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.drop = Dropout(dropout)
        self.add = self.pre if norm == "pre" else self.post

    def pre(self, x, norm, part, generator):
        return x + self.drop(part(norm(x)), generator)

    def post(self, x, norm, part, generator):
        return norm(x + self.drop(part(x), generator))

    def forward(self, x, mask=None, causal=True, generator=None):
        x = self.add(x, self.norm1, partial(self.attention, mask=mask, causal=causal), generator)
        return self.add(x, self.norm2, self.feed_forward, generator)
