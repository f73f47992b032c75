"""A class, its folder of results, and going on where a run stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

from grader import grade as grading
from grader.collect import Submission
from grader.course import Course, Module
from grader.errors import BadRequest, GraderFault
from grader.options import Options
from grader.record import SubmissionRecord, from_json
from grader.run import Plan, _shared_seed, carry_out, plan
from grader.timings import Timings

ANN = Submission("ann", {"attention.py": "x = 1\n"})
BOB = Submission("bob", {"attention.py": "x = (\n"})


def planned(
    course: Course, module: Module, out: Path, who: list[Submission], seed: int | None = None, fresh: bool = False
) -> Plan:
    return plan(course, module, who, out, Options(), seed, fresh)


def run(course: Course, module: Module, out: Path, steps: Plan) -> list[SubmissionRecord]:
    return carry_out(course, steps, out, Options(), 2, lambda record: None, Timings())


def names(work: list[tuple[Submission, str]]) -> list[str]:
    return [submission.name for submission, _ in work]


@pytest.fixture(scope="module")
def results(course: Course, attention: Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results of ann and bob, graded with seed 3."""
    out = tmp_path_factory.mktemp("results")
    run(course, attention, out, planned(course, attention, out, [ANN, BOB], seed=3))
    return out


def test_record_of_each_submission_is_on_disk(results: Path) -> None:
    record = from_json((results / "ann" / "attention.json").read_text(encoding="utf-8"))
    assert (record.submission, record.status, record.seed, record.score) == ("ann", "graded", 3, 0)
    assert json.loads((results / "run.json").read_text()) == {"attention": 3}


def test_second_run_keeps_seed_and_records(course: Course, attention: Module, results: Path) -> None:
    again = planned(course, attention, results, [ANN, BOB])
    assert (again.seed, names(again.todo), len(again.kept)) == (3, [], 2)
    assert [record.submission for record in run(course, attention, results, again)] == ["ann", "bob"]


def test_changed_submission_alone_is_graded_again(course: Course, attention: Module, results: Path) -> None:
    changed = Submission("ann", {"attention.py": "x = 2\n"})
    assert names(planned(course, attention, results, [changed, BOB]).todo) == ["ann"]


def test_other_options_grade_everything_again(course: Course, attention: Module, results: Path) -> None:
    assert names(plan(course, attention, [ANN, BOB], results, Options(ban=False), None, False).todo) == ["ann", "bob"]


def test_half_written_record_is_graded_again(course: Course, attention: Module, results: Path, tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "run.json").write_text('{"attention": 3}')
    text = (results / "ann" / "attention.json").read_text()
    (tmp_path / "ann" / "attention.json").write_text(text[: len(text) // 2])
    assert names(planned(course, attention, tmp_path, [ANN]).todo) == ["ann"]


def test_fresh_run_draws_a_new_seed(course: Course, attention: Module, results: Path) -> None:
    fresh = planned(course, attention, results, [ANN, BOB], fresh=True)
    assert fresh.seed != 3
    assert names(fresh.todo) == ["ann", "bob"]


def test_fault_of_ours_on_one_submission_costs_the_others_nothing(
    course: Course, attention: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = grading.grade

    def faulty(session: Any, submission: Submission, *rest: Any) -> SubmissionRecord:
        if submission is ANN:
            raise RuntimeError("no such verdict")
        return real(session, submission, *rest)

    monkeypatch.setattr(grading, "grade", faulty)
    with pytest.raises(GraderFault, match=r"^on ann: RuntimeError: no such verdict$"):
        run(course, attention, tmp_path, planned(course, attention, tmp_path, [ANN, BOB]))
    assert [path.parent.name for path in tmp_path.glob("*/attention.json")] == ["bob"]


def test_another_seed_into_the_same_folder_is_refused(course: Course, attention: Module, results: Path) -> None:
    with pytest.raises(BadRequest, match=r"holds a run with seed 3, not 4\. Add --fresh, or choose another folder\."):
        planned(course, attention, results, [ANN], seed=4)


def test_results_that_are_a_file_are_refused(course: Course, attention: Module, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("")
    with pytest.raises(BadRequest, match="is a file; -o needs a folder for the results"):
        planned(course, attention, file, [ANN])


@pytest.mark.parametrize(
    ("runs", "fresh", "shared"),
    [({"a": 5}, False, 5), ({"a": 5, "b": 5}, False, 5), ({"a": 5, "b": 6}, False, None), ({"c": 7}, False, "new")],
    ids=["one has run", "both have", "with different seeds", "neither has"],
)
def test_modules_of_one_run_share_a_seed(tmp_path: Path, runs: object, fresh: bool, shared: object) -> None:
    (tmp_path / "run.json").write_text(json.dumps(runs))
    modules = [Module(1, name, 1, {}, name=name) for name in ("a", "b")]
    found = _shared_seed(tmp_path, modules, fresh)
    assert found == shared or (shared == "new" and isinstance(found, int))
