"""Module 2, the block, on PyTorch's own kernels: it stands in for your file in later weeks."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Linear, MultiHeadAttention


class LayerNorm(nn.LayerNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        """Register `weight` and `bias`, both (d_model,)."""
        super().__init__(d_model, eps=eps)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Normalise each token, in the dtype of x."""
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x²) + eps) * weight over the last axis."""

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        """Register `weight` (d_model,)."""
        super().__init__(d_model, eps=eps)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Scale each token; narrow dtypes are widened here, since not every version of torch's kernel does."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(dtype), self.normalized_shape, self.weight.to(dtype), self.eps).to(x.dtype)


def gelu(x: Float[Tensor, "..."], approximate: str = "none") -> Float[Tensor, "..."]:
    """x Φ(x), exact ("none") or by tanh."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return F.gelu(x, approximate=approximate)


def silu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x / (1 + exp(-x))."""
    return F.silu(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(F.gelu, approximate="none"),
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class FeedForward(nn.Module):
    """down_proj(activation(up_proj(x)))."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu_tanh", bias: bool = True) -> None:
        """Register up_proj and down_proj."""
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Apply the layer to the last axis."""
        return self.down_proj(self.activation(self.up_proj(x)))


class SwiGLU(nn.Module):
    """down_proj(silu(gate_proj(x)) * up_proj(x))."""

    def __init__(self, d_model: int, d_ff: int, bias: bool = False) -> None:
        """Register gate_proj, up_proj and down_proj."""
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Apply the layer to the last axis."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Dropout(nn.Module):
    """keep / (1 - p) * x while training, x itself in evaluation mode."""

    def __init__(self, p: float) -> None:
        """Remember p, the probability that an entry is dropped."""
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p is {p}, expected at least 0 and below 1")
        self.p = p

    def keep_mask(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Bool[Tensor, "..."]:
        """True with probability 1 - p."""
        mask = torch.empty(tuple(shape), dtype=torch.bool, device=device)
        return mask.bernoulli_(1 - self.p, generator=generator)

    def forward(self, x: Float[Tensor, "..."], generator: torch.Generator | None = None) -> Float[Tensor, "..."]:
        """Drop entries while training."""
        if not self.training or self.p == 0:
            return x
        return torch.where(self.keep_mask(x.shape, generator, x.device), x / (1 - self.p), 0)


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each added to x, with a norm before (pre) or after (post)."""

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
        """Make norm1, attention, norm2, feed_forward and the dropout."""
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f"norm is {norm!r}, expected 'pre' or 'post'")
        self.norm = norm
        self.norm1 = LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, bias)
        self.norm2 = LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq_len d_model"],
        mask: Bool[Tensor, "... #seq_len #seq_len"] | None = None,
        causal: bool = True,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch seq_len d_model"]:
        """Attend where mask and causal both allow it, then work on each token."""
        if self.norm == "pre":
            x = x + self.dropout(self.attention(self.norm1(x), mask, causal), generator)
            return x + self.dropout(self.feed_forward(self.norm2(x)), generator)
        x = self.norm1(x + self.dropout(self.attention(x, mask, causal), generator))
        return self.norm2(x + self.dropout(self.feed_forward(x), generator))
