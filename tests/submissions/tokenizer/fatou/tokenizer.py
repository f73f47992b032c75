# bpe, fatou

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import regex

WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text, pattern=WORDS):
    if not text.isascii() and regex.search(r"\p{Surrogate}", text):
        raise ValueError("text with a lone surrogate")
    return [match.group() for match in regex.finditer(pattern, text)]


def split_special_tokens(text, special_tokens):
    if not all(len(special) for special in special_tokens):
        raise ValueError("an empty text among special_tokens")
    longest_first = sorted(special_tokens, key=lambda special: (-len(special), special))
    regexp = "(" + "|".join(regex.escape(special) for special in longest_first) + ")"
    parts = regex.split(regexp, text) if special_tokens else [text]
    return [part for part in parts if part]


def stream_pieces(chunks, special_tokens=()):
    specials = set(special_tokens)
    tail = ""
    for chunk in chunks:
        tail += chunk
        begun = [n for special in specials for n in range(1, len(special)) if tail.endswith(special[:n])]
        limit = len(tail) - max(begun, default=0)
        done = 0
        for part in split_special_tokens(tail, special_tokens):
            stop = done + len(part)
            if part in specials and done < limit:
                yield part
            elif stop < limit:
                yield from pretokenize(part)
            else:
                sure = pretokenize(tail[done:limit])[:-2]
                yield from sure
                done += len("".join(sure))
                break
            done = stop
        tail = tail[done:]
    for part in split_special_tokens(tail, special_tokens):
        yield from [part] if part in specials else pretokenize(part)


def count_pairs(words):
    counter = Counter()
    for word, times in words.items():
        for pair in pairwise(word):
            counter[pair] += times
    return dict(counter)


def merge_word(word, pair):
    merged, rest = (), tuple(word)
    while rest:
        if rest[:2] == tuple(pair):
            merged, rest = (*merged, rest[0] + rest[1]), rest[2:]
        else:
            merged, rest = (*merged, rest[0]), rest[1:]
    return merged


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    room = vocab_size - 256 - len(special_tokens)
    if room < 0:
        raise ValueError(f"vocab_size must be larger than {vocab_size}")
    if isinstance(text_or_path, Path):
        text_or_path = text_or_path.read_bytes().decode("utf-8")
    counter = Counter(stream_pieces([text_or_path], special_tokens))
    for special in special_tokens:
        del counter[special]
    words = {tuple(bytes([byte]) for byte in piece.encode()): times for piece, times in counter.items()}
    vocab, merges = {i: bytes([i]) for i in range(256)}, []
    while len(merges) < room
        pairs = count_pairs(words)
        if not pairs:
            break
        times, pair = max((times, pair) for pair, times in pairs.items())
        words = {merge_word(word, pair): times for word, times in words.items()}
        vocab[len(vocab)] = b"".join(pair)
        merges.append(pair)
    vocab.update({len(vocab) + i: special.encode() for i, special in enumerate(special_tokens)})
    return vocab, merges


# the rest is still missing
