"""The benchmark of the tokenizer runs, on a text that takes no time."""

import pytest

from tests.bench import bpe

pytest.importorskip("tokenizers")
TEXT = "The benchmark of the tokenizer is tried on a short text, which is repeated. " * 20


def test_bench_measures_both_sides_and_tells_their_ratio() -> None:
    facts = bpe.measure(TEXT, vocab_size=270, rounds=2)
    assert {name: len(seconds) for name, seconds in facts["seconds"].items()} == dict.fromkeys(
        ("train", "train_rival", "encode", "encode_rival"), 2
    )
    facts["seconds"] = {"train": [3, 2.0], "train_rival": [0.5, 0.5], "encode": [0.5, 1.0], "encode_rival": [0.25]}
    facts["bytes"] = 3_000_000
    assert [line.split()[-3:] for line in bpe.table(facts).splitlines()[2:]] == [
        ["2.50", "0.50", "5.0"],
        ["4.00", "12.00", "3.0"],
    ]


def test_bench_stops_where_the_library_learns_less() -> None:
    with pytest.raises(SystemExit, match=r"learnt 2\d\d tokens, not 400"):
        bpe.rust_trainer("aa b", 400)
