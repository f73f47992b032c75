"""Module 1, attention, on PyTorch's own kernels: it stands in for your file in later weeks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """exp(x) / sum(exp(x)) along `dim`."""
    return torch.softmax(x, dim=dim)


class Linear(nn.Linear):
    """y = x weightᵀ + bias."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        """Register `weight` (d_out, d_in) and `bias` (d_out,)."""
        super().__init__(d_in, d_out, bias=bias)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Apply the layer to the last axis, in the dtype of x."""
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


def causal_mask(
    q_len: int, k_len: int | None = None, device: torch.device | str | None = None
) -> Bool[Tensor, "q_len k_len"]:
    """True where a query may attend to a key; the last query sees every key."""
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len ({k_len}) is smaller than q_len ({q_len})")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention_weights(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    mask: Bool[Tensor, "... q_len k_len"] | None = None,
) -> Float[Tensor, "... q_len k_len"]:
    """softmax(q kᵀ / sqrt(head_dim)) over the keys: what the fused kernel makes of one-hot values."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim of q ({q.shape[-1]}) and of k ({k.shape[-1]}) differ")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected bool")
    one_hot = torch.eye(k.shape[-2], dtype=k.dtype, device=k.device).expand(*k.shape[:-1], k.shape[-2])
    if mask is None:
        return F.scaled_dot_product_attention(q, k, one_hot)
    mask = torch.atleast_2d(mask)
    weights = F.scaled_dot_product_attention(q, k, one_hot, attn_mask=mask)
    return weights.masked_fill(~mask, 0)  # some kernels give NaN where nothing may be attended to


def scaled_dot_product_attention(
    q: Float[Tensor, "... q_len head_dim"],
    k: Float[Tensor, "... k_len head_dim"],
    v: Float[Tensor, "... k_len v_dim"],
    mask: Bool[Tensor, "... q_len k_len"] | None = None,
) -> Float[Tensor, "... q_len v_dim"]:
    """softmax(q kᵀ / sqrt(head_dim)) v by the fused kernel."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim of q ({q.shape[-1]}) and of k ({k.shape[-1]}) differ")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k_len of k ({k.shape[-2]}) and of v ({v.shape[-2]}) differ")
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected bool")
    mask = torch.atleast_2d(mask)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.masked_fill(~mask.any(dim=-1, keepdim=True), 0)  # some kernels give NaN where nothing may be attended to


def split_heads(
    x: Float[Tensor, "batch seq_len d_model"], n_heads: int
) -> Float[Tensor, "batch n_heads seq_len head_dim"]:
    """Cut d_model into n_heads consecutive slices, one a head."""
    if x.shape[-1] % n_heads:
        raise ValueError(f"d_model ({x.shape[-1]}) is not divisible by n_heads ({n_heads})")
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "batch n_heads seq_len head_dim"]) -> Float[Tensor, "batch seq_len d_model"]:
    """Put the heads side by side again."""
    return x.transpose(1, 2).flatten(-2)


class MultiHeadAttention(nn.Module):
    """n_heads attentions side by side between four projections."""

    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        """Register q_proj, k_proj, v_proj and out_proj."""
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model ({d_model}) is not divisible by n_heads ({n_heads})")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(
        self,
        x: Float[Tensor, "batch seq_len d_model"],
        mask: Bool[Tensor, "... seq_len seq_len"] | None = None,
        causal: bool = True,
    ) -> Float[Tensor, "batch seq_len d_model"]:
        """Attend where mask and causal both allow it."""
        q, k, v = (split_heads(project(x), self.n_heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        if causal:
            past = causal_mask(x.shape[1], device=x.device)
            mask = past if mask is None else mask & past
        return self.out_proj(merge_heads(scaled_dot_product_attention(q, k, v, mask)))
