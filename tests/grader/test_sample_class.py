"""The sample class is graded as its README says, with any seed."""

from pathlib import Path

import pytest

from grader.collect import collect
from grader.course import Course, Module
from grader.grade import Options, grade
from grader.session import open_session

CLASS = Path(__file__).resolve().parents[1] / "submissions"


def verdicts(course: Course, module: Module, seed: int, leave_out: set[str]) -> dict[str, list[tuple[str, str]]]:
    with open_session(course, module, seed) as session:
        records = [
            grade(session, submission, "", Options())
            for submission in collect(CLASS, module.name)
            if submission.name not in leave_out
        ]
    return {record.submission: [(check.name, check.status) for check in record.checks] for record in records}


@pytest.mark.slow
def test_ten_seeds_give_the_same_verdicts(course: Course, attention: Module) -> None:
    first = verdicts(course, attention, 0, {"mateo"})  # who loops for ever, ten times over
    assert len(first) >= 15
    for seed in range(1, 10):
        assert verdicts(course, attention, seed, {"mateo"}) == first
