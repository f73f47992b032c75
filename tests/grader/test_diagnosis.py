"""Known mistakes are recognised in other styles, and what is not known is never given a name; in a kit as well."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grader.collect import Submission
from grader.course import Course, find_root, load_course
from grader.grade import grade
from grader.mutants import Mutant, apply
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord

pytestmark = pytest.mark.slow
STYLES = Path(__file__).resolve().parents[1] / "styles"
MODULES = sorted(load_course(find_root()).modules)
Grade = Callable[[dict[str, Any]], SubmissionRecord]


def mistakes(module: str, file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((STYLES / module / file).read_text(encoding="utf-8"))["mistake"]
    return found


def source(folder: Path, mistake: dict[str, Any]) -> str:
    """The correct submission of the mistake's style with the mistake in it."""
    symbol = mistake["symbol"]
    edits = [(old, new) for old, new in mistake.get("edits", [])]
    edit = Mutant(mistake["name"], symbol.split(".")[0], symbol, mistake["says"], [], edits, mistake.get("body"))
    return apply(edit, (folder / f"{mistake['style']}.py").read_text(encoding="utf-8"))


def named(record: SubmissionRecord) -> set[str]:
    return {name for check in record.checks if check.diagnosis for name in check.diagnosis.mutant.split(" or ")}


@pytest.fixture(scope="module", params=MODULES)
def module(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["reference", "kit"])
def graded(
    request: pytest.FixtureRequest, course: Course, whole_kit: Callable[[str], Course], module: str
) -> Iterator[Grade]:
    where, seed = (course, 7) if request.param == "reference" else (whole_kit(module), 0)
    with open_session(where, where.module(module), seed) as session:

        def run(mistake: dict[str, Any]) -> SubmissionRecord:
            files = {f"{module}.py": source(STYLES / module, mistake)}
            return grade(session, Submission(mistake["name"], files), "", Options())

        yield run


def test_same_mistake_in_another_style_is_named_eight_times_in_ten(graded: Grade, module: str) -> None:
    known = mistakes(module, "mistakes.toml")
    names = {mistake["name"]: (mistake["same_as"], named(graded(mistake))) for mistake in known}
    assert len(names) >= 20
    # what the public rows of a kit cannot tell apart is named together
    wrong = {name: got for name, (wanted, got) in names.items() if got and wanted not in got}
    assert wrong == {}
    assert sum(wanted in got for wanted, got in names.values()) >= 0.8 * len(names)


def test_fresh_mistakes_are_caught_and_not_misnamed(graded: Grade, module: str) -> None:
    fresh = mistakes(module, "fresh.toml")
    assert len(fresh) >= 10
    for mistake in fresh:
        record = graded(mistake)
        assert record.score < record.max_score, mistake["name"]
        assert named(record) <= set(mistake.get("may_be_named", [])), mistake["name"]
