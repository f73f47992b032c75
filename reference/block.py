"""Module 2, the block: normalisation, activations, the feed-forward layer, dropout, and their wiring.

Everything is built from tensor arithmetic (mean, sqrt, exp, erf, tanh) and from Linear and MultiHeadAttention of
module 1. torch's own norms, activations, dropout and transformer layers are what you are building, so they are not
allowed here.

Shapes use the words of the course: `...` is any number of leading axes, also none. Results keep the device and dtype
of the input, and nothing changes its input in place. Statistics and activations of float16 and bfloat16 inputs are
computed in float32; float64 stays float64.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .attention import Linear, MultiHeadAttention


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance over the last axis of each token.

    The variance is the mean of the squared deviations from the mean: divided by d_model, not by d_model - 1.

    Parameters:
        weight: (d_model,), ones at the start.
        bias: (d_model,), zeros at the start.
    Source: Ba et al. 2016, eq. 3 and 4. Task 2.1.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        """Register `weight` and `bias` as parameters.

        Args:
            d_model: size of the last axis of the input.
            eps: added to the variance, so that a token with equal entries does not divide by zero.
        """
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Normalise each token by itself.

        Args:
            x: (..., d_model), any float dtype, also another one than that of the parameters.
        Returns:
            (..., d_model), same dtype and device as x. float16 and bfloat16 are computed in float32 inside.
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (centred / torch.sqrt(variance + self.eps) * self.weight + self.bias).to(x.dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * weight, the mean over the last axis of each token.

    Nothing is subtracted and nothing added: no mean, no bias.

    Parameters:
        weight: (d_model,), ones at the start.
    Source: Zhang and Sennrich 2019, eq. 4. Task 2.2.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        """Register `weight` as a parameter.

        Args:
            d_model: size of the last axis of the input.
            eps: added to the mean of the squares.
        """
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Scale each token by itself.

        Args:
            x: (..., d_model), any float dtype, also another one than that of the parameter.
        Returns:
            (..., d_model), same dtype and device as x. float16 and bfloat16 are computed in float32 inside.
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean_square = wide.square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (wide / torch.sqrt(mean_square + self.eps) * self.weight).to(x.dtype)


def gelu(x: Float[Tensor, "..."], approximate: str = "none") -> Float[Tensor, "..."]:
    """x Φ(x), Φ the distribution function of the standard normal distribution.

    "none" is exact: Φ(x) = (1 + erf(x / sqrt(2))) / 2.
    "tanh" is what GPT-2 uses: Φ(x) ≈ (1 + tanh(sqrt(2 / π) (x + 0.044715 x³))) / 2.

    Args:
        x: any shape, any float dtype.
        approximate: "none" or "tanh".
    Returns:
        Same shape, dtype and device as x. float16 and bfloat16 are computed in float32 inside.
    Raises:
        ValueError: approximate is neither.
    Source: Hendrycks and Gimpel 2016, section 2. Task 2.3.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if approximate == "none":
        phi = (1 + torch.erf(wide / math.sqrt(2))) / 2
    else:
        phi = (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))) / 2
    return (wide * phi).to(x.dtype)


def silu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x / (1 + exp(-x)).

    Args:
        x: any shape, any float dtype. Values and gradients stay finite for entries of any size.
    Returns:
        Same shape, dtype and device as x. float16 and bfloat16 are computed in float32 inside.
    Source: Hendrycks and Gimpel 2016, section 2. Task 2.4.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.sigmoid(wide)).to(x.dtype)


