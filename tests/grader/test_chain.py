"""A module on the student's own earlier files: what no longer passes, and which of them is to blame."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy import HALF, MEAN, RIGHT, SPREAD, write_course

from grader.collect import Submission
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.own_file import Own, on_own_parts, read
from grader.record import SubmissionRecord

Graded = Callable[..., SubmissionRecord]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    course = write_course(tmp_path_factory.mktemp("toy"))
    with open_session(course, course.module("spread"), seed=3) as session:

        def run(upstream: str = "given", **changed: str | None) -> SubmissionRecord:
            files = {**RIGHT, **{f"{name}.py": text for name, text in changed.items()}}
            mine = {name: text for name, text in files.items() if text is not None}
            return grade(session, Submission("kim", mine), "", Options(upstream))

        yield run


def test_own_files_that_are_right_change_nothing(graded: Graded) -> None:
    record = graded()
    assert record.score == 100
    assert record.chain is not None
    assert (record.chain.own, record.chain.rows, record.chain.lost) == (["half", "mean"], 3, 0)
    assert record.chain.sentence() == (
        "With the submission's own half.py and mean.py in place of the given parts: as right as with given parts."
    )


def test_first_module_is_blamed_when_all_that_builds_on_it_is_right(graded: Graded) -> None:
    record = graded(half=HALF.replace("/ 2", "/ 3"))
    assert record.score == 100  # points hang on given parts
    assert record.chain is not None
    assert (record.chain.lost, record.chain.blame) == (3, "half")
    assert "spread is half the distance." in record.chain.message


def test_later_module_is_blamed_when_the_first_is_right(graded: Graded) -> None:
    record = graded(mean=MEAN.replace("x + y", "x - y"))
    assert record.chain is not None
    assert (record.chain.lost, record.chain.blame) == (1, "mean")
    assert "middle is between the two." in record.chain.message


def test_file_that_does_not_import_is_blamed(graded: Graded) -> None:
    record = graded(mean="def mean(x, y):\n    return half(x + y\n")
    assert record.score == 100
    assert record.chain is not None
    assert (record.chain.lost, record.chain.blame) == (3, "mean")
    assert "SyntaxError" in record.chain.message


def test_stub_is_said_to_be_unwritten(graded: Graded) -> None:
    record = graded(half='def half(x):\n    raise NotImplementedError("Task 1.1: half")\n')
    assert record.chain is not None
    assert (record.chain.blame, record.chain.message) == ("half", "Something in half.py is not written yet.")


def test_rows_that_fail_with_given_parts_are_not_the_chain_s(graded: Graded) -> None:
    record = graded(half=HALF.replace("/ 2", "/ 3"), spread=SPREAD.replace("abs(x - y)", "abs(x - y) + 1"))
    assert record.chain is not None
    assert (record.chain.rows, record.chain.lost, record.chain.blame) == (1, 1, "half")


def test_there_is_no_chain_without_earlier_files_and_with_own_parts_throughout(graded: Graded) -> None:
    assert graded(half=None, mean=None).chain is None
    assert graded("own", half=HALF.replace("/ 2", "/ 3")).chain is None


def test_own_file_is_tried_on_the_begun_files_beside_it(tmp_path: Path) -> None:
    course = write_course(tmp_path)
    (tmp_path / "assignments" / "stubs").mkdir()
    for name, text in {**RIGHT, "mean.py": MEAN.replace("x + y", "x - y"), "half.py": "# to do\n"}.items():
        (tmp_path / "assignments" / name).write_text(text)
        (tmp_path / "assignments" / "stubs" / name).write_text("# to do\n")
    own = Own(course, course.module("spread"), tmp_path / "assignments" / "spread.py")
    submission = read(own)
    with open_session(course, own.module, seed=3) as session:
        record = on_own_parts(session, own, submission)
        named = on_own_parts(session, replace(own, path=tmp_path / "reference" / "spread.py"), submission)
    assert record.chain is not None
    assert (record.score, record.chain.own, record.chain.blame) == (100, ["mean"], "mean")
    assert record.digest == submission.digest  # status and hints ask for the file alone
    assert named.chain is None
