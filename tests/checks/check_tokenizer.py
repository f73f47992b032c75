"""The graded checks of module 4. Texts are drawn from small sets of words, so that pairs repeat and ties occur.

A check returns what the implementation gave back; the judge compares it with the reference. A mapping comes back as a
sorted list of its entries, since the keys of a dict cross as text. Hidden rows stand in hidden_tokenizer.toml.
"""

import json
from itertools import islice

from grader import graded

ENGLISH = ["the", " the", " they're", " hot", " otter's", " 12", " 3", "2024", ",", " 'll", ".", "!?", " we'll", "D'S"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "a", "b1", " c", "?", "'s"]
SCRIPTS = [
    "é",
    "e\u0301",
    "ß",
    " Ωμέγα",
    "\u4f60",
    "٣٤",
    "²",
    "Ⅷ",
    "🙂",
    "👩\u200d🚀",
    "\0",
    "\u00a0",
    "\u3000",
    "\u0928\u093f",
]
STREAM = [*ENGLISH, *SPACES, "'", "l", "'l", "r", "e", "'v", "🙂", "é"]


def draw(rng, items, count):
    """`count` of the items, any number of times each."""
    return [items[i] for i in rng.integers(0, len(items), count).tolist()]


def shuffled(rng, items):
    """The items in an order of the draw's."""
    order = rng.integers(0, 1 << 40, len(items)).tolist()
    return [item for _, item in sorted(zip(order, items, strict=True))]


