"""What one grading run of a module shares: the two zygotes, the expected outcomes, the known mistakes."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from .assemble import GIVEN_FOLDER, from_folder, only
from .axes import Signature, signatures
from .collecting import RowId
from .compare import compare
from .course import Course, Module
from .errors import BadRequest, GraderFault
from .expected import NATIVE, Expected, expect
from .isolation import LEVELS, not_dumpable
from .mutants import Mutant, apply, load_mutants
from .outcome import Outcome
from .sandbox import Caps
from .timings import Timings
from .worker import Job, Run
from .workers import Results, Zygote, run_job


@dataclass(frozen=True)
class Known:
    """A mutant's outcomes on the rows of its own task, with given in place of the other tasks."""

    mutant: Mutant
    alone: dict[str, Outcome]
    fails: frozenset[str]


@dataclass
class Session:
    """Shared by all threads of a run; only the cache of known mistakes grows."""

    course: Course
    module: Module
    seed: int
    device: str
    students: Zygote
    trusted: Zygote
    given: dict[str, str]
    reference: dict[str, str]
    signatures: dict[str, Signature]
    mutants: list[Mutant]
    rows: list[RowId]
    expected: dict[str, Expected] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)
    _known: dict[str, list[Known]] = field(default_factory=dict)
    _mutated: dict[str, str] = field(default_factory=dict)
    _whole: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def job(
        self, packages: list[dict[str, str]], rows: Sequence[RowId], alone: str = "", watched: Sequence[str] = ()
    ) -> Job:
        """Every row on every package, with the seeds of the expected outcomes.

        Args:
            alone: a task to check with given in place of those it calls. Given's own version of the task, and of what
                calls it, is not sent: a submission could find and use it.
            watched: what the package may not call.
        """
        seeds = {name: expected.seed for name, expected in self.expected.items()}
        runs = [
            Run(row.name, row.task, seeds.get(row.name, 0), [NATIVE], package)
            for package in range(len(packages))
            for row in rows
        ]
        caps = Caps(**asdict(self.course.limits))
        tasks, below = list(self.module.tasks), self.module.below(alone) if alone else set()
        given = (
            self.given | {self._file: only(self.given[self._file], tuple(tasks), frozenset(below))} if below else None
        )
        return Job(self.module.name, packages, runs, given, tasks, self.device, caps, list(watched))

    @property
    def _file(self) -> str:
        return f"{self.module.name}.py"

    def passes(self, row: str, outcome: Outcome) -> bool:
        return compare(self.expected[row], outcome, self.arguments) is None

    @property
    def isolation(self) -> list[str]:
        assert self.students.isolation is not None
        return self.students.isolation.describe()

    @cached_property
    def arguments(self) -> set[str]:
        return {name for signature in self.signatures.values() for name in signature.names}

    def known(self, task: str) -> list[Known]:
        """The mutants of a task with their outcomes, computed the first time that somebody fails it."""
        with self._lock:
            if task not in self._known:
                with self.timings.step("known mistakes of a task"):
                    self._known[task] = self._run_mutants(task)
            return self._known[task]

    def whole(self, mutant: Mutant) -> dict[str, Outcome]:
        """A mutant's outcome on every row of the module, computed when its own task has been recognised."""
        with self._lock:
            if mutant.name not in self._whole:
                [self._whole[mutant.name]] = self.outcomes([mutant], self.rows)
            return self._whole[mutant.name]

    def outcomes(self, mutants: Sequence[Mutant], rows: Sequence[RowId], alone: str = "") -> list[dict[str, Outcome]]:
        """Each mutant's outcomes of some rows. They share a worker: nothing has to be kept from our own code."""
        if not (mutants and rows):
            return [{} for _ in mutants]
        job = self.job([self.reference | {self._file: self.mutated(mutant)} for mutant in mutants], rows, alone)
        seconds = job.caps.submission_cpu_seconds * len(mutants)
        job = replace(job, caps=replace(job.caps, submission_cpu_seconds=seconds))
        results = run_job(self.trusted, job, timeouts_allowed=len(job.runs))
        if results.loaded.ended != "values":
            raise GraderFault(f"one of the mutants {', '.join(m.name for m in mutants)} does not import")
        outcomes = iter(results.outcomes)
        return [{row.name: next(outcomes)[-1] for row in rows} for _ in mutants]

    def _run_mutants(self, task: str) -> list[Known]:
        mutants = [mutant for mutant in self.mutants if mutant.task == task]
        found = self.outcomes(mutants, [row for row in self.rows if row.task == task], alone=task)
        known = []
        for mutant, alone in zip(mutants, found, strict=True):
            fails = frozenset(name for name, outcome in alone.items() if not self.passes(name, outcome))
            known.append(Known(mutant, alone, fails))
        return known

    def mutated(self, mutant: Mutant) -> str:
        """The reference file with the mistake in it."""
        if mutant.name not in self._mutated:
            self._mutated[mutant.name] = apply(mutant, self.reference[self._file])
        return self._mutated[mutant.name]


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
    device: str = "cpu",
    require: str = "D",
    skip: Sequence[str] = (),
    timings: Timings | None = None,
) -> Iterator[Session]:
    """Start the zygotes, warm them on given and compute the expected outcomes.

    Args:
        require: the isolation level to insist on, see isolation.py.
        skip: layers to leave out, to test the ones below them.
        timings: where to count the time of each step.
    Raises:
        BadRequest: the machine cannot give the isolation level.
        BadRequest: a check is of a task that course.toml does not list, or a task has no check.
    """
    check_files = course.check_files(module.name)
    if not check_files:
        raise BadRequest(f"There are no checks for {module.name}: tests/checks/check_{module.name}.py does not exist.")
    secret = course.root / "reference" / f"{module.name}.py"
    not_dumpable()
    timings = timings or Timings()
    students, trusted = (Zygote(check_files, secret, skip) for _ in range(2))
    try:
        with timings.step("import torch and the checks"):
            _ = students.rows, trusted.rows
        reference = from_folder(course, module, "reference")
        mutants = load_mutants(course.root / "tests" / "mutants" / f"{module.name}.toml", module)
        session = Session(
            course=course,
            module=module,
            seed=seed,
            device=device,
            students=students,
            trusted=trusted,
            given=from_folder(course, module, GIVEN_FOLDER),
            reference=reference,
            signatures=signatures(reference[f"{module.name}.py"]),
            mutants=mutants,
            rows=_in_order(students.rows, module),
            timings=timings,
        )
        _require(session, require)
        warm = session.job([session.given], session.rows)
        with timings.step("warm up on given"), ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda zygote: zygote.warm(warm), (students, trusted)))
        with timings.step("expected outcomes"):
            session.expected |= expect(trusted, session.job([reference], []), session.rows, seed)
        yield session
    finally:
        students.close()
        trusted.close()


def _require(session: Session, wanted: str) -> None:
    found = session.students.probe(Caps(**asdict(session.course.limits)))
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
