"""What one grading run of a module shares: the two zygotes, the expected outcomes, the known mistakes."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from .assemble import GIVEN_FOLDER, from_folder
from .axes import Signature, signatures
from .collecting import RowId
from .compare import compare
from .course import Course, Module
from .errors import BadRequest
from .expected import Expected, expect
from .mutants import Mutant, apply, load_mutants
from .outcome import Outcome
from .sandbox import Caps
from .worker import Job, Run
from .workers import Results, Zygote, run_job

NATIVE = [(False, 0)]


@dataclass(frozen=True)
class Known:
    """A mutant's outcomes: as a whole file, and with given in place of its other tasks (rows of its own task)."""

    mutant: Mutant
    whole: dict[str, Outcome]
    alone: dict[str, Outcome]
    fails_whole: frozenset[str]
    fails_alone: frozenset[str]


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
    _known: dict[str, Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def job(self, files: dict[str, str], rows: Sequence[RowId], alone: bool = False) -> Job:
        """A job over some rows, with the seeds of the expected outcomes."""
        runs = [Run(row.name, self.expected[row.name].seed if self.expected else 0, NATIVE) for row in rows]
        caps = Caps(**asdict(self.course.limits))
        given = self.given if alone else None
        return Job(self.module.name, files, runs, given, list(self.module.tasks), self.device, caps)

    def passes(self, row: str, outcome: Outcome) -> bool:
        return compare(self.expected[row], outcome, self.arguments) is None

    @property
    def arguments(self) -> set[str]:
        return {name for signature in self.signatures.values() for name in signature.names}

    def known(self, mutant: Mutant) -> Known:
        """The outcomes of a mutant, computed the first time somebody's failure makes it a candidate."""
        with self._lock:
            if mutant.name not in self._known:
                self._known[mutant.name] = self._run_mutant(mutant)
            return self._known[mutant.name]

    def _run_mutant(self, mutant: Mutant) -> Known:
        file = f"{self.module.name}.py"
        files = self.reference | {file: apply(mutant, self.reference[file])}
        own = [row for row in self.rows if row.task == mutant.task]
        whole = single(run_job(self.trusted, self.job(files, self.rows)), self.rows)
        alone = single(run_job(self.trusted, self.job(files, own, alone=True)), own)
        fails = [frozenset(r for r, out in outs.items() if not self.passes(r, out)) for outs in (whole, alone)]
        return Known(mutant, whole, alone, *fails)


def single(results: Results, rows: Sequence[RowId]) -> dict[str, Outcome]:
    """One outcome a row; where the file did not even import, that is the outcome of every row."""
    if results.loaded.ended != "values":
        return {row.name: results.loaded for row in rows}
    return {row.name: results.rows[row.name][-1] for row in rows}


@contextmanager
def open_session(course: Course, module: Module, seed: int, device: str = "cpu") -> Iterator[Session]:
    """Start the zygotes, warm them on given and compute the expected outcomes.

    Raises:
        BadRequest: a check is of a task that course.toml does not list, or a task has no check.
    """
    check_file = course.checks_file(module.name)
    if not check_file.is_file():
        raise BadRequest(f"There are no checks for {module.name}: {check_file} does not exist.")
    students, trusted = Zygote(check_file), Zygote(check_file)
    try:
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
            rows=students.rows,
        )
        _same_tasks(session)
        warm = session.job(session.given, session.rows)
        threads = [threading.Thread(target=zygote.warm, args=(warm,)) for zygote in (students, trusted)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reference_job = session.job(reference, [])
        session.expected |= expect(trusted, replace(reference_job), session.rows, seed)
        yield session
    finally:
        students.close()
        trusted.close()


def _same_tasks(session: Session) -> None:
    checked = {row.task for row in session.rows}
    for task in checked - set(session.module.tasks):
        raise BadRequest(f"A check grades '{task}', which course.toml does not list under {session.module.name}.")
    for task in set(session.module.tasks) - checked:
        raise BadRequest(f"course.toml gives points for '{task}' of {session.module.name}, but no check grades it.")
