"""A bad argument refused counts only where good ones are answered."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grader.collect import Submission
from grader.course import Course
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord

ROOT = Path(__file__).resolve().parents[2]
QUICK, SLOW = ["attention", "block", "tokenizer", "finetuning"], ["gpt", "training"]
MODULES = [*QUICK, *(pytest.param(module, marks=pytest.mark.slow) for module in SLOW)]


def refusing(module: str) -> str:
    """A stub that refuses everything, and names all that an exception could have to name."""
    stub = (ROOT / "assignments" / f"{module}.py").read_text(encoding="utf-8")
    source, tasks = re.subn(r"raise NotImplementedError\(.*\)", "raise ValueError(NAMES)", stub)
    assert tasks >= 6
    names = " ".join(sorted(set(re.findall(r"[a-z]\w*", stub))))
    return f"{source}\nNAMES = {names!r}\n"


@pytest.mark.parametrize("module", MODULES)
def test_who_refuses_everything_gets_nothing(course: Course, module: str) -> None:
    with open_session(course, course.module(module), seed=3) as opened:
        session = replace(opened, source=replace(opened.live, mutants=[]))  # whose names are of no interest here
        record = grade(session, Submission("kim", {f"{module}.py": refusing(module)}), "", Options())
    assert {check.status for check in record.checks} <= {"failed", "error"}
    assert record.score == 0
    refused = [check for check in record.checks if check.message.startswith("It is refused, as it should be.")]
    assert len(refused) >= 3


def test_refusal_counts_beside_an_answer_that_is_wrong(
    graded_source: Callable[..., SubmissionRecord], reference: str
) -> None:
    scale = " / math.sqrt(q.shape[-1])"
    assert reference.count(scale) == 1
    record = graded_source(reference.replace(scale, " * 3"))
    weights = {check.name: check for check in record.checks if check.task == "attention_weights"}
    passed = {name for name, check in weights.items() if check.status == "passed"}
    assert {"check_weights_refuse_float_mask", "check_weights_refuse_unequal_head_dim"} <= passed
    assert weights["check_weights_values"].status == "failed"
