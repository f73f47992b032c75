"""Module 4, tokenizer: from text to numbers and back, by byte-pair encoding on bytes as GPT-2 has it.

A token is a bytes object, a word is a tuple of tokens, and a merge is a pair of tokens that become one. Text is first
cut at special tokens and then into pieces by a pattern; a merge never crosses a cut. The libraries that do all this
(tiktoken, tokenizers and the like) are not allowed here; `regex` is.

No function changes its arguments. A text is any str that UTF-8 can encode.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]

# English contractions; then letters, digits or other signs, each with one space before them; then white space, of which
# the last one before a word is left to the word.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


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
    raise NotImplementedError("Task 4.1: pretokenize")


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
    raise NotImplementedError("Task 4.2: split_special_tokens")


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
    raise NotImplementedError("Task 4.3: stream_pieces")


def count_pairs(words: Mapping[Word, int]) -> dict[Pair, int]:
    """How often each pair of neighbouring tokens occurs.

    Every position counts, also where two overlap: (a, a) occurs twice in the word (a, a, a).

    Args:
        words: word → how often it occurs in the text.
    Returns:
        pair → its number over all words, each as often as it occurs; only pairs that occur.
    Source: Sennrich et al. 2016, algorithm 1 (get_stats). Task 4.4.
    """
    raise NotImplementedError("Task 4.4: count_pairs")


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
    raise NotImplementedError("Task 4.5: merge_word")


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
    raise NotImplementedError("Task 4.6: train_bpe")


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
    raise NotImplementedError("Task 4.7: encode_word")


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
        raise NotImplementedError("Task 4.8: Tokenizer.__init__")

    def encode(self, text: str) -> list[int]:
        """The ids of a text. A special token in it always becomes its own id.

        Args:
            text: any text, also an empty one.
        Returns:
            token_ids; decoding them gives text again.
        Raises:
            ValueError: text holds half of a surrogate pair.
        """
        raise NotImplementedError("Task 4.8: Tokenizer.encode")

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """The ids of a text that arrives in chunks, such as the lines of a file: those of the whole text.

        Args:
            chunks: texts, cut anywhere, also inside a word or a special token.
        Returns:
            An iterator over token_ids, which reads a chunk only when it needs one and holds little text at a time.
        Raises:
            ValueError: as encode does, when the iterator gets there.
        """
        raise NotImplementedError("Task 4.8: Tokenizer.encode_iterable")

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of some ids. A token may hold a part of a character, so bytes are joined before they are read.

        Args:
            token_ids: any ids of vocab in any order, also none.
        Returns:
            The text; bytes that are not UTF-8 become the replacement character, U+FFFD, as Python's "replace" does.
        Raises:
            ValueError: vocab lacks one of token_ids.
        """
        raise NotImplementedError("Task 4.8: Tokenizer.decode")

    def save(self, path: str | Path) -> None:
        """Write everything into one JSON file, an object with three keys.

        `vocab` maps the id, as a string, to the token; `merges` is a list of pairs [first, second]; `special_tokens`
        is a list of texts. JSON has no bytes: a token is written as the text with one character a byte, the character
        of the same number (b"\\xc3a" as "\\u00c3a"; Python's codec "latin-1").

        Args:
            path: the file; one that is there is replaced.
        """
        raise NotImplementedError("Task 4.8: Tokenizer.save")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """The tokenizer in a file that save has written.

        Args:
            path: the file.
        Returns:
            One that encodes and decodes as the saved one does.
        """
        raise NotImplementedError("Task 4.8: Tokenizer.load")
