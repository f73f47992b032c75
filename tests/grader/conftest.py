"""Shared by the tests of the grader: the real course, and one open grading session of attention."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grader.collect import Submission
from grader.course import Course, Module, load_course
from grader.grade import Options, grade
from grader.record import SubmissionRecord
from grader.session import Session, open_session

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def course() -> Course:
    return load_course(ROOT)


@pytest.fixture(scope="session")
def attention(course: Course) -> Module:
    return course.module("attention")


@pytest.fixture(scope="session")
def session(course: Course, attention: Module) -> Iterator[Session]:
    with open_session(course, attention, seed=7) as opened:
        yield opened


@pytest.fixture(scope="session")
def reference() -> str:
    return (ROOT / "reference" / "attention.py").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def graded_source(session: Session) -> Callable[..., SubmissionRecord]:
    """Grade a source text."""

    def run(source: str, ban: bool = True) -> SubmissionRecord:
        return grade(session, Submission("kim", {"attention.py": source}), "", Options(ban=ban))

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A course folder of one's own to work in: nothing is written into the checkout."""
    for name in ("reference", "assignments", "handouts", "tests/checks", "tests/mutants"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "course.toml", tmp_path)
    return tmp_path
