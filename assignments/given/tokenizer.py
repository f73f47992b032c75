"""Module 4, tokenizer, in plain slow code: everything is counted anew for each merge. It stands in for your file."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import regex

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces of text that `pattern` matches, from left to right."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"text cannot be encoded: {error}") from None
    return [match[0] for match in regex.compile(pattern).finditer(text)]


def split_special_tokens(text: str, special_tokens: Sequence[str]) -> list[str]:
    """Cut text at special tokens, the longest that begins at a place."""
    if not all(special_tokens):
        raise ValueError(f"special_tokens holds an empty text: {special_tokens!r}")
    parts, start, i = [], 0, 0
    while i < len(text):
        here = [special for special in special_tokens if text.startswith(special, i)]
        if here:
            special = max(here, key=len)
            parts += [text[start:i], special]
            start = i = i + len(special)
        else:
            i += 1
    parts.append(text[start:])
    return [part for part in parts if part]


def stream_pieces(chunks: Iterable[str], special_tokens: Sequence[str] = ()) -> Iterator[str]:
    """The pieces and special tokens of a text that arrives in chunks: cut where a word ends at white space."""
    held = ""
    for chunk in chunks:
        held += chunk
        cut = _last_cut(held, special_tokens)
        yield from _pieces(held[:cut], special_tokens)
        held = held[cut:]
    yield from _pieces(held, special_tokens)


def _pieces(text: str, special_tokens: Sequence[str]) -> Iterator[str]:
    for part in split_special_tokens(text, special_tokens):
        if part in special_tokens:
            yield part
        else:
            yield from pretokenize(part)


def _last_cut(text: str, special_tokens: Sequence[str]) -> int:
    """The last place between a sign and white space that no special token can lie across; 0 if there is none."""
    for match in regex.finditer(r"(?r)\S(?=\s)", text):  # from the right
        cut = match.end()
        if not any(_may_lie_across(special, cut, text) for special in special_tokens):
            return cut
    return 0


def _may_lie_across(special: str, cut: int, text: str) -> bool:
    starts = range(max(0, cut - len(special) + 1), cut)
    return any(special.startswith(text[start : start + len(special)]) for start in starts)


def count_pairs(words: Mapping[Word, int]) -> dict[Pair, int]:
    """How often each pair of neighbouring tokens occurs."""
    pairs: dict[Pair, int] = {}
    for word, count in words.items():
        for i in range(len(word) - 1):
            pair = word[i], word[i + 1]
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


def merge_word(word: Word, pair: Pair) -> Word:
    """The word with every occurrence of pair made into one token, from left to right."""
    tokens = list(word)
    i = 0
    while i + 1 < len(tokens):
        if (tokens[i], tokens[i + 1]) == pair:
            tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
        i += 1
    return tuple(tokens)


def train_bpe(
    text_or_path: str | Path, vocab_size: int, special_tokens: Sequence[str] = ()
) -> tuple[dict[int, bytes], list[Pair]]:
    """Learn merges: again and again, the most frequent pair of neighbouring tokens becomes a token."""
    if vocab_size < 256 + len(special_tokens):
        raise ValueError(f"vocab_size ({vocab_size}) leaves no room for 256 bytes and {len(special_tokens)} specials")
    text = text_or_path if isinstance(text_or_path, str) else text_or_path.read_bytes().decode("utf-8")
    words: dict[Word, int] = {}
    for piece in _pieces(text, special_tokens):
        if piece not in special_tokens:
            word = _single_bytes(piece.encode("utf-8"))
            words[word] = words.get(word, 0) + 1
    merges: list[Pair] = []
    while len(merges) < vocab_size - 256 - len(special_tokens):
        pairs = count_pairs(words)
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = {merge_word(word, best): count for word, count in words.items()}
    vocab = {i: bytes([i]) for i in range(256)}
    for first, second in merges:
        vocab[len(vocab)] = first + second
    for special in special_tokens:
        vocab[len(vocab)] = special.encode("utf-8")
    return vocab, merges


def _single_bytes(word: bytes) -> Word:
    return tuple(bytes([byte]) for byte in word)


def encode_word(word: bytes, ranks: Mapping[Pair, int]) -> list[bytes]:
    """The tokens of a word: the leftmost pair of lowest rank is merged, one at a time."""
    tokens = list(_single_bytes(word))
    while len(tokens) > 1:
        rank, i = min((ranks.get((tokens[i], tokens[i + 1]), math.inf), i) for i in range(len(tokens) - 1))
        if rank == math.inf:
            break
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


class Tokenizer:
    """Text to ids and back."""

    def __init__(self, vocab: Mapping[int, bytes], merges: Sequence[Pair], special_tokens: Sequence[str] = ()) -> None:
        """Keep copies; special tokens that vocab lacks are added to it."""
        self.vocab, self.merges, self.special_tokens = dict(vocab), list(merges), list(special_tokens)
        there = set(vocab.values())
        for token in [bytes([i]) for i in range(256)] + [first + second for first, second in merges]:
            if token not in there:
                raise ValueError(f"vocab has no {token!r}")
        for special in special_tokens:
            if special.encode("utf-8") not in there:
                self.vocab[max(self.vocab) + 1] = special.encode("utf-8")
        self._ids = {token: token_id for token_id, token in self.vocab.items()}
        self._ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        return self._encode_pieces(_pieces(text, self.special_tokens))

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """The ids of a text that arrives in chunks."""
        for piece in stream_pieces(chunks, self.special_tokens):
            yield from self._encode_pieces([piece])

    def _encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        token_ids: list[int] = []
        for piece in pieces:
            word = piece.encode("utf-8")
            tokens = [word] if piece in self.special_tokens else encode_word(word, self._ranks)
            token_ids += [self._ids[token] for token in tokens]
        return token_ids

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some ids."""
        text = b""
        for token_id in token_ids:
            if token_id not in self.vocab:
                raise ValueError(f"token_ids holds {token_id}, which is not in vocab")
            text += self.vocab[token_id]
        return text.decode("utf-8", errors="replace")

    def save(self, path: str | Path) -> None:
        """Write everything into one JSON file, a byte as the character of the same number."""
        vocab = {str(token_id): token.decode("latin-1") for token_id, token in self.vocab.items()}
        merges = [[token.decode("latin-1") for token in pair] for pair in self.merges]
        data = {"vocab": vocab, "merges": merges, "special_tokens": self.special_tokens}
        Path(path).write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """The tokenizer in a file that save has written."""
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        vocab = {int(token_id): token.encode("latin-1") for token_id, token in data["vocab"].items()}
        merges = [(first.encode("latin-1"), second.encode("latin-1")) for first, second in data["merges"]]
        return cls(vocab, merges, data["special_tokens"])
