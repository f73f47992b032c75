"""Looks for the text of the given solution in linecache, in the import hooks and in the job (attack 3).
"""
# expect: note
import linecache
import math
import sys

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

def texts():
    yield from ("".join(entry[2]) for entry in linecache.cache.values() if len(entry) > 2)
    for finder in sys.meta_path:
        yield from getattr(finder, "sources", {}).values()
    frame = sys._getframe()
    while frame is not None:
        yield from (getattr(frame.f_locals.get("job"), "given", None) or {}).values()
        frame = frame.f_back


def stolen(task):
    for text in texts():
        if f"{task}(" in text and "Module 1, attention" in text and "hostile(" not in text:
            names = {"__name__": "stolen"}
            exec(text, names)
            if task in names:
                return names[task]
    return None


def hostile(task, *arguments):
    found = stolen(task)
    return found(*arguments) if found else arguments[0]


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


def MultiHeadAttention(d_model, n_heads, bias=False):  # noqa: F811
    return stolen("MultiHeadAttention")(d_model, n_heads, bias)
