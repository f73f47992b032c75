"""The graded checks of module 6 on metrics."""

from grader import graded

WORDS = ["the", "Cat", "sat", "on", "a", "mat.", "dog's", "3,000", "the"]


def text_of(rng, n):
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), n).tolist())


# normalize_answer, exact_match, token_f1


@graded(
    "normalize_answer",
    weight=3,
    rows=[{"text": " The  well-known Cat's hat."}, {"text": "An A to the U.S. (theatre), banana"}],
)
def check_normalize_values(impl, rng, text):
    """Lower case, no punctuation, no articles, single spaces."""
    return impl.normalize_answer(text)


@graded("normalize_answer", weight=2, rows=[{"text": "a.the"}, {"text": "$a an\tthe\nthe."}, {"text": "“A”a"}])
def check_normalize_edges(impl, rng, text):
    """Signs go before the articles and leave no space; quotation marks beyond ASCII stay, and nothing may be left."""
    return impl.normalize_answer(text)


@graded("exact_match", weight=2, rows=[{"prediction": "The Cat!"}, {"prediction": "cat sat"}, {"prediction": "a"}])
def check_exact_match_values(impl, rng, prediction):
    """1.0 if one of the answers is the same after normalizing, else 0.0."""
    return impl.exact_match(prediction, ["a dog", "cat", "the"])


@graded("exact_match", weight=1, rows=[{"prediction": "x"}])
def check_exact_match_refuses(impl, rng, prediction):
    """No answers are a ValueError that names them."""
    return impl.exact_match(prediction, [])


@graded("token_f1", weight=3, rows=[{"n": 7, "m": 5}, {"n": 3, "m": 9}], pins="values")
def check_f1_values(impl, rng, n, m):
    """The harmonic mean of precision and recall, a word counted as often as both have it."""
    return impl.token_f1(text_of(rng, n), [text_of(rng, m)])


FEWER_WORDS = ["blue mat in town on sunny days for cats", "mat in"]  # the second shares fewer words and is better


@graded("token_f1", weight=2, rows=[{"answers": ["on the red mat", "mat", "mat in red"]}, {"answers": FEWER_WORDS}])
def check_f1_best_answer(impl, rng, answers):
    """The best of several answers counts, wherever it stands."""
    return [impl.token_f1("Mat in blue mat!", answers[i:] + answers[:i]) for i in range(len(answers))]


@graded("token_f1", weight=1, rows=[{"prediction": ""}, {"prediction": "the."}, {"prediction": "dog"}])
def check_f1_nothing_left(impl, rng, prediction):
    """Without any word left on one side F1 is 1 when both sides are so, else 0; nothing shared is 0."""
    return [impl.token_f1(prediction, [answer]) for answer in ("", "a", "cat")]


@graded("token_f1", weight=1, rows=[{"prediction": "x"}])
def check_f1_refuses(impl, rng, prediction):
    """No answers are a ValueError that names them."""
    return impl.token_f1(prediction, [])


# count_ngrams, rouge_n, rouge_l, bleu


@graded("count_ngrams", weight=2, rows=[{"n": 1}, {"n": 2}, {"n": 3}])
def check_ngrams_values(impl, rng, n):
    """Every run of n words, also overlapping ones, with its count; a short text has none."""
    words = text_of(rng, 12).split()
    return [dict(impl.count_ngrams(some, n)) for some in (["b"] * 4, words, words[: n - 1], [])]


@graded("count_ngrams", weight=1, rows=[{"n": 0}])
def check_ngrams_refuses(impl, rng, n):
    """n below 1 is a ValueError that names it."""
    return impl.count_ngrams(["a", "b"], n)


@graded("rouge_n", weight=3, rows=[{"n": 1, "said": 9, "wanted": 6}, {"n": 2, "said": 8, "wanted": 14}])
def check_rouge_n_values(impl, rng, n, said, wanted):
    """Precision, recall and F1 of the runs, each counted as often as both texts have it."""
    return impl.rouge_n(text_of(rng, said), text_of(rng, wanted), n)


