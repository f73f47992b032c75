"""What one grading run of a module shares: the warm zygote of the submissions, and the source of what is right."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .axes import Signature, argument_names
from .collecting import RowId
from .compare import compare
from .course import REFERENCE, Course, Module
from .errors import BadRequest
from .expected import Expected
from .jobs import Jobs
from .live import Live
from .mutants import Mutant
from .outcome import Outcome
from .source import Source
from .timings import Timings
from .worker import Job
from .workers import Results
from .zygotes import Zygote


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
        return argument_names(self.signatures)

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
