"""Files as students really save them: each mistake has a sentence of its own, and no stack trace of ours is shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from grader.course import load_course
from grader.errors import BadRequest
from grader.own_file import Own, problem_of, read
from grader.record import SubmissionRecord

Grade = Callable[..., SubmissionRecord]
SOFTMAX = '    """Softmax."""\n    e = (x - x.amax(dim=dim, keepdim=True)).exp()\n'


def softmax(reference: str, body: str) -> str:
    """The reference with another softmax at its end."""
    return f"{reference}\n\ndef softmax(x, dim):\n{body}"


def messages(record: SubmissionRecord, task: str = "softmax") -> str:
    return "\n".join(check.message for check in record.checks if check.task == task and check.status != "passed")


# --- it does not import ---


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "import flash_attn",
            "No module named 'flash_attn': it is not installed where submissions are graded. "
            "There are torch, numpy, einops, jaxtyping, regex, tiktoken and the standard library.",
        ),
        ("import torhc", "No module named 'torhc': did you mean torch?"),
        (
            "from .llama import GPT",
            "No module named 'assignments.llama': the course has no module llama; "
            "this is attention, and no module comes before it.",
        ),
    ],
)
def test_import_of_what_is_not_there(graded_source: Grade, reference: str, line: str, text: str) -> None:
    record = graded_source(f"{line}\n{reference}")
    assert record.status == "not_importable"
    assert record.problem.splitlines()[0] == text
    assert record.problem.splitlines()[1:] == ["attention.py, line 1, in <module>", f"    {line}"]


def test_traceback_begins_at_the_students_own_line(graded_source: Grade, reference: str) -> None:
    record = graded_source(softmax(reference, "    return torch.matmul(x, missing)\n"))
    text = messages(record)
    assert "NameError: name 'missing' is not defined\nattention.py, line " in text
    for ours in ("grader/", "worker.py", "check_attention.py", "Traceback"):
        assert ours not in text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "def softmax(x, dim):\n    y = x\n\treturn y\n",
            "attention.py does not parse: line 3: tabs and spaces are mixed in the indentation; "
            "use four spaces a level",
        ),
        ("def softmax(x, dim:\n", "attention.py does not parse: line 1: '(' was never closed"),
        (
            'def softmax(x):\n    """Half a doc',
            "attention.py does not parse: line 2: unterminated triple-quoted string",
        ),
    ],
)
def test_text_that_does_not_parse(graded_source: Grade, source: str, text: str) -> None:
    record = graded_source(source)
    assert record.status == "not_importable"
    assert record.problem.startswith(text)


@pytest.fixture
def own(folder: Path) -> Own:
    course = load_course(folder)
    return Own(course, course.module("attention"), folder / "assignments" / "attention.py")


def test_byte_order_mark_and_windows_line_ends_change_nothing(own: Own) -> None:
    clean = read(own)
    own.path.write_bytes(b"\xef\xbb\xbf" + own.path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(own).files == clean.files
    assert problem_of(own, read(own)) == ""


def test_notebook_under_the_name_of_the_module(own: Own) -> None:
    own.path.write_text('{"cells": [], "metadata": {}}')
    problem = "attention.py is a Jupyter notebook: export it as attention.py and hand that in"
    assert problem_of(own, read(own)) == problem


def test_file_that_is_gone_is_told_with_the_stub_to_begin_from(own: Own) -> None:
    stubs = own.course.root / "assignments" / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "attention.py").write_text("")
    own.path.unlink()
    with pytest.raises(
        BadRequest, match=r"attention.py is not there. To begin anew: cp assignments/stubs/attention.py a"
    ):
        read(own)


def test_notebook_in_place_of_the_module(own: Own) -> None:
    own.path.rename(own.path.with_suffix(".ipynb"))
    text = r"attention\.py is not there, but attention\.ipynb is: export the notebook as attention\.py\."
    with pytest.raises(BadRequest, match=text):
        read(own)


