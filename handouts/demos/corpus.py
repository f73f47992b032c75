"""The default corpus: about 2 MB of English that every Python brings along, so no network and no download is needed.

The pages behind `help()` (pydoc_data.topics) and the docstrings of the standard library. The same Python version gives
the same text. Reading it takes seconds, so it is kept in the user's cache folder; `documents` makes it anew where there
is none.
"""

import ast
import json
import os
import platform
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Not on every machine, not in English, or the same sentence a hundred times.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "encodings", "ensurepip", "idlelib", "lib2to3", "msilib"}
LEFT_OUT |= {"tkinter", "turtledemo", "pydoc_data", "__pycache__"}
FORMAT = 1  # of the file in the cache; another way to collect needs another number


def text() -> str:
    """The whole corpus, an empty line between two documents."""
    return "\n\n".join(documents())


def documents(folder: Path | None = None) -> list[str]:
    """The pages, then the docstrings in the order of their files; no text twice.

    Args:
        folder: where it is kept from one call to the next; the user's cache folder by default.
    """
    file = (folder or _cache()) / f"corpus-{FORMAT}-python-{platform.python_version()}.json"
    try:
        kept: list[str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = list(dict.fromkeys([*_pages(), *_docstrings(Path(sysconfig.get_path("stdlib")))]))
        _keep(file, kept)
    return kept


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llm-from-scratch-kit"


def _keep(file: Path, found: list[str]) -> None:
    """Write it in one step, so that nobody reads half of it; a folder that cannot be written to is no harm."""
    half = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(json.dumps(found), encoding="utf-8")
        half.replace(file)
    with suppress(OSError):
        half.unlink()


def _pages() -> list[str]:
    from pydoc_data.topics import topics

    return [page.strip() for _, page in sorted(topics.items())]


def _docstrings(folder: Path) -> Iterator[str]:
    """The docstrings of all files below a folder, file by file in the order of their names."""
    for file in sorted(folder.rglob("*.py")):
        if LEFT_OUT.isdisjoint(file.relative_to(folder).parts):
            yield from _docstrings_of(file)


def _docstrings_of(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found and _is_text(found):
                yield found


def _is_text(found: str) -> bool:
    """Whether UTF-8 can encode it: a docstring may show half of a surrogate pair."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True
