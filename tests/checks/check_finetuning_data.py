"""The graded checks of module 6 on mixtures and records."""

import json
from itertools import islice

import torch
from check_finetuning import seeded

from grader import graded

# mix_datasets


@graded(
    "mix_datasets",
    weight=4,
    rows=[{"weights": [1, 3], "lengths": [2, 3]}, {"weights": [0.5, 0.2, 0.1], "lengths": [1, 4, 3]}],
    pins="values",
)
def check_mix_values(impl, rng, weights, lengths):
    """The items come in the order that the two kinds of draws give."""
    datasets = [[f"{name}{i}" for i in range(n)] for name, n in zip("abc", lengths, strict=False)]
    return list(islice(impl.mix_datasets(datasets, weights, seeded(7)), 30))


@graded("mix_datasets", weight=2, rows=[{"weights": [8, 1]}, {"weights": [0.1, 0.3]}], pins="the proportion")
def check_mix_proportion(impl, rng, weights):
    """In the long run a dataset gives its weight's share of the items, whatever its length."""
    mixed = impl.mix_datasets(["a" * 40, "b" * 7], weights, seeded(11))
    return "".join(islice(mixed, 150)).count("a")


@graded("mix_datasets", weight=1, rows=[{"n": 3}])
def check_mix_weight_of_zero(impl, rng, n):
    """A dataset with weight 0 gives nothing and may be empty; texts, tuples and lists are datasets."""
    return list(islice(impl.mix_datasets([[], "xyz"[:n], (4, 5), [6]], [0, 1, 2, 0], seeded(4)), 12))


@graded("mix_datasets", weight=1, rows=[{"seed": 9}], pins="when it draws")
def check_mix_draws_late(impl, rng, seed):
    """Nothing is drawn before an item is asked for, and only from the generator."""
    generator, state = seeded(seed), torch.get_rng_state()
    mixed = impl.mix_datasets([[1, 2], [3]], [1, 1], generator)
    late = torch.equal(generator.get_state(), seeded(seed).get_state())
    drawn = len(list(islice(mixed, 5)))
    untouched = torch.equal(torch.get_rng_state(), state)
    return {"late": late, "drawn": drawn, "torch's generator is untouched": untouched}


@graded("mix_datasets", weight=1, rows=[{"weights": [1]}, {"weights": [1, -0.5]}, {"weights": [0, 0]}])
def check_mix_refuses_weights(impl, rng, weights):
    """Too few, negative or only zero weights are a ValueError, at the call."""
    return type(impl.mix_datasets([[1], [2]], weights, seeded(1))).__name__


@graded("mix_datasets", weight=1, rows=[{"lengths": [2, 0]}])
def check_mix_refuses_empty(impl, rng, lengths):
    """An empty dataset with a weight is a ValueError, at the call."""
    return type(impl.mix_datasets([[0] * n for n in lengths], [1, 1], seeded(1))).__name__


# read_records, squad_example, summary_example

NESTED = {
    "version": "1.1",
    "data": [
        {
            "title": "Café",
            "paragraphs": [
                {
                    "context": "Zürich\u2028and Bern NUMBER.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where?",
                            "answers": [
                                {"text": "Bern NUMBER", "answer_start": 11},
                                {"text": "Zürich", "answer_start": 0},
                            ],
                        },
                        {"id": "q2", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                },
                {
                    "context": "One.",
                    "qas": [{"id": "q3", "question": "What?", "answers": [{"text": "One", "answer_start": 0}]}],
                },
            ],
        },
        {"title": "Empty", "paragraphs": []},
        {
            "title": "Two",
            "paragraphs": [{"context": "2", "qas": [{"id": "q4", "question": "?", "answers": []}]}],
        },
    ],
}
FLAT = [
    {"id": "1", "article": "Ä.\n\nNUMBER.", "highlights": "x\u2028y"},
    {"id": "2", "article": "", "highlights": ""},
]


def drawn(records, rng):
    """The records with a number that nobody can know before."""
    number = rng.integers(1000, 10000, 1).item()
    return json.loads(json.dumps(records).replace("NUMBER", str(number)))


def written(path, text):
    path.write_bytes(text.encode())
    return path


@graded("read_records", weight=3, rows=[{"name": "train.json"}, {"name": "dev-v2.0.json"}])
def check_read_nested(impl, rng, scratch, name):
    """SQuAD's own nested files become flat records, in the order of the file."""
    return impl.read_records(written(scratch / name, json.dumps(drawn(NESTED, rng), ensure_ascii=False)))


@graded("read_records", weight=1, rows=[{"under": "data"}, {"under": ""}])
def check_read_flat(impl, rng, scratch, under):
    """Flat records in a list, or in a list under data, are given as they stand."""
    records = drawn(FLAT, rng)
    text = json.dumps({under: records} if under else records)
    return impl.read_records(str(written(scratch / "records.json", text)))


@graded("read_records", weight=2, rows=[{"end": "\n"}, {"end": "\r\n\n"}])
def check_read_lines(impl, rng, scratch, end):
    """A .jsonl file holds a record a line; empty lines and the line separators inside a text are no records."""
    text = end.join(json.dumps(record, ensure_ascii=False) for record in drawn(FLAT, rng)) + end
    return impl.read_records(written(scratch / "records.jsonl", text))


@graded("read_records", weight=1, rows=[{"name": "records.csv"}, {"name": "json"}])
def check_read_refuses(impl, rng, scratch, name):
    """Another kind of file is a ValueError that names its path."""
    return impl.read_records(written(scratch / name, "[]"))


def squad(texts, context="The cat sat. ", question="Who sat?"):
    answers = {"text": list(texts), "answer_start": [4] * len(texts)}
    return {"id": "7", "title": "Cats", "context": context, "question": question, "answers": answers}


@graded("squad_example", weight=3, rows=[{"texts": ["cat"]}, {"texts": ["the cat ", "cat", "sat", "cat"]}])
def check_squad_values(impl, rng, texts):
    """The text and the question are asked, the first answer is given, and all answers count as right."""
    record = squad(texts)
    return {"output": impl.squad_example(record), "record": record}


@graded("squad_example", weight=2, rows=[{"question": "Who ran?"}])
def check_squad_without_answer(impl, rng, question):
    """A question without an answer is answered by the word "unanswerable"."""
    return impl.squad_example(squad([], question=question))


@graded("summary_example", weight=3, rows=[{"highlights": "One .\nTwo ."}, {"highlights": "\n A b  c \n\nd\n"}])
def check_summary_values(impl, rng, highlights):
    """The article is asked about as it stands; the highlights become one line."""
    record = {"id": "3", "article": "Long \n story.", "highlights": highlights}
    return {"output": impl.summary_example(record), "record": record}


@graded("summary_example", weight=2, rows=[{"max_words": 3}, {"max_words": 20}])
def check_summary_cuts(impl, rng, max_words):
    """max_words keeps the first words of the article, with single spaces; a short article keeps all of them."""
    record = {"article": "a  bb\nccc dddd\teeee f ", "highlights": "x y z w"}
    return impl.summary_example(record, max_words=max_words)


@graded("summary_example", weight=1, rows=[{"max_words": 0}, {"max_words": -1}])
def check_summary_refuses(impl, rng, max_words):
    """max_words below 1 is a ValueError that names it."""
    return impl.summary_example({"article": "a b", "highlights": "a"}, max_words)
