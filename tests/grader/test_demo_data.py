"""Documents from files of every kind, and token files that an interruption does not harm."""

import importlib
import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assignments.given.training import get_batch

data: Any = importlib.import_module("handouts.demos.data")
sources: Any = importlib.import_module("handouts.demos.data.sources")
token_files: Any = importlib.import_module("handouts.demos.data.token_files")

TEXTS = ["one\ntwo", "", "three é\n\nfour", "five"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is asked of the network, and nothing is kept in the user's folders."""
    for name, value in (("HF_HUB_OFFLINE", "1"), ("HF_HOME", str(tmp_path / "hf"))):
        monkeypatch.setenv(name, value)


def write_text(folder: Path) -> Any:
    (folder / "a.txt").write_text(f"\n{'<|endoftext|>'.join(TEXTS[:3])}\n", encoding="utf-8")
    (folder / "b.txt").write_text(TEXTS[3], encoding="utf-8")
    return data.Source("text", (str(folder / "a.txt"), str(folder / "b.txt")))


def write_json(folder: Path) -> Any:
    lines = [json.dumps({"body": text, "other": 1}) for text in TEXTS]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return data.Source("json", (str(folder / "a.jsonl"),), field="body")


def write_parquet(folder: Path) -> Any:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    parquet.write_table(arrow.table({"text": TEXTS}), folder / "a.parquet")
    return data.Source("parquet", (str(folder / "a.parquet"),))


def write_data_set(folder: Path) -> Any:
    """A data set by name is a folder with files in it, here or on the hub."""
    (folder / "stories").mkdir()
    for split in ("train", "validation"):
        lines = [json.dumps({"text": f"{split} {text}" if text else None}) for text in TEXTS]
        (folder / "stories" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return data.Source("hub", (str(folder / "stories"),), split="validation")


@pytest.mark.parametrize("write", [write_text, write_json, write_parquet])
def test_source_gives_the_documents_of_its_files_from_any_number_on(
    write: Callable[[Path], Any], tmp_path: Path
) -> None:
    if write is not write_text:
        pytest.importorskip("datasets")
    source = write(tmp_path)
    assert list(source.documents()) == TEXTS
    assert list(source.documents(2)) == TEXTS[2:]


def test_source_streams_a_data_set_by_name(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    source = write_data_set(tmp_path)
    assert list(source.documents()) == [f"validation {text}" if text else "" for text in TEXTS]
    assert next(iter(source.documents(3))) == "validation five"
    assert source.name.endswith("stories, field text, split validation")


def test_source_finds_marks_across_the_pieces_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_text(tmp_path)
    for size in (1, 5, 13):
        monkeypatch.setattr(sources, "READ", size)
        assert list(source.documents()) == TEXTS


def test_source_cuts_what_is_too_long_at_the_end_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"line {i}" for i in range(50)]
    (tmp_path / "long.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(sources, "LONGEST", 40)
    parts = list(data.Source("text", (str(tmp_path / "long.txt"),)).documents())
    assert "\n".join(parts).split("\n") == lines
    assert max(map(len, parts)) <= 40 + len(sources.END_OF_TEXT)
    assert len(parts) > 5


def test_source_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind must be one of text, json, parquet, hub, got kind='csv'"):
        data.Source("csv", ("a.csv",))
    with pytest.raises(ValueError, match="places must be files, or the name of one data set"):
        data.Source("hub", ("one", "two"))
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere\.txt"):
        data.Source("text", (str(tmp_path / "nowhere.txt"),))


def test_source_names_the_fields_when_the_one_asked_for_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_json(tmp_path)
    with pytest.raises(ValueError, match="a record has no field 'text', only body, other"):
        list(data.Source("json", (str(tmp_path / "a.jsonl"),)).documents())


OPTIONS = {"source": "numbers", "tokenizer": "digits", "vocab_size": 500, "separator_id": 499}


def numbers(start: int) -> Iterator[str]:
    """Documents of 0 to 6 numbers."""
    return islice((" ".join(str(i % 400) for i in range(n, n + n % 7)) for n in range(200)), start, None)


def encode(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def everything() -> list[int]:
    return [token for text in numbers(0) if text for token in [*encode(text), 499]]


def test_prepare_writes_every_document_with_a_separator(tmp_path: Path) -> None:
    manifest = data.prepare(numbers, encode, tmp_path, **OPTIONS)
    tokens = data.open_tokens(tmp_path, verify=True)
    assert isinstance(tokens, np.memmap)
    assert tokens.tolist() == everything()
    assert (manifest.tokens, manifest.documents, manifest.dtype) == (len(tokens), 200, "<u2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "tokens.bin"]
    assert data.prepare(lambda _: pytest.fail("read again"), encode, tmp_path, **OPTIONS) == manifest


def test_prepare_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_files, "FLUSH", 64)
    whole = data.prepare(numbers, encode, tmp_path / "whole", **OPTIONS)
    starts = []

    def fails_after(limit: int) -> Callable[[int], Iterable[str]]:
        def documents(start: int) -> Iterator[str]:
            starts.append(start)
            yield from islice(numbers(start), limit)
            raise KeyboardInterrupt

        return documents

    for limit in (70, 1, 60):
        with pytest.raises(KeyboardInterrupt):
            data.prepare(fails_after(limit), encode, tmp_path / "parts", **OPTIONS)
        with pytest.raises(
            ValueError, match=r"parts is not finished \(\d+ documents so far\): run the preparation again"
        ):
            data.open_tokens(tmp_path / "parts")
    assert data.prepare(numbers, encode, tmp_path / "parts", **OPTIONS) == whole
    assert data.open_tokens(tmp_path / "parts", verify=True).tolist() == everything()
    assert starts == sorted(starts)
    assert starts[-1] > starts[0] == 0


def test_prepare_needs_no_more_memory_for_more_text(tmp_path: Path) -> None:
    document = "x" * 20_000

    def many(start: int) -> Iterator[str]:
        return (document for _ in range(start, 200))

    token_ids = list(range(0, 400, 2)) * 100
    tracemalloc.start()
    data.prepare(many, lambda _: token_ids, tmp_path, **OPTIONS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "tokens.bin").stat().st_size > 8_000_000
    assert peak < 3_000_000


def test_token_file_refuses_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_files, "FLUSH", 64)
    data.prepare(numbers, encode, tmp_path, **OPTIONS)
    file = tmp_path / "tokens.bin"
    right = file.read_bytes()
    file.write_bytes(right[:-2])
    with pytest.raises(ValueError, match=r"tokens\.bin has \d+ bytes, its manifest says \d+"):
        data.open_tokens(tmp_path)
    file.write_bytes(b"\7" + right[1:])
    with pytest.raises(ValueError, match=r"has changed: its checksum is not the one in manifest\.json"):
        data.open_tokens(tmp_path, verify=True)
    with pytest.raises(ValueError, match="holds tokenizer 'digits', wanted is 'letters': choose another folder"):
        data.prepare(numbers, encode, tmp_path, **OPTIONS | {"tokenizer": "letters"})


def test_prepare_refuses_to_go_on_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_files, "FLUSH", 64)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.prepare(numbers, encode, tmp_path, **OPTIONS, on_flush=stop)
    file = tmp_path / "tokens.bin"
    file.write_bytes(b"\7" + file.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"has changed since it was interrupted: delete .* to begin anew"):
        data.prepare(numbers, encode, tmp_path, **OPTIONS)


def test_prepare_refuses_ids_beyond_the_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a token id is not in \[0, 500\): 3 to 500"):
        data.prepare(lambda _: ["3 500"], encode, tmp_path, **OPTIONS)


def test_token_file_takes_four_bytes_an_id_for_a_large_vocabulary(tmp_path: Path) -> None:
    options = OPTIONS | {"vocab_size": 100_000, "separator_id": 99_999}
    data.prepare(lambda _: ["70000 1"], encode, tmp_path, **options)
    assert data.open_tokens(tmp_path).tolist() == [70_000, 1, 99_999]


def test_token_file_without_documents_is_empty(tmp_path: Path) -> None:
    data.prepare(lambda _: [""], encode, tmp_path, **OPTIONS)
    assert len(data.open_tokens(tmp_path, verify=True)) == 0


def test_get_batch_reads_a_token_file(tmp_path: Path) -> None:
    import torch

    data.prepare(numbers, encode, tmp_path, **OPTIONS)
    token_ids, targets = get_batch(data.open_tokens(tmp_path), 3, 8, torch.Generator().manual_seed(0))
    assert token_ids[:, 1:].tolist() == targets[:, :-1].tolist()
