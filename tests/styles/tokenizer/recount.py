"""Module 4, tokenizer, the plain way: scan character by character, count everything anew for each merge."""

import json
import pathlib

import regex

WORDS = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def pretokenize(text, pattern=WORDS):
    for index, character in enumerate(text):
        if 0xD800 <= ord(character) <= 0xDFFF:
            raise ValueError(f"text has half of a surrogate pair at {index}: {character!r}")
    compiled = regex.compile(pattern)
    pieces = []
    position = 0
    while True:
        match = compiled.search(text, position)
        if match is None:
            return pieces
        pieces.append(match.group(0))
        position = match.end()


def longest_at(text, start, special_tokens):
    """The longest special token that begins at start, or None."""
    best = None
    for special in special_tokens:
        if text.startswith(special, start) and (best is None or len(special) > len(best)):
            best = special
    return best


def may_grow_at(text, start, special_tokens):
    """Whether more text could make a special token of what begins at start and reaches the end."""
    rest = text[start:]
    return any(len(special) > len(rest) and special.startswith(rest) for special in special_tokens)


def split_special_tokens(text, special_tokens):
    if any(special == "" for special in special_tokens):
        raise ValueError("special_tokens contains an empty string")
    parts = []
    plain = ""
    i = 0
    while i < len(text):
        special = longest_at(text, i, special_tokens)
        if special is None:
            plain += text[i]
            i += 1
            continue
        if plain:
            parts.append(plain)
            plain = ""
        parts.append(special)
        i += len(special)
    if plain:
        parts.append(plain)
    return parts


def stream_pieces(chunks, special_tokens=()):
    if any(special == "" for special in special_tokens):
        raise ValueError("special_tokens contains an empty string")
    plain = ""  # before it everything is given out, and no special token begins in it
    rest = ""  # not yet looked at
    for chunk in chunks:
        rest += chunk
        i = 0
        while i < len(rest) and not may_grow_at(rest, i, special_tokens):
            special = longest_at(rest, i, special_tokens)
            if special is None:
                plain += rest[i]
                i += 1
                continue
            yield from pretokenize(plain)
            plain = ""
            yield special
            i += len(special)
        rest = rest[i:]
        safe = pretokenize(plain)[:-2]
        yield from safe
        plain = plain[sum(len(piece) for piece in safe) :]
    for part in split_special_tokens(plain + rest, special_tokens):
        if part in special_tokens:
            yield part
        else:
            yield from pretokenize(part)


def count_pairs(words):
    counts = {}
    for word in words:
        for i in range(1, len(word)):
            pair = (word[i - 1], word[i])
            if pair not in counts:
                counts[pair] = 0
            counts[pair] += words[word]
    return counts


def merge_word(word, pair):
    result = []
    skip = False
    for i, token in enumerate(word):
        if skip:
            skip = False
        elif i + 1 < len(word) and token == pair[0] and word[i + 1] == pair[1]:
            result.append(token + word[i + 1])
            skip = True
        else:
            result.append(token)
    return tuple(result)


def to_bytes(piece):
    return tuple(bytes((number,)) for number in piece.encode("utf-8"))


def train_bpe(text_or_path, vocab_size, special_tokens=()):
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size is {vocab_size}, but bytes and special tokens need {smallest}")
    text = text_or_path
    if isinstance(text_or_path, pathlib.Path):
        text = text_or_path.read_bytes().decode("utf-8")

    words = {}
    for part in split_special_tokens(text, special_tokens):
        if part not in special_tokens:
            for piece in pretokenize(part):
                word = to_bytes(piece)
                words[word] = words.get(word, 0) + 1

    merges = []
    for _ in range(vocab_size - smallest):
        counts = count_pairs(words)
        if not counts:
            break
        most = max(counts.values())
        best = max(pair for pair in counts if counts[pair] == most)
        merges.append(best)
        merged = {}
        for word, count in words.items():
            merged[merge_word(word, best)] = count
        words = merged

    vocab = {}
    for number in range(256):
        vocab[number] = bytes((number,))
    for left, right in merges:
        vocab[len(vocab)] = left + right
    for special in special_tokens:
        vocab[len(vocab)] = special.encode("utf-8")
    return vocab, merges


def encode_word(word, ranks):
    tokens = [word[i : i + 1] for i in range(len(word))]
    while True:
        best = None
        for i in range(len(tokens) - 1):
            rank = ranks.get((tokens[i], tokens[i + 1]))
            if rank is not None and (best is None or rank < best):
                best = rank
        if best is None:
            return tokens
        i = 0
        while i < len(tokens) - 1:
            if ranks.get((tokens[i], tokens[i + 1])) == best:
                tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
            i += 1


class Tokenizer:
    def __init__(self, vocab, merges, special_tokens=()):
        self.vocab = {}
        self.ids = {}
        for token_id in vocab:
            self.vocab[token_id] = vocab[token_id]
            self.ids[vocab[token_id]] = token_id
        self.merges = [(left, right) for left, right in merges]
        self.special_tokens = list(special_tokens)

        for number in range(256):
            if bytes((number,)) not in self.ids:
                raise ValueError(f"vocab has no token for the byte {number}")
        for left, right in merges:
            if left + right not in self.ids:
                raise ValueError(f"vocab has no token {left + right!r}, which a merge makes")

        for special in special_tokens:
            token = special.encode("utf-8")
            if token not in self.ids:
                new_id = max(self.vocab) + 1
                self.vocab[new_id] = token
                self.ids[token] = new_id

        self.ranks = {}
        for rank in range(len(merges)):
            if self.merges[rank] not in self.ranks:
                self.ranks[self.merges[rank]] = rank

    def ids_of(self, piece):
        token = piece.encode("utf-8")
        if piece in self.special_tokens:
            return [self.ids[token]]
        return [self.ids[part] for part in encode_word(token, self.ranks)]

    def encode(self, text):
        token_ids = []
        for part in split_special_tokens(text, self.special_tokens):
            pieces = [part] if part in self.special_tokens else pretokenize(part)
            for piece in pieces:
                token_ids.extend(self.ids_of(piece))
        return token_ids

    def encode_iterable(self, chunks):
        for piece in stream_pieces(chunks, self.special_tokens):
            yield from self.ids_of(piece)

    def decode(self, token_ids):
        everything = bytearray()
        for token_id in token_ids:
            try:
                everything += self.vocab[token_id]
            except KeyError:
                raise ValueError(f"token_ids: {token_id} is not in vocab") from None
        return everything.decode("utf-8", "replace")

    def save(self, path):
        def text(token):
            return "".join(chr(number) for number in token)

        content = {"vocab": {}, "merges": [], "special_tokens": self.special_tokens}
        for token_id in self.vocab:
            content["vocab"][str(token_id)] = text(self.vocab[token_id])
        for left, right in self.merges:
            content["merges"].append([text(left), text(right)])
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)

    @classmethod
    def load(cls, path):
        def token(text):
            return bytes(ord(character) for character in text)

        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        vocab = {}
        for token_id in content["vocab"]:
            vocab[int(token_id)] = token(content["vocab"][token_id])
        merges = []
        for left, right in content["merges"]:
            merges.append((token(left), token(right)))
        return cls(vocab, merges, content["special_tokens"])