def cut(text, size):
    """The text in chunks of `size` characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def entries(mapping):
    """The entries of a dict in order; anything else as it is."""
    return sorted(mapping.items()) if isinstance(mapping, dict) else mapping


def as_bytes(texts):
    return tuple(text.encode() for text in texts)


class Source:
    """Chunks to read, and how many have been read."""

    def __init__(self, chunks):
        self.chunks, self.read = chunks, 0

    def __iter__(self):
        for chunk in self.chunks:
            self.read += 1
            yield chunk


def first_few(source, results, count):
    """Some results of an iterator, and whether it has read more than a tenth of its source for them."""
    return {"results": list(islice(results, count)), "read on": source.read > len(source.chunks) // 10}


# pretokenize


@graded("pretokenize", weight=3, rows=[{"count": 40}, {"count": 70}])
def check_pretokenize_english(impl, rng, count):
    """Words, numbers and signs are cut apart, each with the one space before it; 's, 'll and the like stand alone."""
    return impl.pretokenize("".join(draw(rng, ENGLISH, count)))


@graded("pretokenize", weight=2, rows=[{"count": 20}, {"count": 40}])
def check_pretokenize_white_space(impl, rng, count):
    """White space is kept; the last one of several before a word or sign is left to it if it is a space."""
    return impl.pretokenize("".join(draw(rng, SPACES, count)))


@graded("pretokenize", weight=2, rows=[{"count": 40}, {"count": 70}])
def check_pretokenize_scripts(impl, rng, count):
    """Letters and digits are those of every script; combining marks, emoji and NUL are signs."""
    return impl.pretokenize("".join(draw(rng, SCRIPTS, count)))


@graded("pretokenize", weight=2, rows=[{"pattern": "(a|b)+c"}, {"pattern": "\\p{Lu}|a(?=b)"}])
def check_pretokenize_other_pattern(impl, rng, pattern):
    """Another pattern gives its whole matches, groups or not, and drops what it does not match."""
    return impl.pretokenize("".join(draw(rng, ["a", "b", "c", "É", " "], 40)), pattern)


@graded("pretokenize", weight=1, rows=[{"text": ""}, {"text": " "}], pins="empty text")
def check_pretokenize_short_texts(impl, rng, text):
    """An empty text has no pieces; a single space is one."""
    return impl.pretokenize(text)


@graded("pretokenize", weight=1, rows=[{"code": 0xD83D}, {"code": 0xDC00}])
def check_pretokenize_refuses_half_a_pair(impl, rng, code):
    """Half of a surrogate pair is a ValueError that names text."""
    return impl.pretokenize("a " + chr(code) + "b")


# split_special_tokens


@graded("split_special_tokens", weight=3, rows=[{"specials": ["<end>"]}, {"specials": ["<a>", "_b_"]}])
def check_split_values(impl, rng, specials):
    """A special token is a part of its own, wherever it stands, also inside a word."""
    return impl.split_special_tokens(
        "".join(draw(rng, ["ab", " c", "\n", "<END>", "_B_", "<A>", *specials], 40)), specials
    )


@graded(
    "split_special_tokens",
    weight=3,
    rows=[{"specials": ["<a>", "<a><b>", "<b>"]}, {"specials": ["aaa", "aa"]}, {"specials": ["ab", "bcd", "cd"]}],
)
def check_split_longest_first(impl, rng, specials):
    """Where several special tokens begin, the longest counts; they are found from left to right and do not overlap."""
    return impl.split_special_tokens("".join(draw(rng, ["x", *specials, specials[-1][:1]], 40)), specials)


@graded("split_special_tokens", weight=2, rows=[{"specials": ["a.c", "x+"]}, {"specials": ["[ab]", "^", "(?"]}])
def check_split_no_patterns(impl, rng, specials):
    """Special tokens are plain texts: a dot or a bracket in one means itself."""
    return impl.split_special_tokens("".join(draw(rng, ["abc", "xx", " ", *specials], 15)), specials)


@graded(
    "split_special_tokens",
    weight=2,
    rows=[{"text": "", "specials": ["<a>"]}, {"text": "a b", "specials": []}, {"text": "", "specials": []}],
    pins="empty text, no special tokens",
)
def check_split_nothing(impl, rng, text, specials):
    """An empty text has no parts; without special tokens a text is one part."""
    return impl.split_special_tokens(text, specials)


@graded("split_special_tokens", weight=1, rows=[{"specials": ["", "<a>"]}])
def check_split_refuses_an_empty_one(impl, rng, specials):
    """An empty special token is a ValueError that names special_tokens."""
    return impl.split_special_tokens("a<a>b", specials)


@graded("split_special_tokens", weight=1, rows=[{"specials": ["<a>", "<c><d>", "b"]}])
def check_split_leaves_its_list_alone(impl, rng, specials):
    """The list of special tokens is in the same order afterwards."""
    mine = list(specials)
    return {"parts": impl.split_special_tokens("a<a>xb", mine), "special_tokens after the call": mine}


# stream_pieces


@graded("stream_pieces", weight=4, rows=[{"size": 1}, {"size": 2}, {"size": 7}])
def check_stream_chunks_of_a_size(impl, rng, size):
    """Chunks of any size give the pieces of the whole text."""
    text = "".join(draw(rng, STREAM, 60))
    return list(impl.stream_pieces(cut(text, size), []))


@graded(
    "stream_pieces", weight=3, rows=[{"size": 1, "specials": ["<|end|>"]}, {"size": 3, "specials": ["<a b>", " b"]}]
)
def check_stream_special_tokens(impl, rng, size, specials):
    """A special token is found though a chunk ends inside it; what only begins like one is ordinary text."""
    begun = [special[:-1] for special in specials]
    text = "".join(draw(rng, ["ab", " ", " the", *begun, *specials], 30))
    return list(impl.stream_pieces(cut(text, size), specials))


@graded(
    "stream_pieces",
    weight=2,
    rows=[{"specials": ["<a>", "<a><b>"], "rest": "<b>"}, {"specials": ["a", "cd", "abc"], "rest": "bc"}],
)
def check_stream_longest_special_token(impl, rng, specials, rest):
    """A special token waits for a longer one that may still come, and comes when the text is over."""
    return list(impl.stream_pieces([*draw(rng, ["x", " ", rest, *specials[:-1]], 40), specials[0]], specials))


@graded("stream_pieces", weight=2, rows=[{"count": 1000, "specials": []}, {"count": 800, "specials": ["<|end|>"]}])
def check_stream_reads_as_needed(impl, rng, count, specials):
    """Pieces come while the chunks are read, not after the last one."""
    source = Source(draw(rng, [" the", " hot", "\n", *specials], count))
    return first_few(source, impl.stream_pieces(source, specials), 20)


@graded("stream_pieces", weight=1, rows=[{"chunks": []}, {"chunks": ["", "a", "", "", "b", ""]}], pins="empty chunks")
def check_stream_empty_chunks(impl, rng, chunks):
    """No chunks give no pieces, and an empty chunk changes nothing."""
    return list(impl.stream_pieces(chunks, ["<a>"]))


# count_pairs


@graded("count_pairs", weight=3, rows=[{"count": 8}, {"count": 20}])
def check_count_pairs_values(impl, rng, count):
    """A pair counts at every place of every word, times how often the word occurs."""
    halves = [as_bytes(shuffled(rng, ["a", "b", "ab", "é"])) for _ in range(count)]
    words = {(*half, b"c", *half): n for half, n in zip(halves, rng.integers(2, 9, count).tolist(), strict=True)}
    return entries(impl.count_pairs(words))


@graded("count_pairs", weight=2, rows=[{"length": 3}, {"length": 6}])
def check_count_pairs_overlapping(impl, rng, length):
    """Places that overlap both count: (a, a) occurs twice in aaa."""
    return entries(impl.count_pairs({(b"a",) * length: 3, (b"a", b"a", b"b"): 1}))


@graded("count_pairs", weight=1, rows=[{"words": {}}, {"words": {("a",): 4, ("bc",): 1}}], pins="no pairs")
def check_count_pairs_none(impl, rng, words):
    """No words, or words of one token, have no pairs."""
    return entries(impl.count_pairs({as_bytes(word): n for word, n in words.items()}))


# merge_word


@graded("merge_word", weight=3, rows=[{"pair": ["a", "b"]}, {"pair": ["ab", "a"]}])
def check_merge_values(impl, rng, pair):
    """Every occurrence of the pair becomes one token, the others stay."""
    return impl.merge_word(as_bytes(draw(rng, ["a", "b", "ab", *pair], 50)), as_bytes(pair))


@graded("merge_word", weight=2, rows=[{"length": 3}, {"length": 4}, {"length": 5}])
def check_merge_from_the_left(impl, rng, length):
    """Of occurrences that overlap, the left one is merged: aaa becomes aa a."""
    return impl.merge_word((b"a",) * length + (b"b",), (b"a", b"a"))


@graded(
    "merge_word",
    weight=2,
    rows=[{"word": ["ab", "c"], "pair": ["a", "bc"]}, {"word": ["c", "b", "a", "b"], "pair": ["a", "b"]}],
)
def check_merge_that_pair_only(impl, rng, word, pair):
    """Only these two tokens in this order are merged, at the end of the word as well."""
    return impl.merge_word(as_bytes(word), as_bytes(pair))


@graded("merge_word", weight=1, rows=[{"word": []}, {"word": ["a"]}], pins="words without pairs")
def check_merge_short_words(impl, rng, word):
    """A word of one token or none stays as it is."""
    return impl.merge_word(as_bytes(word), (b"a", b"a"))


# train_bpe


def trained(result):
    """What train_bpe gives, the vocabulary from the last byte on."""
    vocab, merges = result
    return {"merges": merges, "size": len(vocab), "vocab": [entry for entry in entries(vocab) if entry[0] > 254]}


STEMS = ["the", " hot", "quick", " lazy", "jumps", " brown", "vexed", "fig"]  # no two hold the same pair of letters


def without_ties(rng, count):
    """Some stems and their beginnings or their ends, so often that at no time two pairs are equally frequent."""
    stems = shuffled(rng, STEMS)[:count]
    numbers = shuffled(rng, range(1, sum(len(stem) - 1 for stem in stems) + 1))
    words = []
    for stem, at_the_end in zip(stems, rng.integers(0, 2, count).tolist(), strict=True):
        sizes = range(len(stem), 1, -1)
        often, numbers = sorted(numbers[: len(sizes)]), numbers[len(sizes) :]
        for size, more, less in zip(sizes, often, [0, *often[:-1]], strict=True):
            words += [stem[-size:] if at_the_end else stem[:size]] * (more - less)
    return shuffled(rng, words)


@graded("train_bpe", weight=5, rows=[{"stems": 4, "merges": 9}, {"stems": 7, "merges": 18}], pins="values")
def check_train_values(impl, rng, stems, merges):
    """The most frequent pair is merged, again and again; merges and vocab follow in that order."""
    return trained(impl.train_bpe("\n".join(without_ties(rng, stems)), 256 + merges))


@graded("train_bpe", weight=2, rows=[{"count": 60, "merges": 12}, {"count": 400, "merges": 40}])
def check_train_words_that_share_pairs(impl, rng, count, merges):
    """A merge changes the counts of its neighbours in every word that holds it, and in no other."""
    text = "".join(draw(rng, [*ENGLISH, " another", " others", " then", " there"], count))
    return trained(impl.train_bpe(text, 256 + merges))


@graded("train_bpe", weight=4, rows=[{"copies": 4, "length": 2}, {"copies": 7, "length": 4}])
def check_train_ties(impl, rng, copies, length):
    """Of equally frequent pairs the greatest is merged: its first token decides, then its second, compared as bytes."""
    letters = shuffled(rng, list("abcdefghijklmnopqrstuvwxyzé"))
    a, b, c, d = sorted(letters[:4])
    words = [a + b] * copies + [a + b + c, a + d] + ["".join(letters[i : i + length]) for i in range(4, 24, 3)]
    return trained(impl.train_bpe("\n".join(words), 256 + 20))


@graded("train_bpe", weight=2, rows=[{"merges": 6}, {"merges": 10}], pins="aaaa")
def check_train_repeats(impl, rng, merges):
    """Runs such as aaaa are counted and merged like any other word."""
    words = ["a" * n for n in range(1, 9)] + ["ba" * 3, "aab"]
    return trained(impl.train_bpe(" ".join(draw(rng, words, 30)), 256 + merges))


@graded("train_bpe", weight=2, rows=[{"count": 40, "merges": 15}], pins="emoji, combining marks")
def check_train_on_bytes(impl, rng, count, merges):
    """Letters beyond ASCII are several bytes, which are merged like letters."""
    return trained(impl.train_bpe("".join(draw(rng, SCRIPTS, count)), 256 + merges))


@graded(
    "train_bpe",
    weight=3,
    rows=[{"specials": ["<|end|>"], "merges": 7}, {"specials": ["<|zz|>", "<|a|>", " the"], "merges": 9}],
)
def check_train_special_tokens(impl, rng, specials, merges):
    """Special tokens take no part in the counting, cut words in two, and have the last ids in their order."""
    words = without_ties(rng, 5)
    ends = draw(rng, ["\n", *specials, specials[0] * 3], len(words))
    text = "".join(word + end for word, end in zip(words, ends, strict=True)) + f"\nz{specials[0]}w" * 40
    return trained(impl.train_bpe(text, 256 + merges + len(specials), specials))


@graded("train_bpe", weight=1, rows=[{"extra": 0}, {"extra": 1}])
def check_train_exact_size(impl, rng, extra):
    """vocab_size counts everything: with 256 bytes and the special tokens alone nothing is merged."""
    return trained(impl.train_bpe("\n".join(without_ties(rng, 3)), 258 + extra, ["<|a|>", "<|b|>"]))


@graded("train_bpe", weight=1, rows=[{"text": "ab ab"}, {"text": ""}, {"text": "a?b"}], pins="nothing left to merge")
def check_train_until_nothing_is_left(impl, rng, text):
    """When every word is one token it ends early; a pair that occurs once is merged too."""
    return trained(impl.train_bpe(text, 300, ["<|a|>"]))


@graded("train_bpe", weight=2, rows=[{"name": "text.txt", "stems": 4}])
def check_train_from_a_file(impl, rng, scratch, name, stems):
    """A Path is a file of UTF-8 text, whose line ends count as they are."""
    path = scratch / name
    path.write_bytes("\r\n<|end|>é<|end|>é<|end|>".join(without_ties(rng, stems)).encode())
    return trained(impl.train_bpe(path, 266, ["<|end|>"]))


@graded(
    "train_bpe", weight=1, rows=[{"vocab_size": 255, "specials": []}, {"vocab_size": 257, "specials": ["<a>", "<b>"]}]
)
def check_train_refuses_a_small_vocab_size(impl, rng, vocab_size, specials):
    """A vocab_size without room for 256 bytes and the special tokens is a ValueError that names it."""
    return impl.train_bpe("the text", vocab_size, specials)


# encode_word


def merges_over(rng, letters, count):
    """Merges as training makes them: of tokens that are there already, each making a new one."""
    tokens, merges = list(letters), []
    while len(merges) < count:
        first, second = draw(rng, tokens, 2)
        if first + second not in tokens and len(first + second) < 7:
            merges.append((first, second))
            tokens.append(first + second)
    return merges


@graded("encode_word", weight=4, rows=[{"merges": 6, "length": 20}, {"merges": 25, "length": 40}], pins="values")
def check_encode_word_by_rank(impl, rng, merges, length):
    """The pair of lowest rank is merged first, wherever it stands in the word."""
    ranks = {pair: rank for rank, pair in enumerate(merges_over(rng, [b"a", b"b", b"c"], merges))}
    return impl.encode_word(b"".join(draw(rng, [b"a", b"b", b"c"], length)), ranks)


@graded("encode_word", weight=1, rows=[{"first": 40}, {"first": 1}])
def check_encode_word_order_of_ranks(impl, rng, first):
    """The rank counts, not the order in which ranks lists the pairs, nor where the numbers begin."""
    merges = merges_over(rng, [b"a", b"b"], 12)
    ranks = dict(shuffled(rng, [(pair, first + 3 * rank) for rank, pair in enumerate(merges)]))
    return impl.encode_word(b"".join(draw(rng, [b"a", b"b"], 60)), ranks)


@graded("encode_word", weight=2, rows=[{"length": 5}, {"length": 7}], pins="aaaa")
def check_encode_word_repeats(impl, rng, length):
    """In a run of one letter the merges begin at the left."""
    return impl.encode_word(b"a" * length, {(b"a", b"a"): 0, (b"aa", b"aa"): 1, (b"aa", b"a"): 2})


@graded("encode_word", weight=2, rows=[{"text": "né"}, {"text": "🙂🙃"}])
def check_encode_word_bytes(impl, rng, text):
    """A word is bytes: what no merge joins stays single bytes."""
    word = text.encode()
    return impl.encode_word(word, {(word[-2:-1], word[-1:]): 0})


@graded("encode_word", weight=1, rows=[{"word": ""}, {"word": "a"}, {"word": "ab"}], pins="empty word, no merges")
def check_encode_word_short(impl, rng, word):
    """Without merges a word is its single bytes; an empty one has no tokens."""
    return impl.encode_word(word.encode(), {})


# Tokenizer

TEXTS = [" the", "the", " hot", " other", "ing", " and", "it's", "é", " é", "\r\n", "🙂", "\x00", "hhot", "你", " 12"]
MERGES = [
    *((b"t", b"h"), (b"th", b"e"), (b"i", b"n"), (b"o", b"t"), (b"h", b"ot"), (b" ", b"the"), (b" ", b"hot")),
    *((b"a", b"n"), (b"an", b"d"), (b"in", b"g"), (b"'", b"s"), (b"\xc3", b"\xa9"), (b"\xf0", b"\x9f"), (b"e", b"r")),
    *((b" ", b"o"), (b"th", b"er"), (b" o", b"ther"), (b" ", b"\xc3\xa9"), (b"\r", b"\n"), (b" the", b" the")),
]


def vocabulary(rng, specials=()):
    """A vocabulary with drawn ids: in GPT-2, too, the ids of the bytes are not their numbers."""
    tokens = [bytes([i]) for i in range(256)] + [first + second for first, second in MERGES]
    tokens += [special.encode() for special in specials]
    return dict(zip(shuffled(rng, range(len(tokens))), tokens, strict=True))


@graded("Tokenizer", weight=4, rows=[{"count": 20}, {"count": 60}], pins="values")
def check_encode_values(impl, rng, count):
    """encode gives the ids that vocab has for the tokens of the pieces."""
    return impl.Tokenizer(vocabulary(rng), MERGES).encode("".join(draw(rng, TEXTS, count)))


@graded(
    "Tokenizer",
    weight=3,
    rows=[{"specials": ["<|end|>"]}, {"specials": ["<a>", "<a><b>", "<b>"]}, {"specials": ["h", "hh"]}],
)
def check_encode_special_tokens(impl, rng, specials):
    """A special token becomes its own id, also inside a word; of two the longer one."""
    tokenizer = impl.Tokenizer(vocabulary(rng, specials), MERGES, specials)
    return tokenizer.encode("".join(draw(rng, [*TEXTS, *specials, *specials], 30)))


@graded("Tokenizer", weight=1, rows=[{"again": 0}, {"again": 1}])
def check_encode_duplicate_merge(impl, rng, again):
    """A merge that is listed twice has the rank of its first place."""
    merges = [(b"a", b"b"), (b"b", b"c"), (b"c", b"a"), (b"ab", b"c")]
    vocab = {i: bytes([i]) for i in range(256)} | {256 + i: a + b for i, (a, b) in enumerate(merges)}
    return impl.Tokenizer(vocab, [*merges, merges[again]]).encode("".join(draw(rng, list("abc"), 30)))


@graded(
    "Tokenizer",
    weight=1,
    rows=[{"text": "", "specials": ["<a>"]}, {"text": "<a>", "specials": ["<a>"]}],
    pins="empty text",
)
def check_encode_short_texts(impl, rng, text, specials):
    """An empty text has no ids; a special token alone has one."""
    return impl.Tokenizer(vocabulary(rng, specials), MERGES, specials).encode(text)


@graded("Tokenizer", weight=1, rows=[{"code": 0xD83D}])
def check_encode_refuses_half_a_pair(impl, rng, code):
    """Half of a surrogate pair in a text is a ValueError that names text."""
    return impl.Tokenizer(vocabulary(rng), MERGES).encode("the " + chr(code))


@graded("Tokenizer", weight=2, rows=[{"size": 1, "specials": []}, {"size": 4, "specials": ["<|end|>"]}])
def check_encode_iterable_values(impl, rng, size, specials):
    """encode_iterable gives the ids of the whole text, wherever its chunks end."""
    tokenizer = impl.Tokenizer(vocabulary(rng, specials), MERGES, specials)
    text = "".join(draw(rng, [*TEXTS, *specials], 40))
    return list(tokenizer.encode_iterable(cut(text, size)))


@graded("Tokenizer", weight=2, rows=[{"count": 1000}])
def check_encode_iterable_reads_as_needed(impl, rng, count):
    """encode_iterable gives ids while it reads, not after the last chunk."""
    source = Source(draw(rng, [" the", " hot", "\n", "<|end|>"], count))
    return first_few(source, impl.Tokenizer(vocabulary(rng), MERGES, ["<|end|>"]).encode_iterable(source), 20)


@graded("Tokenizer", weight=2, rows=[{"count": 10}, {"count": 40}])
def check_decode_values(impl, rng, count):
    """decode joins the bytes of all tokens, then reads them: a letter may be spread over several tokens."""
    vocab = vocabulary(rng, ["<|end|>"])
    ids = {token: token_id for token_id, token in vocab.items()}
    some = [*(first + second for first, second in MERGES[:12]), "🙂".encode(), b"<|end|>", b"\0"]
    tokens = [b" ", *draw(rng, some, count), b"\n"]
    token_ids = [i for token in tokens for i in ([ids[token]] if token in ids else [ids[bytes([b])] for b in token])]
    return impl.Tokenizer(vocab, MERGES, ["<|end|>"]).decode(token_ids)


@graded(
    "Tokenizer",
    weight=2,
    rows=[{"token_ids": [226, 130, 65, 255, 66]}, {"token_ids": [240, 159, 153]}, {"token_ids": []}],
)
def check_decode_broken_bytes(impl, rng, token_ids):
    """Bytes that are not UTF-8 become the replacement character; no ids give an empty text."""
    vocab = {i: bytes([i]) for i in range(256)}
    return impl.Tokenizer(vocab, []).decode(token_ids)


@graded("Tokenizer", weight=1, rows=[{"token_id": 256}, {"token_id": -1}])
def check_decode_refuses_unknown_ids(impl, rng, token_id):
    """An id that vocab lacks is a ValueError that names token_ids; a negative one counts from no end."""
    return impl.Tokenizer({i: bytes([i]) for i in range(256)}, []).decode([65, token_id])


@graded("Tokenizer", weight=2, rows=[{"specials": ["<a>", "<b>"], "gap": 10}])
def check_tokenizer_adds_special_tokens(impl, rng, specials, gap):
    """A special token that vocab lacks gets the next id after the largest; the caller's dict stays as it is."""
    vocab = vocabulary(rng, specials[1:])
    vocab[len(vocab) + gap] = b"xyz"
    size = len(vocab)
    tokenizer = impl.Tokenizer(vocab, MERGES, specials)
    added = [entry for entry in entries(tokenizer.vocab) if entry[1] in (b"<a>", b"<b>", b"xyz")]
    return {"added": added, "ids": tokenizer.encode("a<a><b>"), "grown by": len(vocab) - size}


