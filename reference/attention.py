"""Module 1, attention: how a token reads the others.

Everything is built from tensor arithmetic (matmul, exp, sum, view, transpose). torch.softmax, torch.nn.Linear and
torch's attention functions are what you are building, so they are not allowed here.

Shapes use the words of the course: `...` is any number of leading axes, also none. Results keep the device and dtype
of the input, and no function changes its input in place. Scores and softmax of float16 and bfloat16 inputs are
computed in float32.
"""

import math

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
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    exps = torch.exp(wide - wide.amax(dim=dim, keepdim=True))
    return (exps / exps.sum(dim=dim, keepdim=True)).to(x.dtype)


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
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Apply the layer to the last axis.

        Args:
            x: (..., d_in).
        Returns:
            (..., d_out), same dtype and device as x.
        """
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


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
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len must be at least q_len, got k_len={k_len} and q_len={q_len}")
    key = torch.arange(k_len, device=device)
    query = torch.arange(q_len, device=device) + (k_len - q_len)  # the queries are the last positions
    return key[None, :] <= query[:, None]  # (q_len, k_len)


def attention_weights(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    mask: Bool[Tensor, "... #q_len #k_len"] | None = None,
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
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have the same head_dim, got q {tuple(q.shape)} and k {tuple(k.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (True = may attend), got mask of dtype {mask.dtype}")
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(wide) @ k.to(wide).transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., q_len, k_len)
    if mask is None:
        return softmax(scores, dim=-1).to(q.dtype)
    # The lowest finite score, not -inf: a row without any key then stays finite and is set to zero below.
    scores = scores.masked_fill(~mask, torch.finfo(wide).min)
    return softmax(scores, dim=-1).masked_fill(~mask, 0).to(q.dtype)


def scaled_dot_product_attention(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    v: Float[Tensor, "... k_len v_dim"],
    mask: Bool[Tensor, "... #q_len #k_len"] | None = None,
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
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k and v must have the same k_len, got k {tuple(k.shape)} and v {tuple(v.shape)}")
    return attention_weights(q, k, mask) @ v


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
    batch, seq_len, d_model = x.shape
    if d_model % n_heads:
        raise ValueError(f"d_model must be divisible by n_heads, got d_model={d_model} and n_heads={n_heads}")
    heads = x.reshape(batch, seq_len, n_heads, d_model // n_heads)  # (batch, seq_len, n_heads, head_dim)
    return heads.transpose(1, 2)  # (batch, n_heads, seq_len, head_dim)


def merge_heads(x: Float[Tensor, "batch n_heads seq_len head_dim"]) -> Float[Tensor, "batch seq_len d_model"]:
    """Put the heads side by side again: the inverse of split_heads.

    Args:
        x: (batch, n_heads, seq_len, head_dim).
    Returns:
        (batch, seq_len, d_model) with d_model = n_heads * head_dim, head 0 first.
    Source: Vaswani et al. 2017, section 3.2.2 ("Concat"). Task 1.7.
    """
    return x.transpose(1, 2).flatten(2)  # (batch, seq_len, n_heads, head_dim) -> (batch, seq_len, d_model)


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
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model must be divisible by n_heads, got d_model={d_model} and n_heads={n_heads}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(
        self,
        x: Float[Tensor, "batch seq_len d_model"],
        mask: Bool[Tensor, "... #seq_len #seq_len"] | None = None,
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
        q = split_heads(self.q_proj(x), self.n_heads)  # (batch, n_heads, seq_len, head_dim)
        k = split_heads(self.k_proj(x), self.n_heads)
        v = split_heads(self.v_proj(x), self.n_heads)
        if causal:
            past = causal_mask(x.shape[1], device=x.device)
            mask = past if mask is None else mask & past
        heads = scaled_dot_product_attention(q, k, v, mask)  # (batch, n_heads, seq_len, head_dim)
        output: Tensor = self.out_proj(merge_heads(heads))
        return output
