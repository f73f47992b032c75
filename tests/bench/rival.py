"""Preparing and running the rival: plain pytest, each submission in a process of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .clock import Timed, timed

if TYPE_CHECKING:
    from grader.collecting import Collected

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
FLOOD = 1 << 20  # bytes
TESTS_RAN = (0, 1)  # pytest's exit codes when every test was run, whatever they said


def prepare(root: Path, folder: Path) -> Path:
    """Write the pytest file with its expected tensors into a folder, once; the reference must pass it.

    Returns:
        The file to run.
    """
    import torch

    from grader.assemble import from_folder
    from grader.collecting import collect_checks
    from grader.course import load_course
    from grader.loading import forget, load

    course = load_course(root)
    module = course.module("attention")
    reference = load(from_folder(course, module, "reference"), "attention")
    checks = course.check_files("attention")
    rows = {found.row.name: _row(found, reference) for found in collect_checks(checks)}
    forget()  # it hides the folder of that name, which a later part needs
    torch.save(rows, folder / "rows.pt")
    for file in checks:
        shutil.copy(file, folder)
    file = Path(shutil.copy(Path(__file__).with_name("plain.py"), folder))
    right = run(file, root / "reference" / "attention.py")
    if right.code != 0:
        raise SystemExit(f"the reference does not pass the rival's file:\n{right.said[-2000:]}")
    return file


def _row(found: "Collected", reference: object) -> dict[str, Any]:
    """What the rival needs of a row: the call and what the reference gives for it."""
    from grader.rng import Rng, seed_from

    seed = seed_from(0, found.row.name)
    row = {"check": found.row.check, "arguments": found.arguments, "seed": seed, "raises": "", "value": None}
    try:
        return {**row, "value": _plain(found.function(reference, Rng(seed), **found.arguments))}
    except ValueError as error:
        return {**row, "raises": type(error).__name__}


def _plain(value: Any) -> Any:
    """The value without gradients attached, in what torch.load takes with weights_only."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def run(file: Path, submission: Path) -> Timed:
    """Plain pytest on one submission, spared the plug-ins that happen to be installed."""
    found = timed([*PYTEST, file], cwd=file.parent, environment=_environment(submission))
    if found.code not in TESTS_RAN:
        raise SystemExit(f"the rival did not run on {submission}:\n{found.said[-2000:]}")
    return found


def _environment(submission: Path) -> dict[str, str]:
    settings = {"SUBMISSION": str(submission), "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**os.environ, **settings}


def floods(file: Path, submission: Path) -> bool:
    """Whether a submission prints more than any debugging needs, which pytest would keep in memory and slow down by.

    Found with the output let through and cut off; what the tests say is not asked.
    """
    command = [*PYTEST, "-s", "--tb=no", file]
    process = subprocess.Popen(command, cwd=file.parent, env=_environment(submission), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        printed = len(process.stdout.read(FLOOD))
        process.kill()
    return printed >= FLOOD


def run_all(file: Path, submissions: Sequence[Path], jobs: int) -> tuple[float, float]:
    """Wall and CPU seconds of some submissions, `jobs` at a time."""
    start = perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        runs = list(pool.map(lambda submission: run(file, submission), submissions))
    return perf_counter() - start, sum(found.cpu for found in runs)
