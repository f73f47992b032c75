"""Module 1, attention: how a token reads the others.

Everything is built from tensor arithmetic (matmul, exp, sum, view, transpose). torch.softmax, torch.nn.Linear and
torch's attention functions are what you are building, so they are not allowed here.

Shapes use the words of the course: `...` is any number of leading axes, also none. Results keep the device and dtype
of the input, and no function changes its input in place. Scores and softmax of float16 and bfloat16 inputs are
computed in float32.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """exp(x) / sum(exp(x)) along `dim`, without overflow for scores of any size.

    Subtracting the maximum along `dim` changes nothing in exact arithmetic and keeps exp from overflowing.

    Args:
        x: any shape, any float dtype. Entries may be -inf as long as one entry along `dim` is finite.
        dim: the axis that sums to one, may be negative.
    Returns:
        Same shape, dtype and device as x. float16 and bfloat16 are computed in float32 inside.
    Source: Goodfellow et al. 2016, Deep Learning, section 4.1. Task 1.1.
    """
    raise NotImplementedError("Task 1.1: softmax")


class Linear(nn.Module):
    """y = x weightᵀ + bias.

    Parameters:
        weight: (d_out, d_in).
        bias: (d_out,); None when the layer has no bias.
    Initial values are not graded; uniform in ±1/sqrt(d_in) for weight and zero for bias train well.
    Source: the layout of torch.nn.Linear. Task 1.2.
    """

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        """Register `weight` and `bias` as parameters.

        Args:
            d_in: size of the last axis of the input.
            d_out: size of the last axis of the output.
            bias: whether to add a bias. Without one, register None under the name `bias`.
        """
        raise NotImplementedError("Task 1.2: Linear.__init__")

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Apply the layer to the last axis.

        Args:
            x: (..., d_in).
        Returns:
            (..., d_out), same dtype and device as x.
        """
        raise NotImplementedError("Task 1.2: Linear.forward")


def causal_mask(
    q_len: int, k_len: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "q_len k_len"]:
    """True where a query may attend to a key: at its own position and before it.

    The last query sees every key. With q_len < k_len the queries are therefore the last q_len positions of the
    sequence, as when new tokens are added to a cache: causal_mask(2, 3) is [[T, T, F], [T, T, T]].

    Args:
        q_len: number of queries.
        k_len: number of keys, q_len by default.
        device: where the mask is made, torch's default device by default.
    Returns:
        (q_len, k_len), bool.
    Raises:
        ValueError: k_len is smaller than q_len, so that the first queries would come before every key.
    Source: Vaswani et al. 2017, section 3.2.3. Task 1.3.
    """
    raise NotImplementedError("Task 1.3: causal_mask")


def attention_weights(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    mask: Bool[Tensor, "... q_len k_len"] | None = None,
) -> Float[Tensor, "... q_len k_len"]:
    """softmax(q kᵀ / sqrt(head_dim)) over the keys, with False entries of `mask` excluded.

    Args:
        q: (..., q_len, head_dim), any float dtype.
        k: (..., k_len, head_dim), same leading axes, dtype and device as q.
        mask: bool, broadcastable to (..., q_len, k_len); True = may attend. None = attend everywhere.
    Returns:
        (..., q_len, k_len), same dtype and device as q. Each row sums to one over the keys; an excluded key has
        weight exactly zero, and a row with nothing to attend to is all zeros.
    Raises:
        ValueError: head_dim of q and k differ, or mask is not bool.
    Source: Vaswani et al. 2017, eq. 1. Task 1.4.
    """
    raise NotImplementedError("Task 1.4: attention_weights")


def scaled_dot_product_attention(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    v: Float[Tensor, "... k_len v_dim"],
    mask: Bool[Tensor, "... q_len k_len"] | None = None,
) -> Float[Tensor, "... q_len v_dim"]:
    """softmax(q kᵀ / sqrt(head_dim)) v: for each query, the average of the values by its attention weights.

    Args:
        q: (..., q_len, head_dim), any float dtype.
        k: (..., k_len, head_dim).
        v: (..., k_len, v_dim); v_dim need not be head_dim.
        mask: bool, broadcastable to (..., q_len, k_len); True = may attend. None = attend everywhere.
    Returns:
        (..., q_len, v_dim), same dtype and device as q. A query with nothing to attend to gets zeros.
    Raises:
        ValueError: k_len of k and v differ.
    Source: Vaswani et al. 2017, eq. 1. Task 1.5.
    """
    raise NotImplementedError("Task 1.5: scaled_dot_product_attention")


def split_heads(
    x: Float[Tensor, "batch seq_len d_model"], n_heads: int
) -> Float[Tensor, "batch n_heads seq_len head_dim"]:
    """Cut d_model into n_heads consecutive slices of head_dim = d_model / n_heads, one a head.

    Args:
        x: (batch, seq_len, d_model).
        n_heads: number of heads.
    Returns:
        (batch, n_heads, seq_len, head_dim); head h holds x[..., h * head_dim : (h + 1) * head_dim].
    Raises:
        ValueError: d_model is not divisible by n_heads.
    Source: Vaswani et al. 2017, section 3.2.2. Task 1.6.
    """
    raise NotImplementedError("Task 1.6: split_heads")


def merge_heads(x: Float[Tensor, "batch n_heads seq_len head_dim"]) -> Float[Tensor, "batch seq_len d_model"]:
    """Put the heads side by side again: the inverse of split_heads.

    Args:
        x: (batch, n_heads, seq_len, head_dim).
    Returns:
        (batch, seq_len, d_model) with d_model = n_heads * head_dim, head 0 first.
    Source: Vaswani et al. 2017, section 3.2.2 ("Concat"). Task 1.7.
    """
    raise NotImplementedError("Task 1.7: merge_heads")


class MultiHeadAttention(nn.Module):
    """n_heads attentions side by side, each on its own slice of the projected q, k and v, then mixed by out_proj.

    Parameters:
        q_proj, k_proj, v_proj, out_proj: Linear(d_model, d_model), with or without bias.
    Source: Vaswani et al. 2017, section 3.2.2. Task 1.8.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        """Register the four projections.

        Args:
            d_model: size of a token's vector.
            n_heads: number of heads; each has head_dim = d_model / n_heads.
            bias: whether the projections have a bias.
        Raises:
            ValueError: d_model is not divisible by n_heads.
        """
        raise NotImplementedError("Task 1.8: MultiHeadAttention.__init__")

    def forward(
        self,
        x: Float[Tensor, "batch seq_len d_model"],
        mask: Bool[Tensor, "... seq_len seq_len"] | None = None,
        causal: bool = True,
    ) -> Float[Tensor, "batch seq_len d_model"]:
        """Let every token attend to the tokens that mask and causal both allow.

        Args:
            x: (batch, seq_len, d_model).
            mask: bool, broadcastable to (batch, n_heads, seq_len, seq_len); True = may attend. Padding of shape
                (batch, seq_len) is passed as mask[:, None, None, :].
            causal: whether a token is kept from attending to later ones, on top of mask.
        Returns:
            (batch, seq_len, d_model), same dtype and device as x.
        """
        raise NotImplementedError("Task 1.8: MultiHeadAttention.forward")
