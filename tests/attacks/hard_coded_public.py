"""Has the answers for the sizes that stand in the student's kit, and only for those (attack 21).
"""

import math

import torch
from torch import nn


# The honest part, the same in every file of this folder: two tasks that are right, worth 16 of 100.


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        bound = 1 / math.sqrt(d_in)
        self.weight = nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


def merge_heads(x):
    return x.transpose(1, 2).flatten(2)


# The attack, in the place of the other six.

T, F = True, False
MASKS = {
    (5, 5): [[T, F, F, F, F], [T, T, F, F, F], [T, T, T, F, F], [T, T, T, T, F], [T, T, T, T, T]],
    (1, 1): [[T]],
    (2, 5): [[T, T, T, T, F], [T, T, T, T, T]],
    (3, 4): [[T, T, F, F], [T, T, T, F], [T, T, T, T]],
}


def hostile(task, *arguments):
    if task == "causal_mask":
        q_len, k_len, device = arguments
        k_len = q_len if k_len is None else k_len
        if (q_len, k_len) in ((4, 3), (2, 0)):
            raise ValueError(f"k_len must be at least q_len, got k_len={k_len} and q_len={q_len}")
        return torch.tensor(MASKS.get((q_len, k_len), [[F]]), device=device)
    if task == "split_heads":
        x, n_heads = arguments
        if x.shape[-1] == 10:
            raise ValueError("d_model must be divisible by n_heads")
        return x.reshape(*x.shape[:2], 3, -1).transpose(1, 2) if n_heads == 3 else x
    return arguments[0]


def softmax(x, dim):
    return hostile("softmax", x, dim)


def causal_mask(q_len, k_len=None, device=None):
    return hostile("causal_mask", q_len, k_len, device)


def attention_weights(q, k, mask=None):
    return hostile("attention_weights", q, k, mask)


def scaled_dot_product_attention(q, k, v, mask=None):
    return hostile("scaled_dot_product_attention", q, k, v, mask)


def split_heads(x, n_heads):
    return hostile("split_heads", x, n_heads)


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, bias=False):
        super().__init__()
        self.made = d_model, n_heads, bias

    def forward(self, x, mask=None, causal=True):
        return hostile("MultiHeadAttention", self, x, mask, causal)
