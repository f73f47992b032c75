"""What a task's verdict looks like as lines: the evidence of a few checks, said once."""

from dataclasses import replace
from functools import partial
from io import StringIO

import pytest
from rich.console import Console

from grader import terminal
from grader.course import Module
from grader.doctor import Finding
from grader.record import CheckRecord, Diagnosis, SubmissionRecord
from grader.terminal import task_lines


def failing(number: int, message: str, **changes: object) -> CheckRecord:
    check = CheckRecord(f"check_{number}", "softmax", "failed", 0, 1, message, None, 0, 0, f"Sentence {number}.")
    return replace(check, **changes)  # type: ignore[arg-type]


def test_the_same_reason_is_given_once() -> None:
    message = "NameError: name 'X' is not defined\nattention.py, line 3, in softmax\n    X"
    lines = task_lines([failing(1, f"{message}\n(with dim=0)"), failing(2, f"{message}\n(with dim=1)")])
    assert "\n".join(lines).count("NameError") == 1
    assert lines[-2:] == ["  failed  Sentence 2.", "      The same."]


def test_a_few_failing_checks_are_told_in_full_the_others_by_their_sentence() -> None:
    lines = task_lines([failing(number, f"Reason {number}.") for number in range(1, 7)])
    assert [line.strip() for line in lines if "Reason" in line] == ["Reason 1.", "Reason 2.", "Reason 3."]
    assert [line for line in lines if "Sentence" in line] == [f"  failed  Sentence {n}." for n in range(1, 7)]
    assert lines[-1] == "  What the others returned is left out: --watch shows one task at a time, --json everything."


def test_the_evidence_of_a_known_mistake_is_given_once_and_that_of_another_too() -> None:
    known = Diagnosis("m", "The maximum is not subtracted.")
    checks = [failing(1, "NaN.", diagnosis=known), failing(2, "inf.", diagnosis=known), failing(3, "Accepted.")]
    lines = task_lines(checks)
    assert lines[0] == "  This is exactly the output of a known mistake: The maximum is not subtracted."
    assert [line.strip() for line in lines if "Sentence" not in line][1:] == ["NaN.", "Accepted."]


def test_a_long_line_is_wrapped_at_words_on_a_terminal_and_an_empty_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    wide = partial(Console, file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(terminal, "Console", wide)
    for line in ("word " * 30, "", f"  {'row':<10}{7:>8.1f}"):
        terminal.tell(line)
    lines = screen.getvalue().split("\n")
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("    word")
    assert lines[2:] == ["", "  row            7.0", ""]


def test_links_stand_below_the_task_that_is_not_right(attention: Module, capsys: pytest.CaptureFixture[str]) -> None:
    checks = [failing(1, "Reason."), replace(failing(2, ""), task="Linear", status="passed", points=8)]
    record = SubmissionRecord("kim", "attention", 8, 100, "graded", 0, "cpu", [], {}, 0, checks)
    module = replace(attention, tasks={name: attention.tasks[name] for name in ("softmax", "Linear")})
    terminal.one_submission(record, module, False, (), {"softmax": ("assignments/attention.py:3", "handouts/x.md:5")})
    assert capsys.readouterr().out.splitlines()[:3] == [
        "1.1 softmax  0 of 12",
        "  assignments/attention.py:3  handouts/x.md:5",
        "  failed  Sentence 1.",
    ]


def test_doctor_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = StringIO()
    wide = partial(Console, file=screen, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(terminal, "Console", wide)
    terminal.doctor([Finding("isolation", "measured: level A, " * 8, False, "Mend it.")], as_json=False)
    lines = screen.getvalue().split("\n")
    assert lines[0].startswith("fix isolation  measured: level A,")
    assert lines[1].startswith(" " * 15 + "measured")
    assert lines[-2:] == [" " * 15 + "Mend it.", ""]
    assert max(map(len, lines)) <= 80


def test_what_was_printed_is_shown_once_a_task() -> None:
    lines = task_lines([failing(i, f"Wrong {i}.", printed="shape (2, 3)\n") for i in range(3)])
    assert [line for line in lines if "printed" in line] == ["      printed: shape (2, 3)"]


def test_what_was_printed_is_cut() -> None:
    lines = task_lines([failing(1, "Wrong.", printed="\n".join(map(str, range(20))))])
    assert lines[-1] == "        … 12 more lines"
