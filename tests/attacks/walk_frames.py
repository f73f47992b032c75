"""Walks up the frames of its callers for the expected value, given, or the hidden rows (attacks 2, 49).
"""
# expect: note
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

WORD = "got" + "cha:"  # what follows it must not come out


def hostile(task, *arguments):
    frame, found = sys._getframe(), []
    while frame is not None:
        for name, value in list(frame.f_locals.items()):
            if any(word in name for word in ("expected", "reference", "truth", "answer")) and not callable(value):
                found.append(f"{name}={value!r}"[:300])
            if isinstance(value, dict):
                rows = [getattr(item, "row", None) for item in value.values()]
                found += [row.arguments for row in rows if getattr(row, "hidden", False)]
        frame = frame.f_back
    hidden = [line for line in open_rows() if "hidden" in line]
    raise LookupError(WORD + " ".join(found + hidden) if found or hidden else "nothing in any frame")


def open_rows():
    frame = sys._getframe()
    while frame is not None:
        job = frame.f_locals.get("job")
        for run in getattr(job, "runs", ()):
            yield run.row if not any("hidden" in other.row for other in job.runs) else ""
        frame = frame.f_back


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
