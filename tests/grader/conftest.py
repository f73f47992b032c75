"""Shared by the tests of the grader: the real course, and one open grading session of attention."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from grader.archive import write_files
from grader.collect import Submission
from grader.course import Course, Module, load_course
from grader.freeze import freeze
from grader.grade import grade
from grader.kit import kit_files, modules_until
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord
from grader.session import Session

ROOT = Path(__file__).resolve().parents[2]
MUTANTS_SKIPPED = 9


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
def few(session: Session) -> Session:
    """The session with a sample of the mutants."""
    return replace(session, source=replace(session.live, mutants=session.mutants[::MUTANTS_SKIPPED]))


@pytest.fixture(scope="session")
def kit(few: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked kit of week 1 with one seed and a sample of the mutants; tests leave it as it is."""
    files = kit_files(few.course, [few.module], {"attention": freeze(few, seeds=[0])})
    folder = tmp_path_factory.mktemp("kit") / "student"
    write_files(folder, files)
    return folder


@pytest.fixture(scope="session")
def whole_kit(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Course]:
    """The kit of a module's own week, with all of its mutants; the answers of earlier modules are left out."""

    @cache
    def make(module: str) -> Course:
        week = course.module(module)
        with open_session(course, week, seed=0) as opened:
            frozen = {module: freeze(opened, seeds=[0])}
        modules = modules_until(course, week.week)
        files = kit_files(course, modules, {one.name: frozen.get(one.name, (b"", b"{}")) for one in modules})
        folder = tmp_path_factory.mktemp(module) / "student"
        write_files(folder, files)
        return load_course(folder)

    return make


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
