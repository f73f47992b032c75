"""The graded checks of module 4 on learning merges."""

from check_tokenizer import ENGLISH, SCRIPTS, draw, entries, shuffled

from grader import graded


def as_bytes(texts):
    return tuple(text.encode() for text in texts)


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
