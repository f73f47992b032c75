"""What one grading run of a module shares: the warm zygote of the submissions, and the source of what is right."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from .axes import Signature
from .collecting import RowId
from .compare import compare
from .course import Course, Module
from .device import CPU, check_device, is_gpu
from .errors import BadRequest, GpuOutOfReach
from .expected import Expected
from .frozen import frozen_path, read_frozen
from .isolation import LEVELS, NAMESPACES, not_dumpable
from .jobs import Jobs, jobs_of
from .live import REFERENCE, Live, open_live
from .mutants import Mutant
from .outcome import Outcome
from .source import Source
from .timings import Timings
from .worker import Job
from .workers import Results, Zygote

GIVEN_UP_FOR_GPU: tuple[tuple[str, ...], ...] = (
    (),
    (NAMESPACES,),
    (NAMESPACES, "seccomp"),
    (NAMESPACES, "seccomp", "Landlock"),
    (NAMESPACES, "seccomp", "Landlock", "resource limits", "own user", "no capabilities"),
)


@dataclass
class Session:
    """Shared by all threads of a run."""

    jobs: Jobs
    seed: int
    students: Zygote
    source: Source
    rows: list[RowId]
    timings: Timings = field(default_factory=Timings)

    @property
    def course(self) -> Course:
        return self.jobs.course

    @property
    def module(self) -> Module:
        return self.jobs.module

    @property
    def device(self) -> str:
        return self.jobs.device

    @property
    def expected(self) -> Mapping[str, Expected]:
        return self.source.expected

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return self.source.signatures

    @property
    def mutants(self) -> list[Mutant]:
        return self.source.mutants

    @property
    def live(self) -> Live:
        """The reference and its mutants, for what only an author does."""
        if not isinstance(self.source, Live):
            raise BadRequest(f"This needs {REFERENCE}/{self.jobs.file}, which a kit does not hold.")
        return self.source

    @property
    def isolation(self) -> list[str]:
        assert self.students.isolation is not None
        return self.students.isolation.describe()

    @cached_property
    def arguments(self) -> set[str]:
        return {name for signature in self.signatures.values() for name in signature.names}

    @cached_property
    def seeds(self) -> dict[str, int]:
        return {name: expected.seed for name, expected in self.expected.items()}

    def job(
        self, packages: list[dict[str, str]], rows: Sequence[RowId], alone: str = "", watched: Sequence[str] = ()
    ) -> Job:
        """Every row on every package, with the seeds of the expected outcomes; see Jobs.job."""
        return self.jobs.job(packages, rows, self.seeds, alone, watched)

    def for_course(self, course: Course) -> "Session":
        """The same session under other settings of course.toml."""
        return replace(self, jobs=replace(self.jobs, course=course))

    def can_isolate(self, task: str, failed: Collection[str]) -> bool:
        """Whether a task can be judged by itself: with given below it, or where all below it was run and is right."""
        below = self.module.below(task)
        return self.jobs.given is not None or (below <= {row.task for row in self.rows} and not below & set(failed))

    def for_task(self, task: str) -> "Session":
        """The session with the rows that a verdict on one task takes: without given, also those of all below it."""
        taken = {task} if self.jobs.given is not None else {task} | self.module.below(task)
        return replace(self, rows=[row for row in self.rows if row.task in taken])

    def passes(self, row: str, outcome: Outcome) -> bool:
        return compare(self.expected[row], outcome, self.arguments) is None


def single(results: Results, rows: Sequence[RowId]) -> dict[str, Outcome]:
    """One outcome a row; where the file did not even import, that is the outcome of every row."""
    if results.loaded.ended != "values":
        return {row.name: results.loaded for row in rows}
    return {row.name: outcomes[-1] for row, outcomes in zip(rows, results.outcomes, strict=True)}


@contextmanager
def open_session(
    course: Course,
    module: Module,
    seed: int,
    device: str = CPU,
    require: str = "D",
    skip: Sequence[str] = (),
    timings: Timings | None = None,
    gpu_workers: int = 1,
) -> Iterator[Session]:
    """Start the zygotes, warm them, and compute the expected outcomes, or in a kit read them.

    Args:
        device: where the checks run, see device.py.
        require: the isolation level to insist on, see isolation.py.
        skip: layers to leave out, to test the ones below them.
        timings: where to count the time of each step.
        gpu_workers: how many workers share a GPU.
    Raises:
        BadRequest: the machine cannot give the isolation level, or has no such device.
        BadRequest: a check is of a task that course.toml does not list, or a task has no check.
        BadRequest: a kit's frozen tensors are missing, damaged, or not for these checks or this seed.
    """
    check_files = course.check_files(module.name)
    if not check_files:
        raise BadRequest(f"There are no checks for {module.name}: tests/checks/check_{module.name}.py does not exist.")
    check_device(device)
    reference = course.root / REFERENCE / f"{module.name}.py"
    kit = not reference.is_file()
    not_dumpable()
    timings = timings or Timings()
    secret = frozen_path(course, module) if kit else reference
    jobs = jobs_of(course, module, device, gpu_workers)
    start = partial(_start, 1 if kit else 2, check_files, secret, jobs)
    with timings.step("import torch and the checks"):
        zygotes = _start_for_gpu(start) if is_gpu(device) else start(skip)
    try:
        rows, *_ = [_in_order(zygote.rows, module) for zygote in zygotes]
        _require(zygotes[0], require)
        warm = jobs.job([jobs.given] if jobs.given else [], rows, {})
        with timings.step("warm up on given"), ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda zygote: zygote.warm(warm), zygotes))
        if kit:
            source: Source = read_frozen(course, module, rows, seed, device)
        else:
            source = open_live(jobs, zygotes[1], rows, seed, timings)
        yield Session(jobs, seed, zygotes[0], source, rows, timings)
    finally:
        for zygote in zygotes:
            zygote.close()


def _start(count: int, check_files: Sequence[Path], secret: Path, jobs: Jobs, skip: Sequence[str]) -> list[Zygote]:
    """Zygotes that have collected their checks; the canaries of a first worker have been heard."""
    zygotes = [Zygote(check_files, secret, skip, jobs.device) for _ in range(count)]
    try:
        for zygote in zygotes:
            _ = zygote.rows
        zygotes[0].probe(jobs.caps)
    except BaseException:
        for zygote in zygotes:
            zygote.close()
        raise
    return zygotes


def _start_for_gpu(start: Callable[[Sequence[str]], list[Zygote]]) -> list[Zygote]:
    """Zygotes whose workers reach the GPU: drivers differ in what they need, so layers are given up one by one."""
    for skip in GIVEN_UP_FOR_GPU:
        try:
            return start(skip)
        except GpuOutOfReach as error:
            why = error
    raise BadRequest(f"No worker can open the GPU: {why}. Use --device cpu.")


def _require(students: Zygote, wanted: str) -> None:
    found = students.isolation
    assert found is not None
    if LEVELS.index(found.level) > LEVELS.index(wanted):
        raise BadRequest(f"--require-isolation {wanted}: this machine gives {'; '.join(found.describe())}.")


def _in_order(rows: list[RowId], module: Module) -> list[RowId]:
    """The rows of every task of the module, in the order of course.toml."""
    checked, tasks = {row.task for row in rows}, list(module.tasks)
    for task in checked - set(tasks):
        raise BadRequest(f"A check grades '{task}', which course.toml does not list under {module.name}.")
    for task in set(tasks) - checked:
        raise BadRequest(f"course.toml gives points for '{task}' of {module.name}, but no check grades it.")
    return sorted(rows, key=lambda row: tasks.index(row.task))
