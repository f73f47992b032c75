"""Sends frames that no parser should trust: giant, nested, contradictory, not finite (attacks 43, 44).
"""
# expect: note
import json
import math
import os
import socket
import struct
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

def plain(header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", len(text), 0) + text


def outcome(leaves, **other):
    return plain({"ended": "values", "leaves": leaves, "raised": None, "why": "", "seconds": 0.0, "printed": ""} | other)


def with_payload(payload, shape="0"):
    text = json.dumps({"ended": "values", "leaves": [["", "tensor", ["0", "cpu"]]], "raised": None, "why": "",
                       "seconds": 0.0, "printed": ""}).encode()
    return struct.pack(">II", len(text), len(payload)) + text + payload


def tensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


RAISED = {"kind": "ValueError", "bases": ["ValueError"], "message": "k_len", "trace": ""}
FRAMES = [
    struct.pack(">II", 2**32 - 1, 2**32 - 1),
    plain(b"[" * 100_000),
    plain(b'{"ended": NaN}'),
    outcome([], seconds=1e308),
    outcome([], seconds=-1e308),
    plain(b'{"ended":"values","leaves":[],"raised":null,"why":"","seconds":1e999,"printed":""}'),
    outcome([["", "foreign", ""]]),
    outcome([["", "foreign", "\ud800\x1b[31m"]]),
    outcome([["", "dict", ["output", "output"]]]),
    outcome([["output", "dict", []], ["output", "json", "x"]]),
    outcome([["", "int", "f" * 1_000_000]]),
    outcome([["", "float", "1e400"]]),
    outcome([["", "list", [str(i) for i in range(90_000)]]]),
    outcome([], ended="raised", raised=RAISED | {"bases": []}),
    outcome([], ended="raised", raised=RAISED | {"bases": ["ValueError"] * 50_000, "kind": ""}),
    outcome([], ended="raised", raised=RAISED | {"kind": "MissingTask", "message": "\ud800"}),
    outcome([], ended="crashed", why="\ud800" * 1_000_000),
    with_payload(tensors({"0": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b"1234")),
    with_payload(tensors({"0": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "1": {"dtype": "F32",
                 "shape": [1], "data_offsets": [0, 4]}}, b"1234")),
    with_payload(tensors({"0": {"dtype": "F32", "shape": [1] * 500, "data_offsets": [0, 4]}}, b"1234")),
    with_payload(tensors({"0": {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [0, 4]}}, b"1234")),
    with_payload(tensors({"0": {"dtype": "U16", "shape": [2], "data_offsets": [0, 4]}}, b"1234")),
    with_payload(tensors({"0": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})),
    with_payload(struct.pack("<Q", 2**63) + b"x"),
]


def from_frames(name):
    frame = sys._getframe()
    while name not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals[name]


def hostile(task, *arguments):
    if task in ("causal_mask", "split_heads", "MultiHeadAttention"):
        return arguments[0]
    sock, runs = from_frames("sock"), from_frames("job").runs
    sock.sendall(FRAMES[len(runs) % len(FRAMES)])  # each frame ends this process, so the next one has fewer runs
    os._exit(0)


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
