"""Week 4. One generator feeds everything: text -> (piece, is_special)."""

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import regex as re

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text, pattern=GPT2):
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("text contains half of a surrogate pair")
    return [m[0] for m in re.finditer(pattern, text)]


def split_special_tokens(text, special_tokens):
    if "" in special_tokens:
        raise ValueError(f"special_tokens={special_tokens!r} contains ''")
    if not special_tokens:
        return [text] * bool(text)
    # sort first, escape then: escaping makes some longer
    alternatives = [re.escape(s) for s in sorted(special_tokens, key=len)[::-1]]
    return [part for part in re.split("(" + "|".join(alternatives) + ")", text) if part]


def tagged(text, special_tokens):
    for part in split_special_tokens(text, special_tokens):
        if part in special_tokens:
            yield part, True
        else:
            yield from ((piece, False) for piece in pretokenize(part))


def stream_pieces(chunks, special_tokens=()):
    # A piece is certain if it ends before anything that may become a special token,
    # and is followed by two more pieces or by a special token that is certain itself.
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        limit = min((i for s in special_tokens for i in open_ends(buffer, s)), default=len(buffer))
        certain, waiting, end = 0, [], 0
        for piece, special in tagged(buffer, special_tokens):
            start, end = end, end + len(piece)
            if start >= limit:
                break
            if special:
                yield from waiting
                yield piece
                certain, waiting = end, []
            elif end > limit:
                waiting += pretokenize(buffer[start:limit])
            else:
                waiting.append(piece)
        yield from waiting[:-2]
        buffer = buffer[certain + sum(map(len, waiting[:-2])) :]
    yield from (piece for piece, _ in tagged(buffer, special_tokens))


def open_ends(text, special):
    """Where text may end with an unfinished special token."""
    for size in range(1, min(len(special), len(text) + 1)):
        if text.endswith(special[:size]):
            yield len(text) - size


def count_pairs(words):
    pairs = Counter()
    for word, n in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += n
    return dict(pairs)


def merge_word(word, pair):
    out = []
    for token in word:
        # a token that was just merged never equals pair[0]: it is longer
        if out and out[-1] == pair[0] and token == pair[1]:
            out[-1] += token
        else:
            out.append(token)
    return tuple(out)


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    room = vocab_size - 256 - len(special_tokens)
    if room < 0:
        raise ValueError(f"vocab_size {vocab_size} is too small")
    text = text_or_path.read_bytes().decode() if isinstance(text_or_path, Path) else text_or_path
    pieces = Counter(piece for piece, special in tagged(text, special_tokens) if not special)
    words = {tuple(bytes([b]) for b in piece.encode()): n for piece, n in pieces.items()}
    pairs, merges = Counter(count_pairs(words)), []
    while len(merges) < room and (pairs := +pairs):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word in [word for word in words if best in zip(word, word[1:])]:
            n = words.pop(word)
            new = merge_word(word, best)
            words[new] = n
            pairs.subtract(count_pairs({word: n}))
            pairs.update(count_pairs({new: n}))
    tokens = chain((bytes([b]) for b in range(256)), (a + b for a, b in merges), (s.encode() for s in special_tokens))
    return dict(enumerate(tokens)), merges


def encode_word(word, ranks):
    tokens = tuple(bytes([b]) for b in word)
    while known := set(zip(tokens, tokens[1:])) & ranks.keys():
        tokens = merge_word(tokens, min(known, key=ranks.get))
    return list(tokens)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        self.vocab, self.merges, self.special_tokens = dict(vocab), list(merges), list(special_tokens)
        self.ids = {token: i for i, token in vocab.items()}
        for token in [*(bytes([b]) for b in range(256)), *(a + b for a, b in merges)]:
            if token not in self.ids:
                raise ValueError(f"{token!r} is missing in vocab")
        for special in special_tokens:
            if special.encode() not in self.ids:
                new = max(self.vocab) + 1
                self.vocab[new] = special.encode()
                self.ids[special.encode()] = new
        self.ranks = {}
        for rank, pair in enumerate(merges):
            self.ranks.setdefault(pair, rank)

    def encode(self, text):
        return list(self.encode_iterable([text]))

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            if piece in self.special_tokens:
                yield self.ids[piece.encode()]
            else:
                yield from (self.ids[token] for token in encode_word(piece.encode(), self.ranks))

    def decode(self, token_ids):
        token_ids = list(token_ids)
        if not set(token_ids) <= self.vocab.keys():
            raise ValueError(f"token_ids not in the vocabulary: {set(token_ids) - self.vocab.keys()}")
        return b"".join(self.vocab[i] for i in token_ids).decode("utf-8", errors="replace")

    def save(self, path):
        vocab = {i: token.decode("latin-1") for i, token in self.vocab.items()}
        merges = [[a.decode("latin-1"), b.decode("latin-1")] for a, b in self.merges]
        Path(path).write_text(json.dumps({"vocab": vocab, "merges": merges, "special_tokens": self.special_tokens}))

    @classmethod
    def load(cls, path):
        saved = json.loads(Path(path).read_text())
        vocab = {int(i): token.encode("latin-1") for i, token in saved["vocab"].items()}
        merges = [(a.encode("latin-1"), b.encode("latin-1")) for a, b in saved["merges"]]
        return cls(vocab, merges, saved["special_tokens"])
