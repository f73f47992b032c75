import math

import torch
from torch import nn


def softmax(x, dim):
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    e = torch.exp(wide - wide.max(dim=dim, keepdim=True).values)
    return (e / e.sum(dim=dim, keepdim=True)).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


def causal_mask(q_len, k_len=None, device=None):
    k_len = q_len if k_len is None else k_len
    if k_len < q_len:
        raise ValueError(f"k_len={k_len} < q_len={q_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention_weights(q, k, mask=None):
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"head_dim of q is {q.shape[-1]}, of k {k.shape[-1]}")
    scores = q @ k.transpose(-2, -1) / math.sqrt(
    # TODO mask

def scaled_dot_product_attention(q, k, v, mask=None):
    return attention_weights(q, k, mask) @ v


def split_heads(x, n_heads):
    batch, seq_len, d_model = x.shape
    return x.reshape(batch, seq_len, n_heads, d_model // n_heads).transpose(1, 2)


def merge_heads(x):
    return x.transpose(1, 2).flatten(2)
