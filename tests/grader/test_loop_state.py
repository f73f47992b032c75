"""The loop as a state: what keys and verdicts make of it, and what is then on the screen."""

from dataclasses import replace
from pathlib import Path

import pytest

from grader.advice import Advice
from grader.course import Course, Module
from grader.hints import Asked, Hint, hints
from grader.loop_screen import summary
from grader.loop_state import State, begin, first_open, hint_key, more_hints, press, saw, word_of
from grader.loop_view import draw
from grader.own_file import default_path
from grader.record import CheckRecord, Diagnosis, SubmissionRecord


def record(module: Module, problem: str = "", **statuses: str) -> SubmissionRecord:
    checks = [
        CheckRecord(
            f"check_{task}",
            task,
            statuses.get(task, "missing"),
            values.points if statuses.get(task) == "passed" else 0,
            values.points,
            "12 of 12 entries differ." if statuses.get(task) == "failed" else "",
            Diagnosis("m", "The scores are not scaled.") if task == "attention_weights" else None,
            0,
            0,
            f"The sentence of {task}.",
            printed="shape (2, 3)\n" if statuses.get(task) == "failed" else "",
        )
        for task, values in module.tasks.items()
    ]
    status = "not_importable" if problem else "graded"
    return SubmissionRecord("kim", module.name, 0, 100, status, 0, "cpu", [], {}, 0, checks, problem)


@pytest.fixture
def state(attention: Module) -> State:
    return saw(begin(attention), record(attention, softmax="passed", Linear="failed", attention_weights="failed"))


def screen(course: Course, state: State, width: int = 80, height: int = 24) -> list[str]:
    path = default_path(course, state.module)
    checks = state.checks.get(state.shown, ())
    asked = Asked(course, state.module, state.shown, checks, path, path.read_text(encoding="utf-8"))
    return draw(state, asked, hints(asked), width, height).plain.split("\n")


def test_words_of_tasks(state: State) -> None:
    words = [word_of(state, task) for task in ("softmax", "Linear", "causal_mask")]
    assert words == ["right", "wrong", "to do"]
    assert word_of(begin(state.module), "softmax") == ""
    assert (state.done, state.points) == (1, 12)
    assert summary(state) == "attention: 1 of 8 tasks, 12 of 100 points"


@pytest.mark.parametrize(
    ("key", "view", "action"),
    [
        ("q", "task", "quit"),
        ("n", "task", "check"),
        ("l", "list", ""),
        ("h", "task", "hint"),
        ("r", "reset", ""),
        ("a", "task", "all"),
        ("x", "task", ""),
    ],
)
def test_keys(state: State, key: str, view: str, action: str) -> None:
    after, wanted = press(state, key)
    assert (after.view, wanted) == (view, action)


def test_next_and_previous_go_round(state: State) -> None:
    assert press(state, "n")[0].shown == "Linear"
    assert press(state, "p")[0].shown == "MultiHeadAttention"


@pytest.mark.parametrize(("key", "action"), [("y", "reset"), ("n", ""), ("q", ""), ("enter", "")])
def test_reset_is_asked_for_twice(state: State, key: str, action: str) -> None:
    asked, _ = press(state, "r")
    after, wanted = press(asked, key)
    assert (after.view, wanted, after.shown) == ("task", action, "softmax")


def test_start_is_at_the_first_task_that_is_not_right(state: State) -> None:
    assert first_open(state).shown == "Linear"


def test_task_that_was_right_and_is_not_is_told(state: State) -> None:
    after = saw(replace(state, shown="Linear"), record(state.module, Linear="passed"))
    assert after.notice == "softmax was right before this save."


def test_hints_come_one_by_one_and_begin_anew(state: State) -> None:
    for expected in (1, 2, 3, 4, 1):
        state = more_hints(state, 4)
        assert state.hint == expected
    assert state.hints == 4
    assert hint_key(replace(state, shown="Linear")) == "hint 2 of 4"
    assert hint_key(state) == "background"
    assert press(state, "n")[0].hint == 0


def test_other_mistake_closes_the_hints(state: State) -> None:
    open_hint = replace(state, shown="Linear", hint=2, hints=2)
    assert saw(open_hint, record(state.module, Linear="failed")).hint == 2
    assert saw(open_hint, record(state.module, Linear="passed")).hint == 0


def test_hint_without_a_file_that_runs_says_so(state: State) -> None:
    after, action = press(replace(state, problem="x does not parse: line 1: bad"), "h")
    assert action == ""
    assert after.notice == "A hint needs a file that can be run: mend this first."


# --- the screen ---


