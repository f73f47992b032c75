import json
import re as plain_re
from collections import Counter

import regex as re

SPLIT = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"


def pretokenize(text, pattern=SPLIT):
    bad = plain_re.search("[\\ud800-\\udfff]", text)
    if bad:
        raise ValueError("text has a surrogate at %d" % bad.start())
    return list(m.group(0) for m in re.finditer(pattern, text))


def split_special_tokens(text, special_tokens):
    parts = []
    if "" in list(special_tokens):
        raise ValueError("special_tokens: empty string")
    while text:
        # the leftmost special token, and the longest of those that start there
        hits = [(text.find(s), -len(s), s) for s in special_tokens if s in text]
        if not hits:
            parts.append(text)
            break
        start, _, special = min(hits)
        if start:
            parts.append(text[:start])
        parts.append(special)
        text = text[start + len(special) :]
    return parts


def pieces_of(text, special_tokens):
    for part in split_special_tokens(text, special_tokens):
        if part in special_tokens:
            yield part
        else:
            for piece in pretokenize(part):
                yield piece


def stream_pieces(chunks, special_tokens=()):
    for chunk in chunks:
        for piece in pieces_of(chunk, special_tokens):
            yield piece


def pairs_of(word):
    return [(word[i], word[i + 1]) for i in range(len(word) - 1)]


def count_pairs(words):
    total = Counter()
    for word in words:
        total.update({p: n * words[word] for p, n in Counter(pairs_of(word)).items()})
    return dict(total)


def merge_word(word, pair):
    word = list(word)
    for i in range(len(word)):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            word[i : i + 2] = [pair[0] + pair[1]]
    return tuple(word)


def split_bytes(b):
    return tuple(b[i : i + 1] for i in range(len(b)))


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    n_merges = vocab_size - 256 - len(special_tokens)
    if n_merges < 0:
        raise ValueError("vocab_size %d is smaller than 256 + %d" % (vocab_size, len(special_tokens)))
    text = text_or_path
    if not isinstance(text, str):
        with open(text, "rb") as f:
            text = f.read().decode("utf8")
    words = Counter()
    for piece in pieces_of(text, special_tokens):
        if piece not in special_tokens:
            words[split_bytes(piece.encode("utf8"))] += 1
    merges = []
    for i in range(n_merges):
        counts = count_pairs(words)
        if not counts:
            break
        top = max((n, p) for p, n in counts.items())[1]
        merges.append(top)
        words = {merge_word(w, top): n for w, n in words.items()}
    tokens = [bytes([i]) for i in range(256)] + [x + y for x, y in merges] + [s.encode("utf8") for s in special_tokens]
    return dict(zip(range(len(tokens)), tokens)), merges


def encode_word(word, ranks):
    tokens = split_bytes(word)
    candidates = [p for p in pairs_of(tokens) if p in ranks]
    while candidates:
        candidates.sort(key=lambda p: ranks[p])
        tokens = merge_word(tokens, candidates[0])
        candidates = [p for p in pairs_of(tokens) if p in ranks]
    return list(tokens)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        self.vocab = {**vocab}
        self.merges = [*merges]
        self.special_tokens = [*special_tokens]
        self.back = {v: k for k, v in self.vocab.items()}
        for i in range(256):
            if bytes([i]) not in self.back:
                raise ValueError("vocab: byte %d is missing" % i)
        for x, y in merges:
            if x + y not in self.back:
                raise ValueError("vocab: %r is missing" % (x + y))
        for s in special_tokens:
            s = s.encode("utf8")
            if s not in self.back:
                self.back[s] = max(self.vocab) + 1
                self.vocab[self.back[s]] = s
        self.ranks = {p: r for r, p in reversed([*enumerate(merges)])}

    def _ids(self, piece):
        b = piece.encode("utf8")
        if piece in self.special_tokens:
            return [self.back[b]]
        return [self.back[t] for t in encode_word(b, self.ranks)]

    def encode(self, text):
        return [i for piece in pieces_of(text, self.special_tokens) for i in self._ids(piece)]

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            for i in self._ids(piece):
                yield i

    def decode(self, token_ids):
        b = b""
        for i in token_ids:
            if i not in self.vocab:
                raise ValueError("token_ids: no token %r in vocab" % i)
            b += self.vocab[i]
        return b.decode("utf8", errors="replace")

    def save(self, path):
        out = {"special_tokens": self.special_tokens}
        out["vocab"] = {k: "".join(map(chr, v)) for k, v in self.vocab.items()}
        out["merges"] = [["".join(map(chr, x)), "".join(map(chr, y))] for x, y in self.merges]
        with open(path, "w") as f:
            f.write(json.dumps(out))

    @classmethod
    def load(cls, path):
        with open(path) as f:
            data = json.loads(f.read())
        as_bytes = lambda s: bytes(map(ord, s))
        vocab = {int(k): as_bytes(v) for k, v in data["vocab"].items()}
        merges = [(as_bytes(x), as_bytes(y)) for x, y in data["merges"]]
        return cls(vocab, merges, data["special_tokens"])
