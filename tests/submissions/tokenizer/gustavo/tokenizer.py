# tokenizer, module 4 -- Gustavo
import json
import math
from pathlib import Path

import regex

PATTERN = regex.compile(r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")
BYTES = [bytes([i]) for i in range(256)]


def pretokenize(text, pattern=PATTERN):
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("this text has a lone surrogate")
    pieces = []
    for match in regex.finditer(pattern, text):
        pieces.append(match.group())
    return pieces


def split_special_tokens(text, special_tokens):
    for special in special_tokens:
        if len(special) == 0:
            raise ValueError("special_tokens must not contain empty strings")
    parts = [""]
    i = 0
    while i < len(text):
        length = max([len(s) for s in special_tokens if text[i : i + len(s)] == s], default=0)
        if length > 0:
            parts.append(text[i : i + length])
            parts.append("")
            i += length
        else:
            parts[-1] += text[i]
            i += 1
    return [p for p in parts if p != ""]


def stream_pieces(chunks, special_tokens=()):
    special_tokens = set(special_tokens)
    longest = max([len(s) for s in special_tokens], default=1)
    text = ""
    for chunk in chunks:
        text += chunk
        # go back from the end to a place where a word ends, and no special token can be around
        end = len(text) - longest
        while end > 0:
            cut_ok = text[end].isspace() and not text[end - 1].isspace()
            for s in special_tokens:
                for start in range(end - len(s) + 1, end):
                    if start >= 0 and text[start : start + len(s)] == s:
                        cut_ok = False
            if cut_ok:
                break
            end -= 1
        if end > 0:
            for part in split_special_tokens(text[:end], special_tokens):
                yield from [part] if part in special_tokens else pretokenize(part)
            text = text[end:]
    for part in split_special_tokens(text, special_tokens):
        yield from [part] if part in special_tokens else pretokenize(part)


def count_pairs(words):
    pairs = {}
    for word, count in words.items():
        for i in range(len(word) - 1):
            pairs[word[i : i + 2]] = pairs.get(word[i : i + 2], 0) + count
    return pairs


def merge_word(word, pair):
    new = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            new.append(pair[0] + pair[1])
            i = i + 2
        else:
            new.append(word[i])
            i = i + 1
    return tuple(new)


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    if vocab_size < 256 + len(special_tokens):
        raise ValueError(f"vocab_size={vocab_size}, but at least {256 + len(special_tokens)} are needed")
    if isinstance(text_or_path, str):
        text = text_or_path
    else:
        with open(text_or_path, encoding="utf-8", newline="") as f:
            text = f.read()
    words = {}
    for part in split_special_tokens(text, special_tokens):
        if part in special_tokens:
            continue
        for piece in pretokenize(part):
            word = tuple(BYTES[b] for b in piece.encode("utf-8"))
            words[word] = words.get(word, 0) + 1
    merges = []
    tokens = list(BYTES)
    while len(tokens) + len(special_tokens) < vocab_size:
        pairs = count_pairs(words)
        if len(pairs) == 0:
            break
        pair = sorted(pairs, key=lambda p: (pairs[p], p))[-1]
        merges.append(pair)
        tokens.append(pair[0] + pair[1])
        words = {merge_word(word, pair): count for word, count in words.items()}
    for special in special_tokens:
        tokens.append(special.encode("utf-8"))
    return {i: token for i, token in enumerate(tokens)}, merges


def encode_word(word, ranks):
    tokens = tuple(BYTES[b] for b in word)
    changed = True
    while changed:
        changed = False
        for i in range(len(tokens) - 1):
            if ranks.get(tokens[i : i + 2], math.inf) < math.inf:
                tokens = merge_word(tokens, tokens[i : i + 2])
                changed = True
                break
    return list(tokens)


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        self.vocab = vocab.copy()
        self.merges = merges[:]
        self.special_tokens = list(special_tokens)
        self.token_to_id = {}
        for i, token in vocab.items():
            self.token_to_id[token] = i
        for token in BYTES + [a + b for a, b in merges]:
            if token not in self.token_to_id:
                raise ValueError(f"vocab does not have {token}")
        for special in self.special_tokens:
            if special.encode("utf-8") not in self.token_to_id:
                i = 1 + max(self.vocab)
                self.vocab[i] = special.encode("utf-8")
                self.token_to_id[special.encode("utf-8")] = i
        self.ranks = {}
        for i in reversed(range(len(merges))):
            self.ranks[merges[i]] = i

    def encode(self, text):
        return list(self.encode_iterable([text]))

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            if piece in self.special_tokens:
                yield self.token_to_id[piece.encode("utf-8")]
                continue
            for token in encode_word(piece.encode("utf-8"), self.ranks):
                yield self.token_to_id[token]

    def decode(self, token_ids):
        result = b""
        for i in token_ids:
            if i not in self.vocab:
                raise ValueError(f"{i} in token_ids is unknown")
            result += self.vocab[i]
        return result.decode("utf-8", errors="replace")

    def save(self, path):
        d = {"vocab": {}, "merges": [], "special_tokens": self.special_tokens}
        for i, token in self.vocab.items():
            d["vocab"][i] = token.decode("latin1")
        for a, b in self.merges:
            d["merges"].append((a.decode("latin1"), b.decode("latin1")))
        with open(path, "w", encoding="utf-8") as f:
            json.dump(d, f)

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            d = json.load(f)
        vocab = {int(i): token.encode("latin1") for i, token in d["vocab"].items()}
        merges = [(a.encode("latin1"), b.encode("latin1")) for a, b in d["merges"]]
        return Tokenizer(vocab, merges, d["special_tokens"])
