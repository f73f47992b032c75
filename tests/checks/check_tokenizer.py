"""The graded checks of module 4. Texts are drawn from small sets of words, so that pairs repeat and ties occur.

A check returns what the implementation gave back; the judge compares it with the reference. A mapping comes back as a
sorted list of its entries, since the keys of a dict cross as text. Hidden rows stand in hidden_tokenizer.toml.
"""

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
