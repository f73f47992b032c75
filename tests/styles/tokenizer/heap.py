"""Module 4, tokenizer, with numbers inside: tokens are ids, words are arrays, and a heap says what is merged next."""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import regex

GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def pretokenize(text: str, pattern: str = GPT2.pattern) -> list[str]:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text is not valid: {error.reason} at {error.start}") from error
    compiled = GPT2 if pattern == GPT2.pattern else regex.compile(pattern)
    return [text[slice(*match.span())] for match in compiled.finditer(text)]


def _special_pattern(special_tokens: Sequence[str]):
    if not all(special_tokens):
        raise ValueError("special_tokens must not hold an empty text")
    ordered = sorted(special_tokens, key=lambda special: -len(special))
    return regex.compile("|".join(map(regex.escape, ordered))) if ordered else None


def split_special_tokens(text: str, special_tokens: Sequence[str]) -> list[str]:
    pattern = _special_pattern(special_tokens)
    if pattern is None:
        return [text] if text else []
    parts, end = [], 0
    for match in pattern.finditer(text):
        parts += [text[end : match.start()], match.group()]
        end = match.end()
    parts.append(text[end:])
    return list(filter(None, parts))


def _pieces(text: str, special_tokens: Sequence[str]) -> list[str]:
    known = frozenset(special_tokens)
    pieces: list[str] = []
    for part in split_special_tokens(text, special_tokens):
        pieces += [part] if part in known else pretokenize(part)
    return pieces


def stream_pieces(chunks: Iterable[str], special_tokens: Sequence[str] = ()) -> Iterator[str]:
    """White space after anything else begins a piece: cut there, unless a special token may lie across."""
    held = ""
    for chunk in chunks:
        held += chunk
        cut = next((at for at in _gaps(held) if not _crossed(held, at, special_tokens)), 0)
        if cut:
            yield from _pieces(held[:cut], special_tokens)
            held = held[cut:]
    yield from _pieces(held, special_tokens)


def _gaps(text: str) -> Iterator[int]:
    """Places with white space after them and none before, the last one first."""
    for at in range(len(text) - 1, 0, -1):
        if text[at].isspace() and not text[at - 1].isspace() and text[at] not in "\x1c\x1d\x1e\x1f":
            yield at


def _crossed(text: str, at: int, special_tokens: Sequence[str]) -> bool:
    """Whether a special token lies across a place, or would if the text went on."""
    for special in special_tokens:
        for start in range(max(0, at - len(special) + 1), at):
            there = text[start : start + len(special)]
            if special[: len(there)] == there:
                return True
    return False


def count_pairs(words: Mapping[tuple[bytes, ...], int]) -> dict[tuple[bytes, bytes], int]:
    return dict(sum((Counter({p: k * n for p, k in _neighbours(w).items()}) for w, n in words.items()), Counter()))


def _neighbours(word: Sequence) -> Counter:
    return Counter(pairwise(word))


def merge_word(word: tuple[bytes, ...], pair: tuple[bytes, bytes]) -> tuple[bytes, ...]:
    done: list[bytes] = []
    todo = list(reversed(word))
    while todo:
        token = todo.pop()
        done.append(token + todo.pop() if todo and (token, todo[-1]) == tuple(pair) else token)
    return tuple(done)


class _Queue:
    """Pairs of ids by count, the most frequent and then the greatest first. Entries of an old count are skipped."""

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens, self.counts, self.heap = tokens, Counter(), []

    def change(self, pair: tuple[int, int], by: int) -> None:
        self.counts[pair] += by
        if self.counts[pair] > 0:
            key = tuple(_downwards(self.tokens[i]) for i in pair)
            heapq.heappush(self.heap, (-self.counts[pair], key, pair))

    def pop(self) -> tuple[int, int] | None:
        while self.heap:
            count, _, pair = heapq.heappop(self.heap)
            if self.counts[pair] == -count:
                del self.counts[pair]
                return pair
        return None


def _downwards(token: bytes) -> tuple[int, ...]:
    """A key that sorts bytes from the greatest to the smallest."""
    return (*(-byte for byte in token), 1)


def train_bpe(text_or_path: str | Path, vocab_size: int, special_tokens: Sequence[str] = ()):
    room = vocab_size - 256 - len(special_tokens)
    if room < 0:
        raise ValueError(f"{vocab_size=} is less than 256 bytes and {len(special_tokens)} special tokens")
    text = text_or_path if isinstance(text_or_path, str) else str(text_or_path.read_bytes(), "utf-8")
    counts = Counter(_pieces(text, special_tokens))
    for special in special_tokens:
        counts.pop(special, None)
    tokens = [bytes([i]) for i in range(256)]
    words = [list(piece.encode()) for piece in counts]
    numbers = list(counts.values())
    merges = [(tokens[i], tokens[j]) for i, j in _merge_all(words, numbers, tokens, room)]
    return dict(enumerate([*tokens, *(special.encode() for special in special_tokens)])), merges