@graded("Tokenizer", weight=1, rows=[{"without": 0}, {"without": 255}, {"without": 260}])
def check_tokenizer_refuses_a_poor_vocab(impl, rng, without):
    """A vocab without one of the bytes, or without what a merge makes, is a ValueError that names vocab."""
    vocab = {i: bytes([i]) for i in range(256)} | {256 + i: a + b for i, (a, b) in enumerate(MERGES)}
    del vocab[without]
    impl.Tokenizer(vocab, MERGES)
    return "a Tokenizer"


@graded("Tokenizer", weight=2, rows=[{"specials": ["<|end|>", "ü"]}])
def check_save_file(impl, rng, scratch, specials):
    """save writes vocab, merges and special_tokens as JSON, each byte as the character of its number."""
    impl.Tokenizer(vocabulary(rng), MERGES, specials).save(scratch / "tokenizer.json")
    data = json.loads((scratch / "tokenizer.json").read_text(encoding="utf-8"))
    return {**data, "vocab": entries(data["vocab"])}


@graded("Tokenizer", weight=2, rows=[{"specials": ["<|end|>", "ü"]}])
def check_load_file(impl, rng, scratch, specials):
    """load reads such a file: the ids are numbers again, the tokens bytes."""
    vocab = {str(i): token.decode("latin-1") for i, token in vocabulary(rng, specials).items()}
    merges = [[first.decode("latin-1"), second.decode("latin-1")] for first, second in MERGES]
    data = {"vocab": vocab, "merges": merges, "special_tokens": specials}
    (scratch / "saved.json").write_text(json.dumps(data), encoding="utf-8")
    tokenizer = impl.Tokenizer.load(scratch / "saved.json")
    token_ids = tokenizer.encode("".join(draw(rng, [*TEXTS, *specials], 30)))
    return {"token_ids": token_ids, "text": tokenizer.decode(token_ids), "vocab": entries(tokenizer.vocab)}
