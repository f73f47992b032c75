# attention.py  --  Bram
# I never know what a broadcast does, so I wrote the loops out. Slow but I understand every line.

import torch
from torch import nn


def softmax(x, dim):
    small = x.dtype in (torch.float16, torch.bfloat16)
    y = x.float() if small else x
    biggest, _ = y.max(dim=dim, keepdim=True)
    top = torch.exp(y - biggest)
    bottom = top.sum(dim=dim, keepdim=True)
    result = top / bottom
    return result.to(x.dtype) if small else result


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        k = 1 / d_in**0.5
        self.weight = nn.Parameter(torch.rand(d_out, d_in) * 2 * k - k)
        if bias:
            self.bias = nn.Parameter(torch.zeros(d_out))
        else:
            self.bias = None

    def forward(self, x):
        # one output feature at a time
        columns = []
        for j in range(self.weight.shape[0]):
            column = (x * self.weight[j]).sum(dim=-1)
            if self.bias is not None:
                column = column + self.bias[j]
            columns.append(column)
        return torch.stack(columns, dim=-1)


def causal_mask(q_len, k_len=None, device=None):
    if k_len is None:
        k_len = q_len
    if k_len < q_len:
        raise ValueError(f"k_len ({k_len}) is smaller than q_len ({q_len})")
    offset = k_len - q_len  # the first query sits at this position
    mask = torch.zeros(q_len, k_len, dtype=torch.bool, device=device)
    for i in range(q_len):
        for j in range(k_len):
            if j <= i + offset:
                mask[i, j] = True
    return mask


def attention_weights(q, k, mask=None):
    head_dim = q.shape[-1]
    if k.shape[-1] != head_dim:
        raise ValueError(f"head_dim of q ({head_dim}) and k ({k.shape[-1]}) differ")
    if mask is not None and mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, it must be torch.bool")

    dtype = q.dtype
    if dtype in (torch.float16, torch.bfloat16):
        q, k = q.float(), k.float()

    q_len, k_len = q.shape[-2], k.shape[-2]
    if mask is not None:
        mask = mask.expand(*q.shape[:-2], q_len, k_len)

    rows = []
    for i in range(q_len):
        one_query = q[..., i : i + 1, :]
        scores = (one_query * k).sum(dim=-1) / head_dim**0.5  # (..., k_len)
        if mask is None:
            rows.append(softmax(scores, -1))
            continue
        allowed = mask[..., i, :]
        nothing = ~allowed.any(dim=-1, keepdim=True)
        # a row without any key would be softmax([-inf, -inf, ...]) = NaN. Give it zeros as scores and
        # throw the row away afterwards.
        scores = torch.where(allowed, scores, float("-inf"))
        scores = torch.where(nothing, 0.0, scores)
        rows.append(torch.where(nothing, 0.0, softmax(scores, -1)))
    return torch.stack(rows, dim=-2).to(dtype)


def scaled_dot_product_attention(q, k, v, mask=None):
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k has k_len {k.shape[-2]} but v has {v.shape[-2]}")
    weights = attention_weights(q, k, mask)
    output = 0
    for j in range(v.shape[-2]):
        output = output + weights[..., :, j : j + 1] * v[..., j : j + 1, :]
    return output


def split_heads(x, n_heads):
    d_model = x.shape[-1]
    if d_model % n_heads != 0:
        raise ValueError(f"d_model {d_model} cannot be divided by n_heads {n_heads}")
    size = d_model // n_heads
    heads = []
    for h in range(n_heads):
        heads.append(x[:, :, h * size : (h + 1) * size])
    return torch.stack(heads, dim=1)


def merge_heads(x):
    heads = []
    for h in range(x.shape[1]):
        heads.append(x[:, h])
    return torch.cat(heads, dim=-1)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        if d_model % n_heads != 0:
            raise ValueError(f"d_model {d_model} cannot be divided by n_heads {n_heads}")
        self.n_heads = n_heads
        self.q_proj = Linear(d_model, d_model, bias)
        self.k_proj = Linear(d_model, d_model, bias)
        self.v_proj = Linear(d_model, d_model, bias)
        self.out_proj = Linear(d_model, d_model, bias)

    def forward(self, x, mask=None, causal=True):
        batch, seq_len, _ = x.shape
        q = split_heads(self.q_proj(x), self.n_heads)
        k = split_heads(self.k_proj(x), self.n_heads)
        v = split_heads(self.v_proj(x), self.n_heads)

        full = torch.ones(batch, self.n_heads, seq_len, seq_len, dtype=torch.bool, device=x.device)
        if mask is not None:
            full = full & mask
        if causal:
            full = full & causal_mask(seq_len, device=x.device)

        results = []
        for h in range(self.n_heads):
            results.append(scaled_dot_product_attention(q[:, h], k[:, h], v[:, h], full[:, h]))
        return self.out_proj(merge_heads(torch.stack(results, dim=1)))
