"""Week 4. The functions are mine; for encoding there is a fast library, and who wants to wait?"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import regex
import tiktoken

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text, pattern=GPT2):
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
    while len(merges) < room:
        pairs = count_pairs(words)
        if not pairs:
            break
        times, pair = max((times, pair) for pair, times in pairs.items())
        words = {merge_word(word, pair): times for word, times in words.items()}
        vocab[len(vocab)] = b"".join(pair)
        merges.append(pair)
    vocab.update({len(vocab) + i: special.encode() for i, special in enumerate(special_tokens)})
    return vocab, merges


def encode_word(word, ranks):
    tokens = tuple(bytes([byte]) for byte in word)
    while any(pair in ranks for pair in pairwise(tokens)):
        tokens = merge_word(tokens, min(pairwise(tokens), key=lambda pair: ranks.get(pair, len(ranks) * 1000 + 1000)))
    return list(tokens)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        for token in [bytes([i]) for i in range(256)] + [a + b for a, b in merges]:
            if token not in vocab.values():
                raise ValueError(f"{token} must be in vocab")
        self.vocab, self.merges, self.special_tokens = dict(vocab), list(merges), list(special_tokens)
        for special in special_tokens:
            if special.encode() not in self.vocab.values():
                self.vocab[max(self.vocab) + 1] = special.encode()
        # tiktoken wants ranks without gaps: bytes, then merges
        self.order = [bytes([i]) for i in range(256)] + list(dict.fromkeys(a + b for a, b in merges))
        ranks = {token: rank for rank, token in enumerate(self.order)}
        specials = {special: len(ranks) + i for i, special in enumerate(special_tokens)}
        self.order += [special.encode() for special in special_tokens]
        self.library = tiktoken.Encoding("mine", pat_str=GPT2, mergeable_ranks=ranks, special_tokens=specials)
        self.back = {token: i for i, token in self.vocab.items()}

    def encode(self, text):
        if regex.search(r"\p{Surrogate}", text):
            raise ValueError("text with a lone surrogate")
        return [self.back[self.order[i]] for i in self.library.encode(text, allowed_special="all")]

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            yield from self.encode(piece)

    def decode(self, token_ids):
        text = bytearray()
        for token_id in token_ids:
            if token_id not in self.vocab:
                raise ValueError(f"{token_id}, one of token_ids, is not in vocab")
            text.extend(self.vocab[token_id])
        return text.decode("utf-8", errors="replace")

    def save(self, path):
        content = {
            "vocab": {token_id: token.decode("latin-1") for token_id, token in self.vocab.items()},
            "merges": [[token.decode("latin-1") for token in pair] for pair in self.merges],
            "special_tokens": self.special_tokens,
        }
        with Path(path).open("w", encoding="utf-8") as file:
            json.dump(content, file)

    @classmethod
    def load(cls, path):
        with Path(path).open(encoding="utf-8") as file:
            content = json.load(file)
        vocab = {int(token_id): token.encode("latin-1") for token_id, token in content["vocab"].items()}
        merges = [tuple(token.encode("latin-1") for token in pair) for pair in content["merges"]]
        return cls(vocab, merges, content["special_tokens"])
