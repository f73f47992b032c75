"""What a submission may do to its worker, and what the judge makes of it."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from toy import write_course

from grader.checks import graded
from grader.collecting import Collected, row_id
from grader.errors import GraderFault
from grader.opening import open_session
from grader.outcome import Outcome
from grader.rng import Rng
from grader.sandbox import Printed
from grader.session import Session, single
from grader.worker import run_row
from grader.workers import run_job
from grader.zygotes import Zygote

SPLIT = "check_split_heads_values[1]"
MERGE = "check_merge_heads_values[1]"
Run = Callable[..., dict[str, Outcome]]

HEAD = "import torch\ndef merge_heads(x):\n    return x.transpose(1, 2).flatten(2)\n"


@pytest.fixture
def run(session: Session) -> Run:
    """The outcomes of one row of split_heads and then one of merge_heads, whose split_heads has this body."""

    def outcomes(body: str, **caps: float) -> dict[str, Outcome]:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        rows = [row for row in session.rows if row.name in (SPLIT, MERGE)]
        job = session.job([{"attention.py": f"{HEAD}def split_heads(x, n_heads):\n{lines}"}], rows)
        return single(run_job(session.students, replace(job, caps=replace(job.caps, **caps))), rows)

    return outcomes


@pytest.mark.parametrize(
    ("body", "ended", "why"),
    [
        (
            "while True: pass",
            "timeout",
            "it did not end within 0.6 seconds of computing; it was at attention.py, line 5, in split_heads",
        ),
        ("import time; time.sleep(60)", "timeout", "it did not end within 1 seconds"),
        ("import os; os._exit(0)", "crashed", r"it ended the process \(exit code 0\)"),
        (
            "raise SystemExit(0)",
            "crashed",
            r"it ended the program \(exit code 0; attention.py, line 5, in split_heads\)",
        ),
        ("import ctypes; ctypes.string_at(0)", "crashed", "the process was ended by SIGSEGV"),
        ("x = [bytearray(10**9) for _ in range(9)]", "crashed", "it ran out of memory"),
        ("return torch.empty(10**10)", "crashed", "it ran out of memory"),
        ("return [torch.zeros(4000, 1000) for _ in range(5)]", "crashed", "it returned more than 16 MiB"),
        ("import gc, socket\nfor s in gc.get_objects():\n  if isinstance(s, socket.socket): s.close()", "crashed", ""),
    ],
)
def test_row_that_ends_badly_costs_that_row_only(run: Run, body: str, ended: str, why: str) -> None:
    outcomes = run(body, check_cpu_seconds=0.6, check_wall_seconds=1.0 if "sleep" in body else 10.0)
    assert outcomes[SPLIT].ended == ended
    assert re.search(why, outcomes[SPLIT].why)
    assert outcomes[MERGE].ended == "values"


def test_time_out_ends_its_task_and_the_second_one_the_job(session: Session) -> None:
    rows = [row for row in session.rows if row.task in ("softmax", "split_heads", "merge_heads")]
    endless = "def split_heads(x, n_heads):\n    while True: pass\n"
    softmax = "def softmax(x, dim):\n    return split_heads(x, dim)\n"
    job = session.job([{"attention.py": f"{HEAD}{endless}{softmax}"}], rows)
    job = replace(job, caps=replace(job.caps, check_cpu_seconds=0.2))
    outcomes = single(run_job(session.students, job), rows)
    assert {outcome.ended for outcome in outcomes.values()} == {"timeout"}
    run = [row.name for row in rows if "not run" not in outcomes[row.name].why]
    assert run == ["check_softmax_values[1]", "check_split_heads_values[1]"]


@pytest.mark.parametrize(
    "body",
    [
        "import reference",
        "import tests.checks",
        "from assignments.given import attention",
        "import os; return open('/proc/self/fd/5').name if 'HOME' in os.environ else {}[0]",
    ],
)
def test_worker_sees_neither_reference_nor_environment(run: Run, body: str) -> None:
    assert run(body)[SPLIT].ended == "raised"


def test_what_one_row_changes_is_undone_before_the_next(run: Run) -> None:
    body = "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); torch.manual_seed(1)\nreturn x"
    merged = run(body)[MERGE].leaves[""]
    assert str(merged.values.dtype) == "torch.float32"


def test_each_run_of_a_row_gets_arguments_of_its_own() -> None:
    def check_sorted(impl: object, names: list[str]) -> list[str]:
        names.sort()
        return names

    check = Collected(row_id("check_sorted", graded("sort")(check_sorted), {}), check_sorted, {"names": ["b", "a"]})
    outcome = run_row(ModuleType("impl"), check, Rng(0), None, Printed(1))
    assert [leaf for path, leaf in outcome.leaves.items() if path] == ["a", "b"]
    assert check.arguments == {"names": ["b", "a"]}


def test_student_threads_do_not_hold_the_worker_open(run: Run) -> None:
    body = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nreturn x"
    assert run(body, check_wall_seconds=2.0)[MERGE].ended == "values"


def test_bytes_that_are_not_a_frame_crash_that_row(run: Run) -> None:
    body = (
        "import gc, socket\n"
        "for s in [s for s in gc.get_objects() if isinstance(s, socket.socket)]:\n"
        "    s.sendall(b'\\xff' * 64)\n"
        "return x"
    )
    assert run(body)[SPLIT].ended == "crashed"


def test_torch_s_compiler_can_be_imported_in_a_worker(run: Run) -> None:
    body = (
        "x.sum()\nw = torch.zeros(1, requires_grad=True)\ntorch.optim.SGD([w]).step()\nimport torch._dynamo\nreturn x"
    )
    assert run(body)[MERGE].ended == "values"


def test_closing_a_session_does_not_wait_for_a_thread_that_waits(tmp_path: Path) -> None:
    course = write_course(tmp_path)
    ended = threading.Event()

    def wait(zygote: Zygote) -> None:
        with suppress(GraderFault):
            zygote._receive()
        ended.set()

    with open_session(course, course.module("half"), seed=1) as session:
        threading.Thread(target=wait, args=(session.students,), daemon=True).start()
        time.sleep(0.3)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert ended.wait(10)
