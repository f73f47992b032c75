"""Going back to the stub of a task, with the file as it was kept."""

from pathlib import Path

import pytest

from grader.course import Course, Module, load_course
from grader.definitions import places
from grader.errors import BadRequest
from grader.pristine import reset, stub


@pytest.fixture
def kit(folder: Path) -> tuple[Course, Module, Path]:
    course = load_course(folder)
    path = folder / "assignments" / "attention.py"
    path.write_text((folder / "reference" / "attention.py").read_text(encoding="utf-8"), encoding="utf-8")
    return course, course.module("attention"), path


def test_one_task_goes_back_and_the_others_stay(kit: tuple[Course, Module, Path]) -> None:
    course, module, path = kit
    before = path.read_text(encoding="utf-8")
    kept = reset(course, module, path, "softmax")
    assert kept.read_text(encoding="utf-8") == before
    assert kept.parent == course.root / ".grader" / "backups"
    after = path.read_text(encoding="utf-8")
    assert 'raise NotImplementedError("Task 1.1: softmax")' in after
    old, new = places(before), places(after)
    for task in module.tasks:
        if task != "softmax":
            text = before.split("\n")[old[task].first - 1 : old[task].last]
            assert after.split("\n")[new[task].first - 1 : new[task].last] == text


def test_task_that_was_deleted_comes_back_at_the_end(kit: tuple[Course, Module, Path]) -> None:
    course, module, path = kit
    path.write_text("import torch\n", encoding="utf-8")
    reset(course, module, path, "merge_heads")
    assert path.read_text(encoding="utf-8").startswith("import torch\n\n\ndef merge_heads(")
    assert "merge_heads" in places(path.read_text(encoding="utf-8"))


def test_file_that_does_not_parse_goes_back_whole(kit: tuple[Course, Module, Path]) -> None:
    course, module, path = kit
    path.write_bytes(b"\xef\xbb\xbfdef f(:\r\n")
    kept = reset(course, module, path, "softmax")
    assert kept.read_bytes() == b"\xef\xbb\xbfdef f(:\r\n"
    assert path.read_text(encoding="utf-8") == stub(course, module)


def test_shipped_stub_comes_before_one_that_is_made(kit: tuple[Course, Module, Path]) -> None:
    course, module, _ = kit
    shipped = course.root / "assignments" / "stubs" / "attention.py"
    shipped.parent.mkdir()
    shipped.write_text("# as shipped\n", encoding="utf-8")
    assert stub(course, module) == "# as shipped\n"


def test_no_stub_anywhere_is_one_sentence(kit: tuple[Course, Module, Path]) -> None:
    course, module, path = kit
    (course.root / "reference" / "attention.py").unlink()
    before = path.read_bytes()
    with pytest.raises(BadRequest, match=r"There is no untouched stub to go back to: assignments/stubs/attention\.py"):
        reset(course, module, path, "softmax")
    assert path.read_bytes() == before
