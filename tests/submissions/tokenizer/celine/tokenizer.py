"""Module 4. A small Trainer class keeps the counts up to date, so that nothing is counted twice."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Iterable, Iterator

import regex

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text: str, pattern: str = PATTERN) -> list[str]:
    if regex.search("[\ud800-\udfff]", text):
        raise ValueError("text: surrogates are not allowed")
    return [m.group() for m in regex.finditer(pattern, text)]


def split_special_tokens(text: str, special_tokens) -> list[str]:
    if not all(special_tokens):
        raise ValueError(f"special_tokens may not hold empty strings: {special_tokens}")
    if not special_tokens:
        return [text] if text else []
    pattern = "|".join(regex.escape(s) for s in sorted(special_tokens, key=lambda s: -len(s)))
    parts = []
    last = 0
    for m in regex.finditer(pattern, text):
        if m.start() > last:
            parts.append(text[last : m.start()])
        parts.append(m.group())
        last = m.end()
    if last < len(text):
        parts.append(text[last:])
    return parts


def stream_pieces(chunks: Iterable[str], special_tokens=()) -> Iterator[str]:
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        open_from = len(buffer)  # from here on a special token may be unfinished
        for s in special_tokens:
            for n in range(1, len(s)):
                if buffer.endswith(s[:n]):
                    open_from = min(open_from, len(buffer) - n)
        position = 0
        for part in split_special_tokens(buffer, special_tokens):
            end = position + len(part)
            if part in special_tokens and position < open_from:
                yield part
                position = end
            elif end < open_from:
                yield from pretokenize(part)
                position = end
            else:
                for piece in pretokenize(buffer[position:open_from])[:-2]:
                    yield piece
                    position += len(piece)
                break
        buffer = buffer[position:]
    for part in split_special_tokens(buffer, special_tokens):
        if part in special_tokens:
            yield part
        else:
            yield from pretokenize(part)


def count_pairs(words):
    counts = defaultdict(int)
    for word, n in words.items():
        for i in range(len(word) - 1):
            counts[word[i], word[i + 1]] += n
    return dict(counts)


def merge_word(word, pair):
    a, b = pair
    out: list[bytes] = []
    i = 0
    while i < len(word) - 1:
        if word[i] == a and word[i + 1] == b:
            out.append(a + b)
            i += 2
        else:
            out.append(word[i])
            i += 1
    out.extend(word[i:])
    return tuple(out)


class Trainer:
    def __init__(self, words):
        self.words = dict(words)
        self.counts = count_pairs(words)

    def best(self):
        return min(self.counts, key=lambda pair: (-self.counts[pair], pair))

    def merge(self, pair):
        new_words = {}
        for word, n in self.words.items():
            new = merge_word(word, pair)
            new_words[new] = n
            if new != word:
                for p, k in count_pairs({word: n}).items():
                    self.counts[p] -= k
                    if self.counts[p] == 0:
                        del self.counts[p]
                for p, k in count_pairs({new: n}).items():
                    self.counts[p] = self.counts.get(p, 0) + k
        self.words = new_words


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    if vocab_size < 256 + len(special_tokens):
        raise ValueError(f"vocab_size={vocab_size} leaves no room for bytes and special tokens")
    text = text_or_path if isinstance(text_or_path, str) else text_or_path.read_bytes().decode("utf-8")
    words = defaultdict(int)
    for part in split_special_tokens(text, special_tokens):
        if part not in special_tokens:
            for piece in pretokenize(part):
                words[tuple(bytes([b]) for b in piece.encode())] += 1
    trainer = Trainer(words)
    vocab = {i: bytes([i]) for i in range(256)}
    merges = []
    while trainer.counts and len(vocab) + len(special_tokens) < vocab_size:
        pair = trainer.best()
        trainer.merge(pair)
        merges.append(pair)
        vocab[len(vocab)] = pair[0] + pair[1]
    for s in special_tokens:
        vocab[len(vocab)] = s.encode()
    return vocab, merges


def encode_word(word, ranks):
    tokens = tuple(bytes([b]) for b in word)
    while True:
        best = min(zip(tokens, tokens[1:]), key=lambda p: ranks.get(p, float("inf")), default=None)
        if best not in ranks:
            return list(tokens)
        tokens = merge_word(tokens, best)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.special_tokens = list(special_tokens)
        known = set(self.vocab.values())
        needed = {bytes([b]) for b in range(256)} | {a + b for a, b in self.merges}
        if not needed <= known:
            raise ValueError(f"vocab is incomplete, it lacks {needed - known}")
        for s in self.special_tokens:
            if s.encode() not in known:
                self.vocab[max(self.vocab) + 1] = s.encode()
        self.id_of = {token: i for i, token in self.vocab.items()}
        self.ranks = {}
        for i, pair in enumerate(self.merges):
            if pair not in self.ranks:
                self.ranks[pair] = i

    def encode(self, text: str) -> list[int]:
        return list(self.encode_iterable([text]))

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            word = piece.encode()
            for token in [word] if piece in self.special_tokens else encode_word(word, self.ranks):
                yield self.id_of[token]

    def decode(self, token_ids) -> str:
        out = []
        for i in token_ids:
            if i not in self.vocab:
                raise ValueError(f"token_ids contains {i}, vocab has no such id")
            out.append(self.vocab[i])
        return b"".join(out).decode(errors="replace")

    def save(self, path):
        vocab = {str(i): t.decode("latin-1") for i, t in self.vocab.items()}
        merges = [[a.decode("latin-1"), b.decode("latin-1")] for a, b in self.merges]
        data = {"vocab": vocab, "merges": merges, "special_tokens": self.special_tokens}
        Path(path).write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def load(cls, path):
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        vocab = {int(i): t.encode("latin-1") for i, t in data["vocab"].items()}
        merges = [tuple(t.encode("latin-1") for t in pair) for pair in data["merges"]]
        return cls(vocab, merges, data["special_tokens"])
