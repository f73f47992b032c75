"""Module 2, the block, by other formulas: moments and roots of torch, sigmoids for tanh, fused gates, 0/1 factors."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Linear, MultiHeadAttention

WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def _widened(x: Tensor) -> Tensor:
    return x.to(WIDE.get(x.dtype, x.dtype))


class LayerNorm(nn.Module):
    """weight * (x - mean) * rsqrt(variance + eps) + bias, as one multiply and add a feature."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((d_model,), 1.0))
        self.bias = nn.Parameter(torch.full((d_model,), 0.0))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = _widened(x)
        variance, mean = torch.var_mean(wide, dim=-1, correction=0, keepdim=True)
        standard = (wide - mean) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.to(wide.dtype), self.weight.to(wide.dtype), standard).to(x.dtype)


class RMSNorm(nn.Module):
    """x over its root mean square, which is its length divided by sqrt(d_model)."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((d_model,), 1.0))
        self.d_model, self.eps = d_model, eps

    def forward(self, x: Tensor) -> Tensor:
        wide = _widened(x)
        squares = torch.einsum("...d,...d->...", wide, wide)[..., None]
        return (wide * torch.rsqrt(squares / self.d_model + self.eps)).mul(self.weight.to(wide.dtype)).to(x.dtype)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """(1 + tanh z) / 2 is sigmoid(2 z); the distribution function of the normal distribution is torch.special.ndtr."""
    wide = _widened(x)
    match approximate:
        case "none":
            gate = torch.special.ndtr(wide)
        case "tanh":
            gate = torch.sigmoid(wide * (1 + 0.044715 * wide * wide) * (8 / torch.pi) ** 0.5)
        case _:
            raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return (wide * gate).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x (1 + tanh(x / 2)) / 2."""
    half = _widened(x) / 2
    return (half + half * torch.tanh(half)).to(x.dtype)


NAMES = {"gelu": "none", "gelu_tanh": "tanh", "silu": None}


class FeedForward(nn.Module):
    """Two layers with a nonlinearity between."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu_tanh", bias: bool = True) -> None:
        super().__init__()
        if activation not in NAMES:
            raise ValueError(f"activation: expected one of {list(NAMES)}, got {activation!r}")
        self.approximate = NAMES[activation]
        self.down_proj = Linear(d_ff, d_model, bias=bias)
        self.up_proj = Linear(d_model, d_ff, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        return self.down_proj(silu(up) if self.approximate is None else gelu(up, self.approximate))


class SwiGLU(nn.Module):
    """Gate and value come from one product with the two weights on top of each other."""

    def __init__(self, d_model: int, d_ff: int, bias: bool = False) -> None:
        super().__init__()
        self.up_proj = Linear(d_model, d_ff, bias=bias)
        self.down_proj = Linear(d_ff, d_model, bias=bias)
        self.gate_proj = Linear(d_model, d_ff, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.gate_proj.weight, self.up_proj.weight])
        bias = None if self.up_proj.bias is None else torch.cat([self.gate_proj.bias, self.up_proj.bias])
        gate, value = F.linear(x, weight, bias).chunk(2, dim=-1)
        return self.down_proj(value * silu(gate))


class Dropout(nn.Module):
    """Multiply by 0 or by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if p < 0 or p >= 1:
            raise ValueError(f"p: expected a number from 0 up to, but not including, 1, got {p}")
        self.p = p

    def keep_mask(self, shape, generator=None, device=None) -> Tensor:
        chances = torch.full(tuple(shape), 1 - self.p, device=device)
        return torch.bernoulli(chances, generator=generator).bool()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.training and self.p > 0:
            kept = self.keep_mask(shape=x.shape, generator=generator, device=x.device)
            x = x * (kept.to(x.dtype) / (1 - self.p))
        return x


class TransformerBlock(nn.Module):
    """Two residual steps; the norm of each is applied to what goes in or to what comes out."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: str = "pre",
        activation: str = "gelu_tanh",
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if norm not in {"pre", "post"}:
            raise ValueError(f"norm: expected 'pre' or 'post', got {norm!r}")
        self.pre = norm == "pre"
        self.feed_forward = FeedForward(d_model, d_ff, activation=activation, bias=bias)
        self.attention = MultiHeadAttention(d_model, n_heads, bias=bias)
        self.norm1, self.norm2 = LayerNorm(d_model), LayerNorm(d_model)
        self.after_attention, self.after_feed_forward = Dropout(dropout), Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        causal: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        steps = (
            (self.norm1, lambda t: self.attention(t, mask=mask, causal=causal), self.after_attention),
            (self.norm2, self.feed_forward, self.after_feed_forward),
        )
        for norm, step, dropout in steps:
            change = dropout(step(norm(x) if self.pre else x), generator=generator)
            x = torch.add(x, change)
            x = x if self.pre else norm(x)
        return x
