"""Simple models of text to hold a language model against: n-grams of tokens with Kneser-Ney smoothing, and gzip.

A 5-gram of ids below 4,096 fits into one int64, so that counting is sorting and looking up is a binary search.
"""

import gzip
import math
from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int64]]


def gzip_bits(text: bytes) -> float:
    """What gzip makes of the text alone: it has seen no other."""
    return 8.0 * len(gzip.compress(text, 9))


def ngram_bits(train: Ids, text: Ids, order: int, vocab_size: int) -> float:
    """Bits to write `text` with an n-gram model counted on `train`: the sum of -log2 p(token | the ones before it).

    Interpolated Kneser-Ney: with c the count of an n-gram, a discount D is taken off and given to the shorter one,
        p_n(w | h) = max(c(h w) - D, 0) / c(h) + D kinds(h) / c(h) · p_{n-1}(w | h without its first token),
    where kinds(h) says how many tokens were seen after h. In the shorter ones c(h w) is not how often h w occurs but
    after how many tokens it does. An h never seen leaves all to the shorter one; below order 1 all tokens are alike.
    """
    if order * math.log2(vocab_size) >= 63:
        raise ValueError(f"order must be below {63 / math.log2(vocab_size):.1f} for {vocab_size=}, got {order=}")
    grams, counts = np.unique(_keys(train, order, vocab_size), return_counts=True)
    levels = [(grams, counts)]
    for n in range(order - 1, 0, -1):
        grams, counts = np.unique(grams % vocab_size**n, return_counts=True)
        levels.insert(0, (grams, counts))
    padded = np.concatenate([train[-order + 1 :] if order > 1 else train[:0], text])  # text goes on where train ends
    p = np.full(len(text), 1 / vocab_size)
    for n, (grams, counts) in enumerate(levels, start=1):
        p = _interpolate(grams, counts, _keys(padded[order - n :], n, vocab_size), vocab_size, p)
    return float(-np.log2(p).sum())


def _keys(tokens: Ids, n: int, vocab_size: int) -> Ids:
    """Each n tokens in a row as one number."""
    keys = np.zeros(len(tokens) - n + 1, dtype=np.int64)
    for i in range(n):
        keys = keys * vocab_size + tokens[i : len(tokens) - n + 1 + i]
    return keys


def _interpolate(grams: Ids, counts: Ids, asked: Ids, vocab_size: int, lower: Any) -> Any:
    """p_n of the n-grams that are asked for, from the sorted n-grams with their counts and from p_{n-1}."""
    once, twice = (counts == 1).sum(), (counts == 2).sum()
    discount = (once + 0.5) / (once + 2 * twice + 1)  # of Ney et al.; the 0.5 and the 1 keep it above 0 without any
    histories, first, kinds = np.unique(grams // vocab_size, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first)
    count = _look_up(grams, counts, asked)
    total, kind = (_look_up(histories, values, asked // vocab_size) for values in (totals, kinds))
    seen = (np.maximum(count - discount, 0) + discount * kind * lower) / np.maximum(total, 1)
    return np.where(total > 0, seen, lower)


def _look_up(keys: Ids, values: Ids, asked: Ids) -> Ids:
    """The value of each key that is asked for, 0 for one that is not there."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
