import torch
import torch.nn as nn


def softmax(x, dim):
    dtype = x.dtype
    if dtype in (torch.float16, torch.bfloat16):
        x = x.to(torch.float32)
    x = x - x.max(dim=dim, keepdim=True)[0]
    num = torch.exp(x)
    den = torch.sum(num, dim=dim, keepdim=True)
    return (num / den).to(dtype)


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super(Linear, self).__init__()
        limit = d_in ** -0.5
        self.weight = nn.Parameter(torch.zeros(d_out, d_in).uniform_(-limit, limit))
        if bias:
            self.bias = nn.Parameter(torch.zeros(d_out))
        else:
            self.register_parameter("bias", None)

    def forward(self, x):
        y = torch.matmul(x, self.weight.t())
        if self.bias is None:
            return y
        return y + self.bias


def causal_mask(q_len, k_len=None, device=None):
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError("k_len must be >= q_len, got k_len = %d and q_len = %d" % (k_len, q_len))
    return torch.tril(torch.ones(q_len, k_len, dtype=torch.bool, device=device), diagonal=k_len - q_len)


def attention_weights(q, k, mask=None):
    """Dot product of every query with every key, then softmax over the keys."""
    if q.shape[-1] != k.shape[-1]:
        raise ValueError("head_dim of q and k differ: %d and %d" % (q.shape[-1], k.shape[-1]))
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError("mask must be bool, got %s" % mask.dtype)

    dtype = q.dtype
    if dtype in (torch.float16, torch.bfloat16):
        q, k = q.to(torch.float32), k.to(torch.float32)

    scores = torch.matmul(q, k.transpose(-1, -2))
    if mask is None:
        return softmax(scores, -1).to(dtype)
    no_keys = torch.logical_not(mask.any(dim=-1, keepdim=True))
    keep = torch.logical_or(mask, no_keys)
    weights = softmax(scores.masked_fill(torch.logical_not(keep), float("-inf")), -1)
    return weights.masked_fill(no_keys, 0.0).to(dtype)


def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError("k_len of k and v differ: %d and %d" % (k.shape[-2], v.shape[-2]))
    return torch.matmul(attention_weights(q, k, mask), v)


def split_heads(x, n_heads):
    B, T, D = x.shape
    if D % n_heads != 0:
        raise ValueError("d_model = %d is not a multiple of n_heads = %d" % (D, n_heads))
    return x.reshape(B, T, n_heads, D // n_heads).transpose(1, 2)


def merge_heads(x):
    B, H, T, d = x.shape
    return x.transpose(1, 2).contiguous().view(B, T, H * d)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super(MultiHeadAttention, self).__init__()
        if d_model % n_heads != 0:
            raise ValueError("d_model = %d is not a multiple of n_heads = %d" % (d_model, n_heads))
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias=bias)
        self.k_proj = Linear(d_model, d_model, bias=bias)
        self.v_proj = Linear(d_model, d_model, bias=bias)
        self.out_proj = Linear(d_model, d_model, bias=bias)

    def forward(self, x, mask=None, causal=True):
        q = split_heads(self.q_proj(x), self.n_heads)
        k = split_heads(self.k_proj(x), self.n_heads)
        v = split_heads(self.v_proj(x), self.n_heads)
        if causal:
            c = causal_mask(x.shape[1], device=x.device)
            mask = c if mask is None else torch.logical_and(mask, c)
        y = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(merge_heads(y))
