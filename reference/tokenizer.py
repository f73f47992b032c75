"""Module 4, tokenizer: from text to numbers and back, by byte-pair encoding on bytes as GPT-2 has it.

A token is a bytes object, a word is a tuple of tokens, and a merge is a pair of tokens that become one. Text is first
cut at special tokens and then into pieces by a pattern; a merge never crosses a cut. The libraries that do all this
(tiktoken, tokenizers and the like) are not allowed here; `regex` is.

No function changes its arguments. A text is any str that UTF-8 can encode.
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import regex

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]

# English contractions; then letters, digits or other signs, each with one space before them; then white space, of which
# the last one before a word is left to the word.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLOCK = 1 << 20  # characters of a file that are read at once


def pretokenize(text: str, pattern: str = GPT2_PATTERN) -> list[str]:
    """The pieces of text that `pattern` matches, from left to right; no merge will cross from one into the next.

    pretokenize("It's 2 cats.") is ["It", "'s", " 2", " cats", "."]. The default pattern leaves no character out; what
    another pattern does not match is dropped. A piece is the whole match, also where the pattern has groups.

    Args:
        text: any text, also an empty one.
        pattern: a pattern of the `regex` package, which knows \\p{L} (any letter) and \\p{N} (any sign for a number).
    Returns:
        The pieces in order.
    Raises:
        ValueError: text holds half of a surrogate pair, which UTF-8 cannot encode.
    Source: Radford et al. 2019 (GPT-2), section 2.2, and the pattern of its published code. Task 4.1.
    """
    if lone := regex.search(r"\p{Cs}", text):
        raise ValueError(f"text must be encodable as UTF-8, got {lone.group()!r} at index {lone.start()} of text")
    return [match.group() for match in regex.finditer(pattern, text)]


def split_special_tokens(text: str, special_tokens: Sequence[str]) -> list[str]:
    """Cut text at special tokens: what is before one, the special token itself, what is after it.

    split_special_tokens("a<|end|>b", ["<|end|>"]) is ["a", "<|end|>", "b"]. Special tokens are found from left to
    right, also inside a word; where several begin at the same place, the longest counts.

    Args:
        text: any text, also an empty one.
        special_tokens: plain texts, not patterns, in any order.
    Returns:
        The parts in order, without empty ones; put together they are text again.
    Raises:
        ValueError: one of special_tokens is empty.
    Source: the practice of the published GPT-2 and GPT-4 tokenizers. Task 4.2.
    """
    if "" in special_tokens:
        raise ValueError(f"special_tokens must not be empty texts, got special_tokens={list(special_tokens)!r}")
    if not special_tokens:
        return [text] if text else []
    longest_first = sorted(special_tokens, key=len, reverse=True)  # alternatives are tried in this order
    either = "|".join(regex.escape(special) for special in longest_first)
    return [part for part in regex.split(f"({either})", text) if part]


def stream_pieces(chunks: Iterable[str], special_tokens: Sequence[str] = ()) -> Iterator[str]:
    """The pieces and special tokens of a text that arrives in chunks, cut anywhere.

    Whatever the chunks are, the result is that of the whole text: split at special tokens, every other part
    pretokenized. Pieces are given out as soon as no further chunk can change them, so that little text is held at a
    time. What may still change: the end of the text, from where a special token may have begun ("<|e" of "a<|e"); and
    before that the last two pieces of the open part (" cat" may go on as " cats", "'" and "l" may become "'ll").

    Args:
        chunks: texts, also empty ones; read one at a time, and not before the pieces so far have been taken.
        special_tokens: as in split_special_tokens.
    Returns:
        An iterator over pieces and special tokens in order.
    Raises:
        ValueError: as pretokenize and split_special_tokens do, when the iterator gets there.
    Source: the property is what counts: every way to cut a text gives the same pieces. Task 4.3.
    """
    held = ""
    for chunk in chunks:
        held += chunk
        settled = 0
        for piece in _settled(held, special_tokens):
            yield piece
            settled += len(piece)
        held = held[settled:]
    for part in split_special_tokens(held, special_tokens):
        yield from [part] if part in special_tokens else pretokenize(part)


def _settled(text: str, special_tokens: Sequence[str]) -> Iterator[str]:
    """The pieces at the start of text that stay the same whatever text follows."""
    undecided = len(text) - _begun(text, special_tokens)
    end = 0
    for part in split_special_tokens(text, special_tokens):
        start, end = end, end + len(part)
        if part in special_tokens and start < undecided:
            yield part
        elif end < undecided:  # a special token that is certain comes next
            yield from pretokenize(part)
        else:
            yield from pretokenize(text[start:undecided])[:-2]
            return


def _begun(text: str, special_tokens: Sequence[str]) -> int:
    """The length of the longest end of text with which a special token begins, but is not yet complete."""
    sizes = (size for special in special_tokens for size in range(1, len(special)) if text.endswith(special[:size]))
    return max(sizes, default=0)


def count_pairs(words: Mapping[Word, int]) -> dict[Pair, int]:
    """How often each pair of neighbouring tokens occurs.

    Every position counts, also where two overlap: (a, a) occurs twice in the word (a, a, a).

    Args:
        words: word → how often it occurs in the text.
    Returns:
        pair → its number over all words, each as often as it occurs; only pairs that occur.
    Source: Sennrich et al. 2016, algorithm 1 (get_stats). Task 4.4.
    """
    pairs: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[pair] += count
    return dict(pairs)


def merge_word(word: Word, pair: Pair) -> Word:
    """The word with every occurrence of pair made into one token, from left to right.

    merge_word((b"a", b"a", b"a"), (b"a", b"a")) is (b"aa", b"a"): a token is merged once at most.

    Args:
        word: its tokens.
        pair: the two tokens to merge where they are neighbours, in this order.
    Returns:
        The new word; the same tokens if pair does not occur.
    Source: Sennrich et al. 2016, algorithm 1 (merge_vocab). Task 4.5.
    """
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        size = 2 if word[i : i + 2] == pair else 1
        merged.append(b"".join(word[i : i + size]))
        i += size
    return tuple(merged)


def train_bpe(
    text_or_path: str | Path, vocab_size: int, special_tokens: Sequence[str] = ()
) -> tuple[dict[int, bytes], list[Pair]]:
    """Learn merges: again and again, the most frequent pair of neighbouring tokens becomes a token.

    The words are the UTF-8 bytes of the pieces between special tokens, at first one token a byte. Of several pairs that
    are equally frequent the greatest counts, compared as Python compares tuples of bytes: (b"b", b"a") before
    (b"a", b"z"). It ends when vocab_size is reached or every word is a single token.

    Args:
        text_or_path: a str is the text itself; a Path is a UTF-8 file, whose line ends count as they are.
        vocab_size: the size of vocab with everything in it.
        special_tokens: texts that are tokens of their own; they are cut out and take no part in the counting.
    Returns:
        vocab: id → token. 0 to 255 are the single bytes, then come the merged tokens, then special_tokens, in order.
        merges: the pairs in the order in which they were merged.
    Raises:
        ValueError: vocab_size has no room for the 256 bytes and special_tokens.
    Source: Sennrich et al. 2016, algorithm 1; on bytes: Radford et al. 2019, section 2.2. Task 4.6.
    """
    room = vocab_size - 256 - len(special_tokens)
    if room < 0:
        raise ValueError(f"vocab_size must be at least {256 + len(special_tokens)}, got vocab_size={vocab_size}")
    merges = _learn(_count_words(_read(text_or_path), special_tokens), room)
    tokens = [bytes([i]) for i in range(256)]
    tokens += [first + second for first, second in merges]
    tokens += [special.encode() for special in special_tokens]
    return dict(enumerate(tokens)), merges


def _read(text_or_path: str | Path) -> Iterator[str]:
    """The text in chunks, a file without translating its line ends."""
    if isinstance(text_or_path, str):
        yield text_or_path
        return
    with text_or_path.open(encoding="utf-8", newline="") as file:
        while block := file.read(BLOCK):
            yield block


def _count_words(chunks: Iterable[str], special_tokens: Sequence[str]) -> dict[Word, int]:
    """Word → how often it occurs. A text has far fewer different words than words: hence the speed."""
    pieces = Counter(stream_pieces(chunks, special_tokens))
    return {_bytes_of(piece.encode()): n for piece, n in pieces.items() if piece not in special_tokens}


def _bytes_of(word: bytes) -> Word:
    return tuple(word[i : i + 1] for i in range(len(word)))


@dataclass(slots=True)
class _Candidate:
    """A pair in the queue, with its count at the time. The most frequent, then the greatest pair, comes first."""

    count: int
    pair: Pair

    def __lt__(self, other: "_Candidate") -> bool:
        return (self.count, self.pair) > (other.count, other.pair)


def _learn(words: Mapping[Word, int], room: int) -> list[Pair]:
    """Up to `room` merges. Nothing is counted twice: a merge changes only the words that hold its pair.

    The pairs that a merge makes are new, as its token is, and the count of an older pair can only fall. So a count in
    the queue is never too small, and it is enough to look again at what comes out.
    """
    tokens, counts = list(words), list(words.values())
    pairs = Counter(count_pairs(words))
    holders: defaultdict[Pair, set[int]] = defaultdict(set)  # pair → the words that hold it, or once did
    for index, word in enumerate(tokens):
        for pair in pairwise(word):
            holders[pair].add(index)
    queue = [_Candidate(count, pair) for pair, count in pairs.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and len(merges) < room:
        best = heapq.heappop(queue)
        if pairs[best.pair] == best.count:
            merges.append(best.pair)
            for pair in _merge_everywhere(best.pair, tokens, counts, pairs, holders):
                heapq.heappush(queue, _Candidate(pairs[pair], pair))
        elif pairs[best.pair]:
            heapq.heappush(queue, _Candidate(pairs[best.pair], best.pair))
    return merges


def _merge_everywhere(
    pair: Pair, tokens: list[Word], counts: list[int], pairs: Counter[Pair], holders: defaultdict[Pair, set[int]]
) -> set[Pair]:
    """Merge pair in the words that hold it and bring the counts up to date; the pairs that this makes."""
    made: set[Pair] = set()
    for index in holders.pop(pair):
        old, new = tokens[index], merge_word(tokens[index], pair)
        tokens[index] = new
        for gone in pairwise(old):
            pairs[gone] -= counts[index]
        for there in pairwise(new):
            pairs[there] += counts[index]
            if pair[0] + pair[1] in there:
                made.add(there)
                holders[there].add(index)
    return made


def encode_word(word: bytes, ranks: Mapping[Pair, int]) -> list[bytes]:
    """The tokens of a word: of the pairs that are neighbours, the one of lowest rank is merged, until none has a rank.

    The order is that of training, whatever the place in the word: with the ranks (b, c) 0 and (a, b) 1 the word abc
    gives [a, bc]. All occurrences of a pair are merged at once, from left to right.

    Args:
        word: the UTF-8 bytes of a piece, also none.
        ranks: merge → its place in the list of merges, 0 for the first.
    Returns:
        Tokens that put together are word again.
    Source: Sennrich et al. 2016, section 3.2; Radford et al. 2019. Task 4.7.
    """
    tokens = _bytes_of(word)
    while True:
        known = [pair for pair in pairwise(tokens) if pair in ranks]
        if not known:
            return list(tokens)
        tokens = merge_word(tokens, min(known, key=ranks.__getitem__))


class Tokenizer:
    """Text to ids and back. Its attributes are vocab (id → token, special ones too), merges and special_tokens.

    Source: Radford et al. 2019, section 2.2. Task 4.8.
    """

    def __init__(self, vocab: Mapping[int, bytes], merges: Sequence[Pair], special_tokens: Sequence[str] = ()) -> None:
        """Keep copies of a vocabulary, as train_bpe returns it, and of its merges.

        Args:
            vocab: id → token. It holds the 256 bytes and what the merges make; ids may have gaps.
            merges: pairs of tokens. The rank of a pair is its first place in the list.
            special_tokens: one that vocab does not hold yet is added to it, with the next id after the largest.
        Raises:
            ValueError: vocab lacks a byte, or what one of the merges makes.
        """
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.special_tokens = list(special_tokens)
        tokens = set(vocab.values())
        needed = [bytes([i]) for i in range(256)] + [first + second for first, second in merges]
        for token in needed:
            if token not in tokens:
                raise ValueError(f"vocab must hold every byte and what merges make, got a vocab without {token!r}")
        for special in special_tokens:
            if special.encode() not in tokens:
                self.vocab[max(self.vocab) + 1] = special.encode()
        self._ids = {token: token_id for token_id, token in self.vocab.items()}
        self._ranks: dict[Pair, int] = {}
        for rank, pair in enumerate(merges):
            self._ranks.setdefault(pair, rank)
        self._ids_of_piece = lru_cache(maxsize=1 << 16)(self._encode_piece)  # most words of a text come again

    def encode(self, text: str) -> list[int]:
        """The ids of a text. A special token in it always becomes its own id.

        Args:
            text: any text, also an empty one.
        Returns:
            token_ids; decoding them gives text again.
        Raises:
            ValueError: text holds half of a surrogate pair.
        """
        return list(self.encode_iterable([text]))

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """The ids of a text that arrives in chunks, such as the lines of a file: those of the whole text.

        Args:
            chunks: texts, cut anywhere, also inside a word or a special token.
        Returns:
            An iterator over token_ids, which reads a chunk only when it needs one and holds little text at a time.
        Raises:
            ValueError: as encode does, when the iterator gets there.
        """
        for piece in stream_pieces(chunks, self.special_tokens):
            yield from self._ids_of_piece(piece)

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        word = piece.encode()
        tokens = [word] if piece in self.special_tokens else encode_word(word, self._ranks)
        return tuple(self._ids[token] for token in tokens)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some ids. A token may hold a part of a character, so bytes are joined before they are read.

        Args:
            token_ids: any ids of vocab in any order, also none.
        Returns:
            The text; bytes that are not UTF-8 become the replacement character, U+FFFD, as Python's "replace" does.
        Raises:
            ValueError: vocab lacks one of token_ids.
        """
        tokens: list[bytes] = []
        for token_id in token_ids:
            if token_id not in self.vocab:
                raise ValueError(f"token_ids must be ids of vocab (0 to {max(self.vocab)}), got {token_id}")
            tokens.append(self.vocab[token_id])
        return b"".join(tokens).decode(errors="replace")

    def save(self, path: str | Path) -> None:
        """Write everything into one JSON file, an object with three keys.

        `vocab` maps the id, as a string, to the token; `merges` is a list of pairs [first, second]; `special_tokens`
        is a list of texts. JSON has no bytes: a token is written as the text with one character a byte, the character
        of the same number (b"\\xc3a" as "\\u00c3a"; Python's codec "latin-1").

        Args:
            path: the file; one that is there is replaced.
        """
        data = {
            "vocab": {str(token_id): token.decode("latin-1") for token_id, token in self.vocab.items()},
            "merges": [[first.decode("latin-1"), second.decode("latin-1")] for first, second in self.merges],
            "special_tokens": self.special_tokens,
        }
        Path(path).write_text(json.dumps(data), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """The tokenizer in a file that save has written.

        Args:
            path: the file.
        Returns:
            One that encodes and decodes as the saved one does.
        """
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        vocab = {int(token_id): token.encode("latin-1") for token_id, token in data["vocab"].items()}
        merges = [(first.encode("latin-1"), second.encode("latin-1")) for first, second in data["merges"]]
        return cls(vocab, merges, data["special_tokens"])