def test_known_mistake_is_on_the_screen_with_evidence_and_places(course: Course, state: State) -> None:
    shown = screen(course, replace(state, shown="attention_weights"))
    assert shown[0].startswith("1.4 attention_weights ")
    assert shown[0].endswith("1 of 8 tasks, 12 of 100 points")
    text = "\n".join(shown)
    assert "failed: 1 of 1 checks" in text
    assert "This is exactly the output of a known mistake: The scores are not scaled." in text
    assert "  12 of 12 entries differ." in text
    assert "printed: shape (2, 3)" in text
    assert "assignments/attention.py:" in text
    assert "handouts/attention.md:" in text
    assert shown[-1].startswith("n next   p previous   l list   h hint 1 of 4   a run all   r reset   q quit")


def test_task_to_do_shows_what_is_asked_for(course: Course, state: State) -> None:
    text = "\n".join(screen(course, replace(state, shown="causal_mask")))
    assert "Not written yet." in text
    assert "causal_mask(q_len, k_len=None, device=None)" in text
    assert "10 points. It calls no other task." in text


def test_right_task_says_what_is_left(course: Course, state: State) -> None:
    assert "7 tasks are left: n goes to the next one, h shows the background of this one." in "\n".join(
        screen(course, state, 100)
    )


def test_finished_module_says_what_is_next(course: Course, attention: Module) -> None:
    done = saw(begin(attention), record(attention, **dict.fromkeys(attention.tasks, "passed")))
    assert "All of attention is right. To hand it in: grader submit attention" in "\n".join(screen(course, done))


def test_half_written_file_is_not_yet(course: Course, state: State) -> None:
    shown = screen(course, replace(state, problem="attention.py does not parse: line 12: '(' was never closed"))
    assert "attention.py does not parse yet: line 12: '(' was never closed" in shown


def test_advice_of_the_task_and_of_the_file_is_shown(course: Course, state: State) -> None:
    advice = (Advice("of Linear", "Linear"), Advice("of softmax", "softmax"), Advice("of the file"))
    text = "\n".join(screen(course, replace(state, shown="Linear", advice=advice)))
    assert "Note: of Linear" in text
    assert "Note: of the file" in text
    assert "of softmax" not in text


def test_list_marks_the_task_shown(course: Course, state: State) -> None:
    shown = screen(course, replace(state, view="list", shown="Linear"))
    rows = [row for row in shown if row.startswith(("> ", "  1."))]
    assert len(rows) == 8
    assert rows[1].split() == [">", "1.2", "Linear", "0", "of", "8", "wrong"]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("height", [12, 24, 50])
def test_screen_fits_the_window(course: Course, state: State, width: int, height: int) -> None:
    crowded = replace(state, shown="attention_weights", hint=1, advice=(Advice("word " * 60),))
    for one in (crowded, replace(crowded, view="list"), replace(crowded, view="reset"), replace(state, shown="Linear")):
        rows = screen(course, one, width, height)
        assert len(rows) <= height + 1
        assert max(map(len, rows)) <= width


def test_what_does_not_fit_is_said(course: Course, state: State) -> None:
    rows = screen(course, replace(state, shown="attention_weights", hint=1), 80, 14)
    assert any(row.endswith("more lines: make the window higher") for row in rows)


def test_no_emoji_and_no_escape_codes_of_a_stranger(course: Course, state: State) -> None:
    check = replace(state.checks["Linear"][0], message="\x1b[2Jgone", printed="\x1b]0;title\x07x\n" * 30)
    text = "\n".join(screen(course, replace(state, shown="Linear", checks={**state.checks, "Linear": (check,)})))
    assert "\x1b" not in text
    assert max(map(ord, text)) < 0x2600


def test_hint_is_below_the_verdict(course: Course, state: State) -> None:
    rows = screen(course, replace(state, shown="attention_weights", hint=3, hints=3), 80, 40)
    at = rows.index("Hint 3 of 4: the formula")
    assert rows[at + 1].startswith("  attention_weights(q, k, mask=None): softmax(q kᵀ / sqrt(head_dim))")


def test_hint_says_that_the_course_asks_for_the_number(course: Course, state: State) -> None:
    asks = replace(course, feedback=replace(course.feedback, hints="reported"))
    shown = replace(state, shown="attention_weights", hint=3, hints=3)
    assert "  Your course asks how many hints were taken." in screen(asks, shown, 80, 40)
    assert "Your course asks" not in "\n".join(screen(course, shown, 80, 40))


def test_hints_have_a_name_a_level(course: Course, state: State) -> None:
    path = Path(default_path(course, state.module))
    found = hints(Asked(course, state.module, "Linear", state.checks["Linear"], path, ""))
    assert all(isinstance(hint, Hint) and hint.lines for hint in found)
