"""The graded checks of module 4 on encoding and decoding."""

import json

from check_tokenizer import Source, cut, draw, entries, first_few, shuffled

from grader import graded

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