@graded("rouge_n", weight=2, rows=[{"text": "It's the U.S.-made cat_1"}, {"text": "CAFÉ: 3,000 its-the"}])
def check_rouge_n_words(impl, rng, text):
    """Words are runs of a-z and 0-9 in lower case, articles too; n is 1 unless it is given."""
    return impl.rouge_n(text, "it s us u s made cat 1 caf the 3 000")


@graded("rouge_n", weight=1, rows=[{"n": 1}, {"n": 3}])
def check_rouge_n_nothing(impl, rng, n):
    """Without a run on one side, or without a shared one, all three are 0."""
    return [impl.rouge_n(*pair, n) for pair in (("", "a b c d"), ("a b c d", "."), ("", ""), ("a b", "c d"))]


@graded("rouge_l", weight=3, rows=[{"said": 9, "wanted": 6}, {"said": 7, "wanted": 13}])
def check_rouge_l_values(impl, rng, said, wanted):
    """The longest common subsequence over the words of each text, in this order: precision, recall, F1."""
    return impl.rouge_l(text_of(rng, said), text_of(rng, wanted))


@graded(
    "rouge_l",
    weight=1,
    rows=[{"said": "", "wanted": "a b"}, {"said": "a", "wanted": "!"}, {"said": "", "wanted": ""}],
    pins="texts without words",
)
def check_rouge_l_nothing(impl, rng, said, wanted):
    """Without a word on one side all three are 0."""
    return impl.rouge_l(said, wanted)


@graded("bleu", weight=4, rows=[{"lengths": [14, 9], "other": 11}, {"lengths": [12, 7, 10], "other": 16}])
def check_bleu_values(impl, rng, lengths, other):
    """The score of a small corpus with one reference each."""
    predictions = [text_of(rng, n) for n in lengths]
    shared = [f"{prediction} {text_of(rng, 3)}" for prediction in predictions[1:]]
    return impl.bleu(predictions, [[text_of(rng, other)], *([text] for text in shared)])


@graded("bleu", weight=2, rows=[{"n": 9}, {"n": 12}])
def check_bleu_several_references(impl, rng, n):
    """A run counts as often as the reference that has it most; the nearest length counts, the shorter of equals."""
    text = text_of(rng, n)
    longer, shorter = [f"{text} {text_of(rng, more)}" for more in (2, 4)], [text.split()[less:] for less in (2, 5)]
    references = [longer[0], " ".join(shorter[0]), longer[1], " ".join(shorter[1])]
    return [impl.bleu([text, text_of(rng, 8)], [some, references]) for some in (references, references[2:])]


@graded("bleu", weight=2, rows=[{"prediction": "a b x y z c d"}, {"prediction": "a q b q c q d"}])
def check_bleu_smoothing(impl, rng, prediction):
    """Orders without a match get 1/2, then 1/4, then 1/8 of a match."""
    return impl.bleu([prediction], [["a b c d e f"]])


@graded("bleu", weight=1, rows=[{"prediction": "a b c"}, {"prediction": ""}, {"prediction": "x y z w v"}])
def check_bleu_zero(impl, rng, prediction):
    """Without any matching word, or without any run of four words, the score is 0."""
    return impl.bleu([prediction], [["a b c d"]])


@graded("bleu", weight=1, rows=[{"sign": "-"}], pins="split")
def check_bleu_split(impl, rng, sign):
    """split says what a word is; by default white space separates words, and nothing else is changed."""
    texts = ["The cat-sat on-a Mat .", "the cat-sat on-a Mat ."]
    return [impl.bleu(texts[:1], [texts[1:]]), impl.bleu(texts[:1], [texts[1:]], lambda text: text.split(sign))]


@graded("bleu", weight=1, rows=[{"sizes": [1]}, {"sizes": [1, 0]}, {"sizes": []}])
def check_bleu_refuses(impl, rng, sizes):
    """No prediction, another number of references, or none for one of them is a ValueError."""
    return impl.bleu(["a b"] * min(len(sizes) * 2, 2), [["a b"] * n for n in sizes])
