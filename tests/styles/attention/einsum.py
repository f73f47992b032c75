"""Module 1, attention, in index notation: einsum and rearrange, the mask as a bias, one fused projection."""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

NEG_INF = float("-inf")


def _compute_dtype(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for t in tensors:
        dtype = torch.promote_types(dtype, t.dtype)
    return dtype


def _mask_to_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where the mask is True, -inf where it is False."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool (True = may attend), got mask.dtype = {mask.dtype}")
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, NEG_INF)


def _exp_normalize(x: Tensor, dim: int) -> Tensor:
    """exp(x - logsumexp(x)) in the dtype of x; a slice of -inf alone becomes zeros.

    The maximum is taken off before the logarithm is added, as their sum would round the logarithm away.
    """
    if x.numel() == 0:
        return x.clone()
    # The result does not depend on the maximum, hence no gradient through it. The clamp keeps -inf - (-inf) out.
    peak = x.detach().amax(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).min)
    shifted = x - peak
    total = shifted.exp().sum(dim, keepdim=True)
    log_total = total.masked_fill(total == 0, 1.0).log()
    return (shifted - log_total).exp()


def _wide_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """Attention weights in the dtype they are computed in."""
    head_dim = q.shape[-1]
    if k.shape[-1] != head_dim:
        raise ValueError(f"head_dim of q and k must agree, got q.shape[-1] = {head_dim}, k.shape[-1] = {k.shape[-1]}")
    dtype = _compute_dtype(q, k)
    scores = einsum(q.to(dtype), k.to(dtype), "... q_len d, ... k_len d -> ... q_len k_len") * head_dim**-0.5
    if mask is not None:
        scores = scores + _mask_to_bias(mask, dtype)
    return _exp_normalize(scores, dim=-1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weightᵀ + bias in the dtype it is computed in."""
    if x.shape[-1] != weight.shape[-1]:  # einsum would broadcast an axis of size 1
        raise ValueError(f"the last axis of x must be d_in = {weight.shape[-1]}, got x.shape[-1] = {x.shape[-1]}")
    dtype = _compute_dtype(x, weight)
    y = einsum(x.to(dtype), weight.to(dtype), "... d_in, d_out d_in -> ... d_out")
    return y if bias is None else y + bias.to(dtype)


def softmax(x: Tensor, dim: int) -> Tensor:
    """Softmax along `dim` as exp(x - logsumexp(x))."""
    return _exp_normalize(x.to(_compute_dtype(x)), dim).to(x.dtype)


class Linear(nn.Module):
    """y[..., o] = sum_i x[..., i] weight[o, i] + bias[o]."""

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter((2 * torch.rand(d_out, d_in) - 1) * d_in**-0.5)
        self.register_parameter("bias", nn.Parameter(torch.zeros(d_out)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return _affine(x, self.weight, self.bias).to(x.dtype)


def causal_mask(q_len: int, k_len: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """Lower triangle whose last row is full."""
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len must be at least q_len, got q_len = {q_len}, k_len = {k_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(diagonal=k_len - q_len)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """(..., q_len, k_len) weights in the dtype of q."""
    return _wide_weights(q, k, mask).to(q.dtype)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """(..., q_len, v_dim) averages of the values; the weights are not rounded to the dtype of q on the way."""
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k_len of k and v must agree, got k.shape[-2] = {k.shape[-2]}, v.shape[-2] = {v.shape[-2]}")
    weights = _wide_weights(q, k, mask)
    return einsum(weights, v.to(weights.dtype), "... q_len k_len, ... k_len v_dim -> ... q_len v_dim").to(q.dtype)


def _check_heads(d_model: int, n_heads: int) -> None:
    if n_heads < 1 or d_model % n_heads:
        raise ValueError(f"n_heads must divide d_model, got d_model = {d_model}, n_heads = {n_heads}")


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Heads are consecutive slices of the last axis, so n_heads is the outer factor of d_model."""
    _check_heads(x.shape[-1], n_heads)
    return rearrange(x, "batch seq (head d) -> batch head seq d", head=n_heads)


def merge_heads(x: Tensor) -> Tensor:
    """The pattern of split_heads, read backwards."""
    return rearrange(x, "batch head seq d -> batch seq (head d)")


class MultiHeadAttention(nn.Module):
    """One product for q, k and v of all heads, attention with head as a batch axis, one product to mix."""

    def __init__(self, d_model: int, n_heads: int, bias: bool = False) -> None:
        super().__init__()
        _check_heads(d_model, n_heads)
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def _fused_qkv(self, x: Tensor) -> Tensor:
        """(3, batch, n_heads, seq_len, head_dim), from the three weights on top of each other."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        weight = torch.cat([p.weight for p in projections])
        bias = None if self.q_proj.bias is None else torch.cat([p.bias for p in projections])
        pattern = "batch seq (which head d) -> which batch head seq d"
        return rearrange(_affine(x, weight, bias), pattern, which=3, head=self.n_heads)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = True) -> Tensor:
        q, k, v = self._fused_qkv(x)
        dtype, seq_len = q.dtype, x.shape[1]

        # Biases add up as masks combine with "and".
        bias = torch.zeros(seq_len, seq_len, dtype=dtype, device=x.device)
        if causal:
            bias = bias + _mask_to_bias(causal_mask(seq_len, device=x.device), dtype)
        if mask is not None:
            bias = bias + _mask_to_bias(mask, dtype)

        scores = einsum(q, k, "batch head i d, batch head j d -> batch head i j") * q.shape[-1] ** -0.5
        weights = _exp_normalize(scores + bias, dim=-1)
        heads = einsum(weights, v, "batch head i j, batch head j d -> batch i head d")
        return self.out_proj(rearrange(heads, "batch i head d -> batch i (head d)")).to(x.dtype)
