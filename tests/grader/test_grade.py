"""Grading whole submissions through judge, zygote and worker."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grader.collect import Submission
from grader.course import Course, Feedback
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.record import CheckRecord, SubmissionRecord
from grader.session import Session

ROOT = Path(__file__).resolve().parents[2]
Grade = Callable[..., SubmissionRecord]


def edited(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times"
    return source.replace(old, new)


def lost(record: SubmissionRecord) -> list[CheckRecord]:
    return [check for check in record.checks if check.status != "passed"]


def by_task(record: SubmissionRecord) -> dict[str, float]:
    points: dict[str, float] = {}
    for check in record.checks:
        points[check.task] = points.get(check.task, 0.0) + check.points
    return points


@pytest.mark.parametrize("folder", ["reference", "assignments/given"])
def test_our_own_implementations_score_full_marks(graded_source: Grade, folder: str) -> None:
    record = graded_source((ROOT / folder / "attention.py").read_text(encoding="utf-8"), ban=False)
    assert (record.score, record.status, lost(record)) == (100, "graded", [])


@pytest.mark.parametrize("style", ["loops", "einsum"])
def test_other_styles_score_full_marks_with_the_ban(graded_source: Grade, style: str) -> None:
    file = ROOT / "tests" / "styles" / "attention" / f"{style}.py"
    assert graded_source(file.read_text(encoding="utf-8")).score == 100


def test_untouched_stub_scores_nothing(graded_source: Grade) -> None:
    record = graded_source((ROOT / "assignments" / "attention.py").read_text(encoding="utf-8"))
    assert record.score == 0
    assert {check.status for check in record.checks} == {"missing"}


@pytest.mark.parametrize("module", ["gpt", "training"])  # a check makes a GPT first; a check catches what is raised
def test_unwritten_task_is_to_do_whatever_its_check_meets_first(course: Course, module: str) -> None:
    stub = (ROOT / "assignments" / f"{module}.py").read_text(encoding="utf-8")
    with open_session(course, course.module(module), seed=3) as session:
        record = grade(session, Submission("kim", {f"{module}.py": stub}), "", Options())
    assert {(check.status, check.message) for check in record.checks} == {("missing", "Not written yet.")}


def test_points_add_up_to_those_of_the_tasks(graded_source: Grade, reference: str, session: Session) -> None:
    record = graded_source(reference)
    for task, points in by_task(record).items():
        assert points == pytest.approx(session.module.tasks[task].points)


def test_broken_task_costs_its_own_points_only(graded_source: Grade, reference: str) -> None:
    record = graded_source(edited(reference, "return (exps / exps.sum", "return (2 * exps / exps.sum"))
    assert {check.task for check in lost(record)} == {"softmax"}
    behind = [check for check in record.checks if check.cause]
    assert {check.cause for check in behind} == {"softmax"}
    assert {"attention_weights", "MultiHeadAttention"} <= {check.task for check in behind}
    assert behind[0].message == "Right with the given parts. In your file it fails because of softmax."


def test_endless_loop_costs_its_own_points_only(graded_source: Grade, reference: str) -> None:
    record = graded_source(
        edited(reference, "    return x.transpose(1, 2).flatten(2)", "    while True: pass\n    return x")
    )
    assert {(check.task, check.status) for check in lost(record)} == {("merge_heads", "timeout")}
    assert lost(record)[0].message.startswith(
        "It did not end within 2 seconds of computing; it was at attention.py, line "
    )


def test_missing_task_is_told_apart_from_a_wrong_one(graded_source: Grade, reference: str) -> None:
    record = graded_source(edited(reference, "def merge_heads(", "def merge_the_heads("))
    assert {(check.task, check.status) for check in lost(record)} == {("merge_heads", "missing")}
    assert lost(record)[0].message == "merge_heads is not defined in your file."


def test_known_mistake_is_named_with_its_hints(graded_source: Grade, reference: str) -> None:
    record = graded_source(edited(reference, " / math.sqrt(q.shape[-1])", ""))
    named = {check.diagnosis.mutant for check in lost(record) if check.diagnosis}
    assert named == {"weights_no_scale"}
    assert len(next(c.diagnosis for c in lost(record) if c.diagnosis).hints) == 2


def test_unknown_mistake_is_not_named(graded_source: Grade, reference: str) -> None:
    record = graded_source(edited(reference, " / math.sqrt(q.shape[-1])", " / (0.3 + math.sqrt(q.shape[-1]))"))
    assert [check.diagnosis for check in lost(record) if check.diagnosis] == []
    assert lost(record)[0].message.startswith("all 210 entries differ; the first at [0, 0, q_len 0, k_len 0]")


def test_forbidden_call_costs_its_task_and_says_the_line(graded_source: Grade, reference: str) -> None:
    source = edited(
        reference, "    return (exps / exps.sum(dim=dim, keepdim=True)).to(x.dtype)", "    return torch.softmax(x, dim)"
    )
    record = graded_source(source)
    line = source[: source.index("torch.softmax(x, dim)")].count("\n") + 1
    assert {(check.task, check.status) for check in lost(record)} == {("softmax", "forbidden")}
    assert lost(record)[0].message == (
        f"line {line}: torch.softmax is what this module has you build yourself.\n"
        "Its result is right; the call is not allowed."
    )
    assert graded_source(source, ban=False).score == 100


def test_mistake_of_hidden_sizes_only_shows_no_values(graded_source: Grade, reference: str) -> None:
    source = edited(
        reference,
        "    key = torch.arange(k_len",
        "    k_len = 8 if k_len == 9 else k_len\n    key = torch.arange(k_len",
    )
    failed = lost(graded_source(source))
    assert [check.name for check in failed] == ["check_causal_mask_longer_keys"]
    assert (
        failed[0].message == "Right for the sizes and values in your kit; with others (not shown) the result is wrong."
    )
    assert failed[0].picture is None
    assert failed[0].printed == ""


@pytest.mark.parametrize("answer", ["raise ValueError('seen inf')", "print('seen inf')", "return v + float('inf')"])
def test_second_chance_shows_nothing_of_what_ran(graded_source: Grade, reference: str, answer: str) -> None:
    """Its worker runs hidden rows beside public ones."""
    source = f"{reference}\n\nown = attention_weights\n\n" + (
        "def scaled_dot_product_attention(q, k, v, mask=None):\n"
        f"    if attention_weights is not own:\n        {answer}\n    return v[..., :1, :]\n"
    )
    checks = [check for check in graded_source(source).checks if check.task == "scaled_dot_product_attention"]
    assert {check.status for check in checks} == {"failed"}
    assert [check.name for check in checks if re.search(r"\binf\b", f"{check}")] == []


def test_import_that_fails_beside_hidden_rows_only_says_nothing_of_them(graded_source: Grade, reference: str) -> None:
    spy = (
        "\ntry:\n    raise KeyError\nexcept KeyError as error:\n    frame = error.__traceback__.tb_frame\n"
        "while frame is not None:\n"
        '    if "job" in frame.f_locals and any("hid" "den" in run.row for run in frame.f_locals["job"].runs):\n'
        "        raise ValueError(f\"gotcha: {frame.f_locals.get('checks')}\")\n"
        "    frame = frame.f_back\n"
    )
    record = graded_source(reference + spy)
    assert record.status == "not_importable"
    why = "it failed, although it was imported without an error a moment before"
    assert record.problem == f"While it was imported, {why}."


@pytest.mark.parametrize(("shape", "told"), [((2, 3, 5), {"check_softmax_values"}), ((3, 2, 4, 6), set())])
def test_slow_beside_hidden_rows_only_says_nothing_of_them(
    graded_source: Grade, reference: str, shape: tuple[int, ...], told: set[str]
) -> None:
    slow = (
        "\nimport time\n\nown = softmax\n\ndef softmax(x, dim):\n"
        f"    time.sleep(0.6 * (x.shape == {shape}))\n    return own(x, dim)\n"
    )
    record = graded_source(reference + slow)
    assert {check.name for check in record.checks if check.message.startswith("Right, but slow: ")} >= told
    assert bool(told) == any(check.message for check in record.checks)


def test_compiled_function_is_run_as_it_is(graded_source: Grade, reference: str) -> None:
    """The compiler would need a program of its own, which no worker may start."""
    record = graded_source(reference.replace("def softmax(", "@torch.compile\ndef softmax("))
    assert (record.score, record.notes) == (100, [])


def test_public_failure_shows_a_picture_with_named_axes(graded_source: Grade, reference: str) -> None:
    failed = lost(graded_source(edited(reference, "key[None, :] <= query[:, None]", "key[None, :] < query[:, None]")))
    picture = failed[0].picture
    assert picture is not None
    assert picture.axes == ("q_len", "k_len")
    assert picture.expected[0] == [1, 0, 0, 0, 0]
    assert picture.got[0] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def softmax(x, dim:\n    return x\n", "attention.py does not parse: line 1"),
        ("import flash_attn\n", "No module named 'flash_attn': it is not installed where submissions are graded"),
        ("import os\nos._exit(0)\n", "While it was imported, it ended the process (exit code 0)."),
        (
            "import sys\nsys.exit(3)\n",
            "While it was imported, it ended the program (exit code 3; attention.py, line 2, in <module>).",
        ),
        ("x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero\nattention.py, line 2, in <module>\n    y = x / 0"),
        ("raise KeyboardInterrupt('enough')\n", "KeyboardInterrupt: enough"),
    ],
)
def test_file_that_does_not_import_scores_nothing_and_says_why(graded_source: Grade, source: str, says: str) -> None:
    record = graded_source(source)
    assert (record.score, record.status) == (0, "not_importable")
    assert record.problem.startswith(says)
    assert {check.status for check in record.checks} == {"blocked"}


def test_unreadable_submission_keeps_its_reason(session: Session) -> None:
    record = grade(session, Submission("kim", {}, problem="no attention.py in it"), "", Options())
    assert (record.status, record.score, record.problem) == ("unreadable", 0, "no attention.py in it")


def test_error_starts_at_the_students_own_line(graded_source: Grade, reference: str) -> None:
    failed = lost(
        graded_source(
            edited(reference, "    return x.transpose(1, 2).flatten(2)", "    return x.transpos(1, 2).flatten(2)")
        )
    )
    assert failed[0].status == "error"
    assert failed[0].message.splitlines()[0] == "AttributeError: 'Tensor' object has no attribute 'transpos'"
    assert "attention.py, line" in failed[0].message
    assert "/" not in failed[0].message.splitlines()[1]


def test_what_was_printed_is_kept_and_bounded(graded_source: Grade, reference: str) -> None:
    source = edited(reference, "    batch, seq_len, d_model = x.shape\n", "    print('z' * 10**8)\n    return x\n")
    failed = lost(graded_source(source))
    assert 8_000 < len(failed[0].printed) < 20_000
    assert "characters cut" in failed[0].printed


def test_repeated_grade_is_the_same_but_for_times(graded_source: Grade, reference: str) -> None:
    source = edited(reference, "x.transpose(1, 2).flatten(2)", "x.flatten(2)")
    one, other = graded_source(source), graded_source(source)

    def timeless(record: SubmissionRecord) -> SubmissionRecord:
        checks = [replace(check, seconds=0.0, reference_seconds=0.0) for check in record.checks]
        return replace(record, seconds=0.0, checks=checks)

    assert timeless(one) == timeless(other)


@pytest.mark.parametrize(("chosen", "says"), [("property", "the result is wrong"), ("kind", "it raised an exception")])
def test_instructor_chooses_what_is_said_of_hidden_rows(
    session: Session, reference: str, chosen: str, says: str
) -> None:
    source = edited(reference, "    key = torch.arange(k_len", "    assert k_len != 9\n    key = torch.arange(k_len")
    told = session.for_course(replace(session.course, feedback=Feedback(chosen)))
    failed = lost(grade(told, Submission("kim", {"attention.py": source}), "", Options()))
    assert [check.name for check in failed] == ["check_causal_mask_longer_keys"]
    assert failed[0].message == f"Right for the sizes and values in your kit; with others (not shown) {says}."
    assert failed[0].diagnosis is None


def test_known_mistake_is_named_before_the_exceptions_that_are_asked_for_are_written(
    graded_source: Callable[..., SubmissionRecord], reference: str
) -> None:
    refusal = """    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q and k must have the same head_dim, got q {tuple(q.shape)} and k {tuple(k.shape)}")
"""
    assert refusal in reference
    record = graded_source(reference.replace(refusal, "").replace(" / math.sqrt(q.shape[-1])", ""))
    failing = [check for check in record.checks if check.task == "attention_weights" and check.status != "passed"]
    named = {check.name: check.diagnosis.mutant if check.diagnosis else "" for check in failing}
    assert named.pop("check_weights_refuse_unequal_head_dim") == ""
    assert set(named.values()) == {"weights_no_scale"}


def test_a_missing_exception_alone_is_no_other_known_mistake(
    graded_source: Callable[..., SubmissionRecord], reference: str
) -> None:
    text = reference.replace("    if mask is not None and mask.dtype != torch.bool:", "    if False:")
    text = text.replace("    if q.shape[-1] != k.shape[-1]:", "    if False:")
    failing = [check for check in graded_source(text).checks if check.status != "passed"]
    assert {check.task for check in failing} == {"attention_weights"}
    assert not any(check.diagnosis for check in failing)