def _merge_all(words: list[list[int]], numbers: list[int], tokens: list[bytes], room: int) -> list[tuple[int, int]]:
    """The merges as pairs of ids; tokens grows by each of them."""
    queue, where = _Queue(tokens), defaultdict(set)
    total: Counter = Counter()
    for at, word in enumerate(words):
        for pair, times in _neighbours(word).items():
            total[pair] += times * numbers[at]
            where[pair].add(at)
    for pair, count in total.items():
        queue.change(pair, count)
    merges = []
    while len(merges) < room and (best := queue.pop()) is not None:
        new = len(tokens)
        tokens.append(tokens[best[0]] + tokens[best[1]])
        merges.append(best)
        changes: Counter = Counter()
        for at in where.pop(best):
            before, words[at] = words[at], _replaced(words[at], best, new)
            after = _neighbours(words[at])
            for pair, times in _neighbours(before).items():
                changes[pair] -= times * numbers[at]
            for pair, times in after.items():
                changes[pair] += times * numbers[at]
                where[pair].add(at)
        for pair, by in changes.items():
            if by and pair != best:
                queue.change(pair, by)
    return merges


def _replaced(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    result: list[int] = []
    for i in word:
        if result and result[-1] == pair[0] and i == pair[1]:
            result[-1] = new
        else:
            result.append(i)
    return result


def encode_word(word: bytes, ranks: Mapping[tuple[bytes, bytes], int]) -> list[bytes]:
    """Nodes of a linked list, and a heap of (rank, place) of what may be merged."""
    tokens: list[bytes | None] = [word[i : i + 1] for i in range(len(word))]
    after = list(range(1, len(word) + 1))
    before = list(range(-1, len(word) - 1))
    heap: list[tuple[int, int, tuple[bytes, bytes]]] = []

    def offer(at: int) -> None:
        if at >= 0 and after[at] < len(tokens):
            pair = (tokens[at], tokens[after[at]])
            if pair in ranks:
                heapq.heappush(heap, (ranks[pair], at, pair))

    for at in range(len(tokens)):
        offer(at)
    while heap:
        _, at, pair = heapq.heappop(heap)
        if tokens[at] is None or after[at] >= len(tokens) or (tokens[at], tokens[after[at]]) != pair:
            continue
        gone = after[at]
        tokens[at], tokens[gone] = b"".join(pair), None
        after[at] = after[gone]
        if after[at] < len(tokens):
            before[after[at]] = at
        offer(before[at])
        offer(at)
    return [token for token in tokens if token is not None]


class Tokenizer:
    def __init__(self, vocab: Mapping[int, bytes], merges: Sequence, special_tokens: Sequence[str] = ()) -> None:
        wanted = {bytes([i]) for i in range(256)} | {a + b for a, b in merges}
        if missing := sorted(wanted - set(vocab.values())):
            raise ValueError(f"vocab lacks {len(missing)} tokens that are needed, {missing[0]!r} among them")
        self.merges, self.special_tokens = list(merges), list(special_tokens)
        new = [s.encode() for s in special_tokens if s.encode() not in set(vocab.values())]
        self.vocab = {**vocab, **dict(enumerate(dict.fromkeys(new), start=max(vocab) + 1))}
        self._id = {token: i for i, token in self.vocab.items()}
        self._rank = {pair: len(self.merges) - 1 - i for i, pair in enumerate(reversed(self.merges))}
        self._cache: dict[str, list[int]] = {special: [self._id[special.encode()]] for special in special_tokens}

    def _ids(self, piece: str) -> list[int]:
        if piece not in self._cache:
            self._cache[piece] = [self._id[token] for token in encode_word(piece.encode(), self._rank)]
        return self._cache[piece]

    def encode(self, text: str) -> list[int]:
        return [i for piece in _pieces(text, self.special_tokens) for i in self._ids(piece)]

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        return (i for piece in stream_pieces(chunks, self.special_tokens) for i in self._ids(piece))

    def decode(self, token_ids: Iterable[int]) -> str:
        token_ids = list(token_ids)
        if unknown := [i for i in token_ids if i not in self.vocab]:
            raise ValueError(f"token_ids holds {unknown[0]}, for which vocab has no token")
        return str(b"".join(map(self.vocab.get, token_ids)), "utf-8", "replace")

    def save(self, path: str | Path) -> None:
        data = {
            "special_tokens": self.special_tokens,
            "merges": [[str(a, "latin-1"), str(b, "latin-1")] for a, b in self.merges],
            "vocab": {i: str(token, "latin-1") for i, token in self.vocab.items()},
        }
        Path(path).write_bytes(json.dumps(data, ensure_ascii=False).encode())

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        data = json.loads(Path(path).read_bytes())
        vocab = {int(i): token.encode("latin-1") for i, token in data["vocab"].items()}
        merges = [tuple(token.encode("latin-1") for token in pair) for pair in data["merges"]]
        return cls(vocab, merges, data["special_tokens"])
