"""A kit grades and diagnoses from frozen tensors alone, and says clearly when they are not what they should be."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grader.collect import Submission
from grader.course import Course, find_root, load_course
from grader.errors import BadRequest
from grader.freeze import freeze
from grader.frozen import digest, read_frozen, sealed, unsealed
from grader.grade import grade
from grader.leaks import find_leaks, secrets
from grader.mutants import Mutant, apply, load_mutants
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord
from grader.session import Session

Grade = Callable[[str], SubmissionRecord]
MODULES = sorted(load_course(find_root()).modules)


def grader_of(session: Session) -> Grade:
    return lambda source: grade(session, Submission("kim", {f"{session.module.name}.py": source}), "", Options())


@pytest.fixture(scope="module")
def in_kit(kit: Path) -> Grade:  # type: ignore[misc]
    course = load_course(kit)
    with open_session(course, course.module("attention"), 0) as session:
        yield grader_of(session)


def named(record: SubmissionRecord) -> dict[str, str]:
    return {check.task: check.diagnosis.mutant for check in record.checks if check.diagnosis}


def test_reference_has_full_marks_in_a_kit(in_kit: Grade, reference: str) -> None:
    assert in_kit(reference).score == 100


def test_stub_has_none(in_kit: Grade, kit: Path) -> None:
    record = in_kit((kit / "assignments" / "attention.py").read_text(encoding="utf-8"))
    assert {check.status for check in record.checks} == {"missing"}


def test_mistakes_are_named_in_a_kit_with_their_hints(in_kit: Grade, session: Session, reference: str) -> None:
    for mutant in session.mutants[:: 2 * 9]:
        record = in_kit(apply(mutant, reference))
        assert named(record) == {mutant.task: mutant.name}
        assert {check.diagnosis.hints[0] for check in record.checks if check.diagnosis} == {mutant.hints[0]}


def test_task_above_a_broken_one_points_down_and_is_not_diagnosed(in_kit: Grade, reference: str) -> None:
    record = in_kit(reference.replace("wide - wide.amax(dim=dim, keepdim=True)", "wide * 1.5"))
    above = [check for check in record.checks if check.task == "attention_weights" and check.status != "passed"]
    assert above
    assert {check.cause for check in above} == {"softmax"}
    assert above[0].message.startswith(
        "Look at softmax first: it fails, and attention_weights builds on it. "
        "Official grading also runs it beside right parts, so it can only give more.\n"
    )
    assert all(check.diagnosis is None for check in above)


def damaged(kit: Path, tmp_path: Path, file: str, change: Callable[[Path], object]) -> str:
    """What is said after one file of the kit was changed."""
    copy = tmp_path / "copy"
    shutil.copytree(kit, copy)
    change(copy / file)
    course = load_course(copy)
    with pytest.raises(BadRequest) as caught:
        read_frozen(course, course.module("attention"), [], 0)
    return str(caught.value)


def test_one_task_alone_takes_the_rows_below_it_where_there_is_no_given(kit: Path, session: Session) -> None:
    course = load_course(kit)
    rows = [replace(row, task=task) for row, task in zip(session.rows, course.module("attention").tasks, strict=False)]
    there = replace(session, rows=rows)
    without = replace(there, jobs=replace(there.jobs, given=None))
    assert [row.task for row in there.for_task("attention_weights").rows] == ["attention_weights"]
    assert [row.task for row in without.for_task("attention_weights").rows] == ["softmax", "attention_weights"]
    assert there.can_isolate("attention_weights", {"softmax"})
    assert not without.can_isolate("attention_weights", {"softmax"})
    assert without.can_isolate("attention_weights", {"Linear"})
    assert not without.for_task("Linear").can_isolate("attention_weights", set())


TENSORS, BESIDE = "tests/expected/attention.safetensors", "tests/expected/attention.json"


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (TENSORS, Path.unlink, "attention.safetensors cannot be read: No such file or directory. Unpack the kit again"),
        (
            TENSORS,
            lambda p: p.write_bytes(p.read_bytes()[:-8] + b"tampered"),
            "attention.safetensors is damaged: its hash",
        ),
        (BESIDE, lambda p: p.write_text("{"), "attention.json is damaged: it is not JSON."),
        (BESIDE, lambda p: p.write_text('{"format": 99}'), "has format 99, and this grader reads format 1."),
        (BESIDE, lambda p: p.write_text(p.read_text().replace("softmax", "sofmtax")), "attention.json is damaged"),
        (
            "tests/checks/check_attention.py",
            lambda p: p.write_text(p.read_text() + "\n# mine\n"),
            "check_attention.py is not the file that attention.safetensors was made with; was it edited?",
        ),
    ],
    ids=["missing", "damaged", "no json", "version", "edited", "checks"],
)
def test_frozen_file_that_is_not_right_is_told_in_one_line(
    kit: Path, tmp_path: Path, file: str, change: Callable[[Path], object], says: str
) -> None:
    said = damaged(kit, tmp_path, file, change)
    assert says in said
    assert "\n" not in said


def test_seed_that_is_not_frozen_is_refused(kit: Path) -> None:
    course = load_course(kit)
    with pytest.raises(BadRequest, match=r"--seed 99: this kit holds the answers for the seeds 0 only\."):
        read_frozen(course, course.module("attention"), [], 99)


def test_hash_is_of_everything_but_itself(kit: Path) -> None:
    body = json.loads((kit / BESIDE).read_text())
    assert body["digest"] == digest(body)
    assert digest({**body, "module": "block"}) != body["digest"]


def test_freezing_again_gives_the_same_bytes(kit: Path, few: Session) -> None:
    assert freeze(few, [0]) == ((kit / TENSORS).read_bytes(), (kit / BESIDE).read_bytes())


def test_frozen_answers_give_nothing_else_away(kit: Path, course: Course) -> None:
    files = {path: (kit / path).read_bytes() for path in (TENSORS, BESIDE)}
    assert find_leaks(secrets(course, [course.module("attention")]), files) == []


def test_sealed_hints_open_again_and_cannot_be_read() -> None:
    hints = ["Look at the sum.", "exps / exps.sum(dim=dim, keepdim=True) ü"]
    assert unsealed(sealed(hints, "one"), "one") == hints
    assert "sum" not in sealed(hints, "one")


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_kit_names_the_mistake_that_the_instructor_is_told(
    course: Course, whole_kit: Callable[[str], Course], module: str
) -> None:
    found = []
    for where, seed in ((course, 7), (whole_kit(module), 0)):
        with open_session(where, where.module(module), seed) as session:
            grade_in = grader_of(session)
            sources = {
                mutant.name: apply(mutant, course.source("reference", module)) for mutant in load(course, module)
            }
            found.append({name: named(grade_in(source)) for name, source in sources.items()})
    told, in_the_kit = found
    differ = {name: (told[name], in_the_kit[name]) for name in told if told[name] != in_the_kit[name]}
    print(f"{module}: {len(told) - len(differ)} of {len(told)} mutants are named alike; others: {differ}")
    assert len(differ) <= 0.05 * len(told), differ


def load(course: Course, module: str) -> list[Mutant]:
    return load_mutants(course.root / "tests" / "mutants" / f"{module}.toml", course.module(module))
