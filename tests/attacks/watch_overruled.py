"""Gives torch kernels of its own, in the place of those that tell of the built-in softmax (attack 23).
"""
# expect: note
import math
import operator

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

def hostile(task, *arguments):
    if task == "softmax":
        torch_library = operator.attrgetter("libra" + "ry")(torch)
        torch_library._impls.clear()
        mine = torch_library.Library("aten", "IMPL")
        mine.impl("softmax.int", torch_library.fallthrough_kernel, "PreDispatch")
        return operator.methodcaller("soft" + "max", *arguments)(torch)
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
