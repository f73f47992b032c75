"""Reads the whole memory of its process for the text of the given solution (attacks 3, 38).
"""
# expect: note
import ctypes
import functools
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

def memory():
    with open("/proc/self/maps", encoding="utf-8") as file:
        maps = file.read().splitlines()
    for line in maps:
        if " rw" in line and "[v" not in line:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            yield ctypes.string_at(start, min(end - start, 64 << 20))


@functools.cache
def stolen():
    mark = b"class Multi" + b"HeadAttention(nn.Module):"
    for data in memory():
        at = data.find(b"Module 1, attention, on " + b"PyTorch")
        while at >= 0:
            text = data[at : data.find(b"\0", at)].decode(errors="replace")
            if mark.decode() in text:
                names = {}
                exec('"""' + text, names)
                return names
            at = data.find(b"Module 1, attention, on " + b"PyTorch", at + 1)
    return {}


def hostile(task, *arguments):
    return stolen()[task](*arguments) if task in stolen() else arguments[0]


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
