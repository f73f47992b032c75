"""What only a GPU can show: skipped, and shown as skipped, on a machine without one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from grader.collect import Submission, collect
from grader.course import Course, load_course
from grader.device import CUDA, TF32
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.record import CheckRecord, SubmissionRecord
from grader.session import Session

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine"),
]
MODULES = [
    pytest.param(name, marks=[] if name == "attention" else pytest.mark.slow) for name in load_course(ROOT).modules
]
RIGHT = ("reference", "assignments/given")


@pytest.fixture(scope="module")
def opened(course: Course) -> Iterator[Session]:
    """Attention on the GPU."""
    with open_session(course, course.module("attention"), seed=7, device=CUDA) as session:
        yield session


@pytest.fixture(scope="module")
def graded(opened: Session) -> Callable[[str], SubmissionRecord]:
    """Grade a source text there."""

    def run(source: str) -> SubmissionRecord:
        return grade(opened, Submission("kim", {"attention.py": source}), "", Options(ban=False, device=CUDA))

    return run


def lost(record: SubmissionRecord) -> list[CheckRecord]:
    return [check for check in record.checks if check.status != "passed"]


def put_first(task: str, line: str, source: str) -> str:
    """The source with one line before all others of a task."""
    head, _, rest = source.partition(f"def {task}(")
    docstring = '    """'
    before, _, after = rest.partition(docstring)
    text, _, body = after.partition('"""\n')
    return f'{head}def {task}({before}{docstring}{text}"""\n    {line}\n{body}'


@pytest.mark.parametrize("device", [CUDA, pytest.param(TF32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("module", MODULES)
def test_right_implementations_are_right_on_a_gpu(course: Course, module: str, device: str) -> None:
    week = course.module(module)
    with open_session(course, week, seed=4, device=device) as session:
        for impl in RIGHT:
            [submission] = collect(ROOT / impl / f"{module}.py", module, week.upstream)
            record = grade(session, submission, "", Options(ban=False, device=device))
            assert [(impl, check.name, check.message) for check in lost(record)] == []
            assert {check.device for check in record.checks} == {device}


def test_a_mask_left_on_the_cpu_is_named_on_a_gpu(graded: Callable[[str], SubmissionRecord], reference: str) -> None:
    record = graded(reference.replace("causal_mask(x.shape[1], device=x.device)", "causal_mask(x.shape[1])"))
    assert {check.task for check in lost(record)} == {"MultiHeadAttention"}
    for check in lost(record):
        assert "One tensor is where the inputs are, another was left on the CPU." in check.message
        assert check.diagnosis
        assert check.diagnosis.mutant == "mha_mask_on_cpu"


def test_a_full_gpu_costs_the_submission_the_checks_that_fill_it(
    graded: Callable[[str], SubmissionRecord], reference: str
) -> None:
    record = graded(put_first("merge_heads", "torch.empty(1 << 44, device=x.device)", reference))
    own = [check for check in lost(record) if check.task == "merge_heads"]
    assert {check.status for check in own} == {"crashed"}
    assert all("It ran out of memory." in check.message for check in own)
    assert not [check for check in lost(record) if check.task == "split_heads"]
    assert lost(graded(reference)) == []  # the next submission has the whole GPU again


def test_a_broken_gpu_context_costs_the_checks_that_broke_it(
    graded: Callable[[str], SubmissionRecord], reference: str
) -> None:
    line = "torch.ones(3, device=x.device)[torch.full((2,), 1 << 20, device=x.device)]"
    record = graded(put_first("merge_heads", line, reference))
    own = [check for check in lost(record) if check.task == "merge_heads"]
    assert {check.status for check in own} == {"crashed"}
    assert all("The GPU stopped it with an error" in check.message for check in own)
    assert not [check for check in lost(record) if check.task in ("softmax", "split_heads")]


def test_peak_memory_stands_beside_that_of_the_reference(
    graded: Callable[[str], SubmissionRecord], reference: str
) -> None:
    checks = [check for check in graded(reference).checks if check.reference_gpu_mib]
    assert checks
    assert all(check.gpu_mib == pytest.approx(check.reference_gpu_mib, abs=1) for check in checks)


def test_a_submission_that_switches_tf32_on_loses_nothing(
    graded: Callable[[str], SubmissionRecord], reference: str
) -> None:
    switch = "torch.backends.cuda.matmul.allow_tf32 = True\n"
    assert lost(graded(reference.replace("import torch\n", f"import torch\n{switch}", 1))) == []


def test_some_layers_of_isolation_are_left_on_a_gpu(opened: Session) -> None:
    assert opened.isolation[0] in ("level A", "level B"), f"given up for the driver: {opened.isolation}"
