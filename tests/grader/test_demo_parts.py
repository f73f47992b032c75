"""The earlier modules of a demo are the student's own where they work, and the given ones where not."""

import importlib.util
from pathlib import Path

import pytest

from grader.loading import forget, load

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "assignments" / "given").glob("*.py")}
NAMES = ("gpt", "tokenizer", "training")
SPEC = importlib.util.spec_from_file_location("demo_parts", ROOT / "handouts" / "demos" / "parts.py")
assert SPEC is not None
assert SPEC.loader is not None
PARTS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PARTS)


def earlier(**changed: str) -> tuple[list[str], list[str]]:
    """The packages that gpt, tokenizer and training come from, and what was said."""
    lines: list[str] = []
    own = load(GIVEN | {f"{name}.py": source for name, source in changed.items()}, "finetuning", "somebody")
    try:
        found = [PARTS.earlier(own, name, lines.append).__name__.rpartition(".")[0] for name in NAMES]
    finally:
        forget("somebody")
    return found, lines


def test_earlier_modules_are_the_students_own_where_they_work() -> None:
    assert earlier() == (["somebody"] * 3, [])


def test_earlier_module_that_is_not_done_is_given() -> None:
    todo = GIVEN["tokenizer.py"] + "\n\ndef train_bpe(*_):\n    raise NotImplementedError\n"
    found, lines = earlier(tokenizer=todo)
    assert found == ["somebody", "demo_given", "somebody"]
    assert lines == ["tokenizer: the given one, since tokenizer.py is not done yet."]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("gpt", "import nowhere"),
        (
            "tokenizer",
            GIVEN["tokenizer.py"].replace(
                "def decode(", "def decode(self, ids, *_):\n        return 'x'\n\n    def other("
            ),
        ),
        ("training", "x = 1"),
    ],
)
def test_earlier_module_that_fails_is_given(name: str, source: str) -> None:
    found, lines = earlier(**{name: source})
    assert found == ["demo_given" if other == name else "somebody" for other in NAMES]
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: the given one, since {name}.py fails (")
