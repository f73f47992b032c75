"""Grading a class: every submission once, in parallel, each record on disk as soon as it is there.

A record is complete or absent, so a killed run goes on where it stopped: a second run into the same folder keeps the
seed, and grades what has no record yet or whose submission, checks or options have changed since.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from .collect import Submission, collect
from .course import Course, Module
from .errors import BadRequest, GraderFault
from .opening import open_session
from .options import Options
from .record import SubmissionRecord, from_json, write_whole
from .timings import Timings

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Plan:
    """What a run has to do: the seed it uses, the records it keeps and the submissions it grades."""

    module: Module
    seed: int
    kept: list[SubmissionRecord]
    todo: list[tuple[Submission, str]]  # with the digest that its record will carry


def plan(
    course: Course,
    module: Module,
    submissions: list[Submission],
    out: Path,
    options: Options,
    seed: int | None,
    fresh: bool,
) -> Plan:
    """Compare the folder of results with what is asked for.

    Raises:
        BadRequest: `out` is a file, or holds a run with another seed.
    """
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is a file; -o needs a folder for the results.")
    earlier = None if fresh else _earlier_seed(out, module)
    if seed is not None and earlier not in (None, seed):
        raise BadRequest(f"{out} holds a run with seed {earlier}, not {seed}. Add --fresh, or choose another folder.")
    chosen = seed if seed is not None else earlier if earlier is not None else secrets.randbelow(2**31)
    grading = _grading_digest(course.root, module.name)
    kept, todo = [], []
    for submission in submissions:
        digest = _hash(grading, str(options), str(chosen), submission.digest)
        record = None if fresh else _record(out, module, submission.name, digest)
        if record is None:
            todo.append((submission, digest))
        else:
            kept.append(record)
    return Plan(module, chosen, kept, todo)


def plan_all(
    course: Course,
    modules: Sequence[Module],
    submissions: Path,
    out: Path,
    options: Options,
    seed: int | None,
    fresh: bool,
) -> list[Plan]:
    """A plan for each of the modules; of several, for those of which a file can be read. They share a seed.

    Raises:
        BadRequest: of plan() and collect(), or there is no file of any of the modules.
    """
    plans = []
    if seed is None:
        seed = _shared_seed(out, modules, fresh)
    for module in modules:
        found = collect(submissions, module.name, module.upstream, lone=len(modules) == 1)
        if len(modules) == 1 or not all(one.problem for one in found):
            plans.append(plan(course, module, found, out, options, seed, fresh))
    if not plans:
        files = ", ".join(f"{module.name}.py" for module in modules)
        raise BadRequest(f"Nothing in {submissions} can be graded as one of {files}.")
    return plans


def carry_out(
    course: Course,
    planned: Plan,
    out: Path,
    options: Options,
    jobs: int,
    done: Callable[[SubmissionRecord], None],
    timings: Timings,
) -> list[SubmissionRecord]:
    """Grade what the plan says, calling `done` with each record; returns all records sorted by submission."""
    records, module = list(planned.kept), planned.module
    faults: list[GraderFault] = []
    if planned.todo:
        _make(out)
        write_whole(out / RUN_FILE, json.dumps({**_runs(out), module.name: planned.seed}, indent=1) + "\n")
        opened = open_session(
            course, module, planned.seed, options.device, options.require, (), timings, options.gpu_workers
        )
        with opened as session, ThreadPoolExecutor(jobs) as pool:
            from .grade import grade  # which imports torch: the zygotes were started before

            futures = {pool.submit(grade, session, *work, options): work[0].name for work in planned.todo}
            try:
                for future in as_completed(futures):
                    try:
                        record = _finished(future, futures[future])
                    except GraderFault as fault:  # the others have their records before it is told
                        faults.append(fault)
                        continue
                    with timings.step("write a record"):
                        write_whole(out / record.submission / f"{module.name}.json", record.to_json())
                    records.append(record)
                    done(record)
            finally:
                for future in futures:
                    future.cancel()
    if faults:
        raise faults[0]
    return sorted(records, key=lambda record: record.submission)


def _finished(future: Future[SubmissionRecord], submission: str) -> SubmissionRecord:
    """The record; whatever went wrong on our side names the submission it happened on."""
    try:
        return future.result()
    except (BadRequest, GraderFault):
        raise
    except Exception as error:
        if "GRADER_DEBUG" in os.environ:
            raise
        raise GraderFault(f"on {submission}: {type(error).__name__}: {error}") from None


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"The folder {out} cannot be made: {error.strerror}. Choose another with -o.") from None


def jobs_by_default() -> int:
    """One more than there are cores: it is judged while the others compute."""
    return cores() + 1


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _runs(out: Path) -> dict[str, int]:
    """Module → seed of the runs in a folder of results; none where the file is absent or broken."""
    try:
        runs = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        return {str(name): int(seed) for name, seed in runs.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _earlier_seed(out: Path, module: Module) -> int | None:
    return _runs(out).get(module.name)


def _shared_seed(out: Path, modules: Sequence[Module], fresh: bool) -> int | None:
    """The seed that these modules had before, or a new one; None where they had several."""
    runs = {} if fresh else _runs(out)
    earlier = {runs[module.name] for module in modules if module.name in runs}
    if not earlier:
        return secrets.randbelow(2**31)
    return earlier.pop() if len(earlier) == 1 else None


def _record(out: Path, module: Module, submission: str, digest: str) -> SubmissionRecord | None:
    """The record on disk, if it is of this very submission, graded by these very checks."""
    try:
        record = from_json((out / submission / f"{module.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if record.digest == digest else None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _grading_digest(root: Path, module: str) -> str:
    """A hash of everything that decides a grade besides the submission."""
    patterns = [
        "course.toml",
        "reference/*.py",
        "assignments/given/*.py",
        f"tests/checks/*_{module}.*",
        f"tests/checks/*_{module}_*.*",
        f"tests/mutants/{module}.toml",
    ]
    files = sorted({file for pattern in patterns for file in root.glob(pattern)})
    files += sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