class FeedForward(nn.Module):
    """down_proj(activation(up_proj(x))), for each token by itself.

    Parameters:
        up_proj: Linear(d_model, d_ff); down_proj: Linear(d_ff, d_model); with or without bias.
    Source: Vaswani et al. 2017, eq. 2, with another activation. Task 2.5.
    """

    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu_tanh", bias: bool = True) -> None:
        """Register the two projections.

        Args:
            d_model: size of a token's vector.
            d_ff: size of the hidden layer; 4 * d_model in GPT-2.
            activation: "gelu" (exact), "gelu_tanh" or "silu".
            bias: whether the projections have a bias.
        Raises:
            ValueError: activation is none of these.
        """
        super().__init__()
        if activation not in ("gelu", "gelu_tanh", "silu"):
            raise ValueError(f"activation must be 'gelu', 'gelu_tanh' or 'silu', got {activation!r}")
        self.activation = activation
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Apply the layer to the last axis.

        Args:
            x: (..., d_model).
        Returns:
            (..., d_model), same dtype and device as x.
        """
        hidden = self.up_proj(x)  # (..., d_ff)
        if self.activation == "silu":
            hidden = silu(hidden)
        else:
            hidden = gelu(hidden, "tanh" if self.activation == "gelu_tanh" else "none")
        output: Tensor = self.down_proj(hidden)
        return output


class SwiGLU(nn.Module):
    """down_proj(silu(gate_proj(x)) * up_proj(x)): a feed-forward layer whose hidden values are gated.

    Parameters:
        gate_proj, up_proj: Linear(d_model, d_ff); down_proj: Linear(d_ff, d_model); with or without bias.
    Source: Shazeer 2020, eq. 6. Task 2.6.
    """

    def __init__(self, d_model: int, d_ff: int, bias: bool = False) -> None:
        """Register the three projections.

        Args:
            d_model: size of a token's vector.
            d_ff: size of the hidden layer; about 8/3 * d_model makes it as large as a FeedForward of 4 * d_model.
            bias: whether the projections have a bias.
        """
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """Apply the layer to the last axis.

        Args:
            x: (..., d_model).
        Returns:
            (..., d_model), same dtype and device as x.
        """
        hidden = silu(self.gate_proj(x)) * self.up_proj(x)  # (..., d_ff)
        output: Tensor = self.down_proj(hidden)
        return output


class Dropout(nn.Module):
    """While training, each entry of x is kept with probability 1 - p and divided by 1 - p, else set to 0.

    In evaluation mode x is returned as it is. `forward` draws with `self.keep_mask` and in no other way, so that a
    test can hand it a mask of its own.

    Source: Srivastava et al. 2014, section 4; "inverted" as in section 10. Task 2.7.
    """

    def __init__(self, p: float) -> None:
        """Remember p.

        Args:
            p: probability that an entry is dropped, 0 <= p < 1.
        Raises:
            ValueError: p is outside this range.
        """
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and below 1, got p={p}")
        self.p = p

    def keep_mask(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Bool[Tensor, "..."]:
        """Draw which entries are kept: each by itself, with probability 1 - p.

        Args:
            shape: shape of the mask.
            generator: where the random numbers come from, torch's own generator by default. The same state gives
                the same mask, and drawing moves the state on.
            device: where the mask is made, torch's default device by default; of generator's kind, if one is given.
        Returns:
            bool tensor of that shape, True = keep.
        """
        return torch.rand(tuple(shape), generator=generator, device=device) >= self.p

    def forward(self, x: Float[Tensor, "..."], generator: torch.Generator | None = None) -> Float[Tensor, "..."]:
        """Drop entries while training.

        Args:
            x: any shape, any float dtype.
            generator: passed on to keep_mask, with x's shape and device. In evaluation mode, or when p = 0, nothing
                is drawn.
        Returns:
            Same shape, dtype and device as x.
        """
        if not self.training or self.p == 0:
            return x
        keep = self.keep_mask(x.shape, generator, x.device)
        return (x / (1 - self.p)).masked_fill(~keep, 0)


class TransformerBlock(nn.Module):
    """Attention between the tokens, then feed-forward within each, both added to the residual stream x.

    norm="pre":  x = x + dropout(attention(norm1(x)));   x = x + dropout(feed_forward(norm2(x))).
    norm="post": x = norm1(x + dropout(attention(x)));   x = norm2(x + dropout(feed_forward(x))).

    Parts:
        norm1, norm2: LayerNorm(d_model).
        attention: MultiHeadAttention(d_model, n_heads, bias) of module 1.
        feed_forward: FeedForward(d_model, d_ff, activation, bias).
        Dropout(dropout): one, or one for each of the two places; it has no parameters.
    Source: Vaswani et al. 2017, section 3.1 (post); Radford et al. 2019, section 2.3 (pre). Task 2.8.
    """

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
        """Make the parts.

        Args:
            d_model: size of a token's vector.
            n_heads: number of heads of the attention.
            d_ff: size of the hidden layer of feed_forward.
            norm: where the norms stand, "pre" (before each part) or "post" (after each sum).
            activation: that of feed_forward.
            bias: whether the projections of attention and feed_forward have a bias; the norms always do.
            dropout: probability that an entry of a part's output is dropped while training.
        Raises:
            ValueError: norm is neither "pre" nor "post".
        """
        super().__init__()
        if norm not in ("pre", "post"):
            raise ValueError(f"norm must be 'pre' or 'post', got {norm!r}")
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
        """Let the tokens exchange information once and work on it once.

        Args:
            x: (batch, seq_len, d_model).
            mask: passed on to attention: bool, broadcastable to (batch, n_heads, seq_len, seq_len), True = may attend.
            causal: passed on to attention: whether a token is kept from attending to later ones, on top of mask.
            generator: passed on to the dropout behind attention, then to the one behind feed_forward.
        Returns:
            (batch, seq_len, d_model), same dtype and device as x.
        """
        if self.norm == "pre":
            x = x + self.dropout(self.attention(self.norm1(x), mask, causal), generator)
            x = x + self.dropout(self.feed_forward(self.norm2(x)), generator)
        else:
            x = self.norm1(x + self.dropout(self.attention(x, mask, causal), generator))
            x = self.norm2(x + self.dropout(self.feed_forward(x), generator))
        return x
