"""Hints: four levels chosen by the diagnosis, the relation and the handout where nobody has catalogued the mistake."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from grader import ask
from grader.course import Course, Module, load_course
from grader.handout import nearest, readable, section
from grader.hints import LEVELS, Asked, hints, line_of, mistake, where_to_look
from grader.own_file import Own, default_path, keep, read
from grader.progress import read_progress
from grader.record import CheckRecord, Diagnosis, SubmissionRecord

KNOWN = Diagnosis("weights_no_scale", "The scores are not scaled.", ["Look at the scores.", "scores / math.sqrt(d)"])


def check(
    status: str, message: str = "", diagnosis: Diagnosis | None = None, task: str = "attention_weights"
) -> CheckRecord:
    return CheckRecord("check_x", task, status, 0, 22, message, diagnosis, 0, 0, "The softmax runs over the keys.")


def asked(course: Course, module: Module, *checks: CheckRecord) -> Asked:
    path = default_path(course, module)
    return Asked(course, module, checks[0].task, checks, path, path.read_text(encoding="utf-8"))


def lines(course: Course, module: Module, *checks: CheckRecord) -> dict[str, str]:
    return {hint.level: "\n".join(hint.lines) for hint in hints(asked(course, module, *checks))}


def test_diagnosis_chooses_the_place_and_the_code(course: Course, attention: Module) -> None:
    found = lines(course, attention, check("failed", diagnosis=KNOWN))
    assert tuple(found) == LEVELS
    assert found["place"].startswith("Look at the scores.\nYour attention_weights begins at attention.py:")
    assert found["nearly code"] == "scores / math.sqrt(d)"
    assert "softmax(q kᵀ / sqrt(head_dim)) over the keys" in found["formula"]
    assert "handouts/attention.md:" in found["concept"]


def test_uncatalogued_mistake_gets_the_relation_and_the_handout(course: Course, attention: Module) -> None:
    found = lines(course, attention, check("failed", "3 entries differ.\nEverything is 2 times too large."))
    assert found["place"].startswith("Nobody has catalogued this mistake. Look at attention.py:")
    assert "Everything is 2 times too large." in found["place"]
    assert "The handout's symptoms for this task:" in found["place"]
    assert found["nearly code"].startswith("There is no closer hint for a mistake that nobody has catalogued.")


def test_task_not_begun_is_told_where_to_begin(course: Course, attention: Module) -> None:
    found = lines(course, attention, check("missing", "Not written yet."))
    assert "in place of the line that raises NotImplementedError. It is built from softmax." in found["place"]
    assert found["nearly code"].startswith("There is no code to give away for a task that is not begun.")


def test_failure_of_another_task_points_there(course: Course, attention: Module) -> None:
    blamed = replace(check("failed", "x"), cause="softmax")
    assert lines(course, attention, blamed)["place"] == (
        "Look at softmax first: it fails, and attention_weights builds on it. Then see what is left here."
    )


def test_where_to_look_is_told_of_what_is_begun_and_not_right(course: Course, attention: Module) -> None:
    checks = [
        check("failed", "x"),
        check("missing", "Not written yet.", task="softmax"),
        check("passed", "", task="Linear"),
    ]
    record = SubmissionRecord("kim", "attention", 0, 100, "graded", 0, "cpu", [], {}, 0, checks)
    path = course.root / "assignments" / "attention.py"
    [(task, (file, handout))] = where_to_look(course, attention, record, path, path.read_text()).items()
    assert task == "attention_weights"
    assert re.fullmatch(r"assignments/attention\.py:\d+", file)
    assert re.fullmatch(r"handouts/attention\.md:\d+", handout)
    assert where_to_look(course, attention, record, path.parent, path.read_text())[task] == (file, handout)


def test_right_task_offers_its_background(course: Course, attention: Module) -> None:
    found = lines(course, attention, check("passed"))
    assert list(found) == ["background"]
    assert "Source: Vaswani et al. 2017" in found["background"]


@pytest.mark.parametrize(
    ("checks", "name"),
    [
        ([check("failed", diagnosis=KNOWN)], "weights_no_scale"),
        ([check("failed", diagnosis=replace(KNOWN, mutant="a or b"))], "a,b"),
        ([check("missing")], "todo"),
        ([check("failed")], ""),
    ],
)
def test_hints_are_counted_by_mistake(checks: list[CheckRecord], name: str) -> None:
    assert mistake(tuple(checks)) == name


def test_line_is_that_of_the_exception_or_of_the_task(course: Course, attention: Module) -> None:
    trace = "NameError: no x\nattention.py, line 90, in attention_weights\n    x"
    assert line_of(asked(course, attention, check("error", trace))) == 90
    here = asked(course, attention, check("failed", "wrong"))
    assert here.source.splitlines()[line_of(here) - 1].startswith("def attention_weights(")


# --- the handout ---


def test_every_task_of_every_module_with_a_handout_has_notes(course: Course) -> None:
    for module in course.modules.values():
        for task in module.tasks if (course.root / "handouts" / f"{module.name}.md").is_file() else ():
            found = section(course, module, task)
            assert found.notes, f"{module.name}.{task}"
            assert found.link.startswith(f"handouts/{module.name}.md:")


def test_markdown_becomes_readable() -> None:
    assert readable(r"$q \cdot k / \sqrt{d}$ of `x`, *so* 2 * 3 * 4") == "q · k / sqrt(d) of x, so 2 * 3 * 4"


def test_nearest_notes_keep_their_order_and_all_stay_where_none_fits() -> None:
    notes = ["the axis of the softmax", "the scale of the scores", "something else"]
    assert nearest(notes, "scores without their scale", 1) == ["the scale of the scores"]
    assert nearest(notes, "nothing fits here") == notes


# --- the command ---


@pytest.fixture
def own(folder: Path) -> Own:
    course = load_course(folder)
    return Own(course, course.module("attention"), folder / "assignments" / "attention.py")


def checked(own: Own, *checks: CheckRecord) -> None:
    """Leave the record that a check of the file would have left."""
    digest = read(own).digest
    record = SubmissionRecord("kim", "attention", 0, 100, "graded", 0, "cpu", [], {}, 0, list(checks), digest=digest)
    keep(own, record)


def test_each_call_gives_one_hint_more(own: Own) -> None:
    checked(own, check("failed", diagnosis=KNOWN))
    heads = [next(iter(ask.next_hint(own, "attention_weights", 0))) for _ in range(1)]
    assert heads == ["1.4 attention_weights, hint 1 of 4: the concept"]
    shown = [list(ask.next_hint(own, "attention_weights", 0)) for _ in range(5)]
    assert [text[0] for text in shown] == [
        "1.4 attention_weights, hint 1 of 4: the concept",
        "1.4 attention_weights, hint 2 of 4: the place",
        "1.4 attention_weights, hint 3 of 4: the formula",
        "1.4 attention_weights, hint 4 of 4: nearly the code",
        "1.4 attention_weights, hint 4 of 4: nearly the code (the last one, again)",
    ]
    assert shown[0][-1] == "Hints are counted in progress.txt, for you alone."
    taken = read_progress(own.course.root).hints
    assert taken["attention.attention_weights", "weights_no_scale"].count == 4


def test_first_open_task_is_meant_where_none_is_named(own: Own) -> None:
    checked(own, check("passed", task="softmax"), check("missing", task="Linear"))
    assert next(iter(ask.next_hint(own, "", 0))).startswith("1.2 Linear, hint 1 of 4")
