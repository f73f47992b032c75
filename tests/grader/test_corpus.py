"""The default corpus: English from Python's own documentation, the same at every call, kept outside the repository."""

import importlib
import json
import sys
import types
from pathlib import Path

import pytest

DEMOS = Path(__file__).resolve().parents[2] / "handouts" / "demos"


@pytest.fixture(scope="module")
def corpus() -> types.ModuleType:
    sys.path.insert(0, str(DEMOS))
    try:
        return importlib.import_module("corpus")
    finally:
        sys.path.remove(str(DEMOS))


@pytest.fixture
def library(tmp_path: Path, corpus: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small standard library instead of the real one, whose reading takes seconds."""
    folder = tmp_path / "lib"
    for name, source in {
        "b.py": '"""Module b."""\ndef f():\n    """What f does.\n\n    More.\n    """\n',
        "a/a.py": '"""Module a."""\nclass C:\n    """Module b."""\n    async def g(self):\n        """G."""\n',
        "broken.py": "def (:\n",
        "half.py": '"""Half a pair: \\ud83d."""\n',
        "test/t.py": '"""Left out."""\n',
        "plain.txt": "no Python",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda _: str(folder))
    monkeypatch.setattr(corpus, "_pages", lambda: ["A page."])
    return folder


FOUND = ["A page.", "Module a.", "Module b.", "G.", "What f does.\n\nMore."]


def test_documents_are_pages_then_docstrings_in_order_each_once(
    corpus: types.ModuleType, library: Path, tmp_path: Path
) -> None:
    assert corpus.documents(tmp_path / "cache") == FOUND


def test_documents_are_read_from_the_cache_the_second_time(
    corpus: types.ModuleType, library: Path, tmp_path: Path
) -> None:
    corpus.documents(tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    assert json.loads(file.read_text()) == FOUND
    file.write_text(json.dumps(["kept"]))
    assert corpus.documents(tmp_path / "cache") == ["kept"]
    file.write_text('["hal')
    assert corpus.documents(tmp_path / "cache") == FOUND
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_documents_need_no_cache(corpus: types.ModuleType, library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert corpus.documents(tmp_path / "file") == FOUND


def test_cache_is_the_users_own(corpus: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert corpus._cache() == tmp_path / "llm-from-scratch-kit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpus._cache() == tmp_path / ".cache" / "llm-from-scratch-kit"


def test_text_puts_an_empty_line_between_documents(
    corpus: types.ModuleType, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert corpus.text() == "\n\n".join(FOUND)


def test_pages_are_english_of_some_length(corpus: types.ModuleType) -> None:
    pages = corpus._pages()
    assert sum(map(len, pages)) > 400_000
    assert sum(" the " in page for page in pages) > 0.9 * len(pages)


@pytest.mark.slow
def test_corpus_is_about_two_megabytes(corpus: types.ModuleType, tmp_path: Path) -> None:
    found = corpus.documents(tmp_path)
    assert 1_500_000 < sum(map(len, found)) < 3_000_000
    assert len(found) == len(set(found))