# --- it runs, and gives something of another kind ---


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("    return e / e.sum(dim=dim, keepdim=True), e\n", "got a list or tuple of 2. Return the tensor alone."),
        (
            "    return (e / e.sum(dim=dim, keepdim=True)).detach().float().numpy()\n",
            "got a numpy.ndarray. Stay with torch from end to end: numpy knows no gradients, "
            "and a caller expects torch's types.",
        ),
        ("    e / e.sum(dim=dim, keepdim=True)\n", "got None. Is a return missing?"),
        ("    return (e / e.sum(dim=dim, keepdim=True)).to('meta')\n", "tensor on meta"),
    ],
    ids=["tuple", "numpy", "nothing", "device"],
)
def test_result_of_another_kind(graded_source: Grade, reference: str, end: str, text: str) -> None:
    assert text in messages(graded_source(softmax(reference, SOFTMAX + end)))


def test_input_changed_in_place(graded_source: Grade, reference: str) -> None:
    body = "    x -= x.amax(dim=dim, keepdim=True)\n    e = x.exp()\n    return e / e.sum(dim=dim, keepdim=True)\n"
    text = messages(graded_source(softmax(reference, body)))
    assert "Your code changes its input x in place (+=, a method ending in _, x[...] = ...)." in text


def test_input_with_a_gradient_changed_in_place(graded_source: Grade, reference: str) -> None:
    body = "    x.sub_(x.amax(dim=dim, keepdim=True))\n    e = x.exp()\n    return e / e.sum(dim=dim, keepdim=True)\n"
    text = messages(graded_source(softmax(reference, body)))
    assert "Something is changed in place (+=, a method ending in _, x[...] = ...): make a new tensor instead." in text


def test_default_dtype_left_changed_does_not_reach_the_next_check(graded_source: Grade, reference: str) -> None:
    body = f"{SOFTMAX}    torch.set_default_dtype(torch.float64)\n    torch.manual_seed(5)\n"
    record = graded_source(softmax(reference, f"{body}    return (e / e.sum(dim=dim, keepdim=True)).to(x.dtype)\n"))
    others = {check.status for check in record.checks if check.task != "softmax"}
    assert others == {"passed"}


def test_tolerance_is_said_in_plain_numbers(graded_source: Grade, reference: str) -> None:
    body = f"{SOFTMAX}    return 1.01 * e / e.sum(dim=dim, keepdim=True)\n"
    text = messages(graded_source(softmax(reference, body)))
    assert " off where 0.000000" in text
    assert "e-0" not in text


def test_what_a_student_prints_is_shown_for_public_rows(graded_source: Grade, reference: str) -> None:
    body = f"{SOFTMAX}    print('shape', tuple(x.shape))\n    return 2 * e\n"
    record = graded_source(softmax(reference, body))
    assert any(check.printed.startswith("shape (") for check in record.checks if check.task == "softmax")


def test_two_mistakes_at_once_are_not_blamed_on_the_one_that_does_not_reach_there(
    graded_source: Grade, reference: str
) -> None:
    """The sum over the wrong axis shows nowhere in attention, which sums over the last one."""
    source = reference.replace("exps.sum(dim=dim, keepdim=True)", "exps.sum(dim=-1, keepdim=True)")
    record = graded_source(source.replace("math.sqrt(q.shape[-1])", "q.shape[-1]"))
    causes = {check.cause for check in record.checks if check.task == "scaled_dot_product_attention"}
    assert causes - {None} == {"attention_weights"}


def test_breakpoint_and_input_left_in_the_code(graded_source: Grade, reference: str) -> None:
    for call, text in (
        ("breakpoint()", "Nobody can type here: breakpoint() ends the check. "),
        ("input()", "Nobody can type here: input() finds nothing. "),
    ):
        body = f"{SOFTMAX}    {call}\n    return e / e.sum(dim=dim, keepdim=True)\n"
        assert text in messages(graded_source(softmax(reference, body)))


def test_function_that_calls_itself_for_ever_is_shown_once(graded_source: Grade, reference: str) -> None:
    text = graded_source(softmax(reference, "    return softmax(x, dim)\n")).checks[0].message
    assert text.startswith("RecursionError: maximum recursion depth exceeded")
    assert text.count("return softmax(x, dim)") == 1
