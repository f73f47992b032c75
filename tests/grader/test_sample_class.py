"""The sample classes are graded as their READMEs say, with any seed."""

import re
from pathlib import Path

import pytest

from grader.collect import collect
from grader.course import Course, Module, find_root, load_course
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord

CLASSES = Path(__file__).resolve().parents[1] / "submissions"
MODULES = sorted(load_course(find_root()).modules)
ROW = re.compile(r"^\| (\w+)[^|]*\|[^|]*\| (.+) \|$", re.MULTILINE)
SEED = 1
ENDLESS = {"mateo"}  # loops for ever, ten times over


def class_of(course: Course, module: Module, seed: int, leave_out: set[str]) -> dict[str, SubmissionRecord]:
    with open_session(course, module, seed) as session:
        return {
            submission.name: grade(session, submission, "", Options())
            for submission in collect(CLASSES / module.name, module.name, module.upstream)
            if submission.name not in leave_out
        }


def verdicts(records: dict[str, SubmissionRecord]) -> dict[str, list[tuple[str, str]]]:
    return {name: [(check.name, check.status) for check in record.checks] for name, record in records.items()}


@pytest.mark.parametrize(
    "module", [name if name == "attention" else pytest.param(name, marks=pytest.mark.slow) for name in MODULES]
)
def test_sample_class_is_graded_as_its_readme_says(course: Course, module: str) -> None:
    said = dict(ROW.findall((CLASSES / module / "README.md").read_text(encoding="utf-8")))
    said.pop("name", None)
    records = class_of(course, course.module(module), SEED, ENDLESS)
    assert set(said) == set(records) | (ENDLESS & set(said))
    for name, record in records.items():
        status = re.match(r"graded, ([\d.]+)|not importable, (0)", said[name])
        assert status is not None, f"the README of {module} does not say what {name} gets"
        assert record.status == ("graded" if status[1] else "not_importable"), name
        assert record.score == pytest.approx(float(status[1] or 0), abs=0.005), name
        assert ("cause named" in said[name]) == any(check.diagnosis for check in record.checks), name


@pytest.mark.slow
def test_ten_seeds_give_the_same_verdicts(course: Course, attention: Module) -> None:
    first = verdicts(class_of(course, attention, 0, ENDLESS))
    assert len(first) >= 15
    for seed in range(1, 10):
        assert verdicts(class_of(course, attention, seed, ENDLESS)) == first
