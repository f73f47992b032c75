"""The source of truth of whoever holds the reference: it and its mutants are run, in a zygote of their own."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .assemble import from_folder
from .axes import Signature, argument_names, signatures
from .collecting import RowId
from .compare import compare
from .course import REFERENCE
from .errors import GraderFault
from .expected import Expected, expect
from .jobs import Jobs
from .mutants import Mutant, apply, load_mutants
from .outcome import Outcome
from .source import Known
from .timings import Timings
from .workers import run_job
from .zygotes import Zygote

BATCH = 16  # mutants that share a worker


def batches(mutants: Sequence[Mutant]) -> list[Sequence[Mutant]]:
    """Mutants in groups that share a worker."""
    return [mutants[i : i + BATCH] for i in range(0, len(mutants), BATCH)]


@dataclass
class Live:
    """Shared by all threads of a run; only the caches of known mistakes grow."""

    jobs: Jobs
    trusted: Zygote
    rows: list[RowId]
    reference: dict[str, str]
    signatures: dict[str, Signature]
    mutants: list[Mutant]
    expected: dict[str, Expected]
    timings: Timings
    _known: dict[str, list[Known[Outcome]]] = field(default_factory=dict)
    _mutated: dict[str, str] = field(default_factory=dict)
    _whole: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self, task: str) -> list[Known[Outcome]]:
        """The mutants of a task with their outcomes, computed the first time that somebody fails it."""
        with self._lock:
            if task not in self._known:
                with self.timings.step("known mistakes of a task"):
                    self._known[task] = self._run_mutants(task)
            return self._known[task]

    def whole(self, mutant: Mutant) -> Mapping[str, Outcome]:
        """The outcomes of a mutant as a whole file on the rows it fails, computed when its own task is recognised."""
        with self._lock:
            if mutant.name not in self._whole:
                [found] = self.outcomes([mutant], self.rows)
                self._whole[mutant.name] = {name: found[name] for name in self.failed(found)}
            return self._whole[mutant.name]

    def outcomes(self, mutants: Sequence[Mutant], rows: Sequence[RowId], alone: str = "") -> list[dict[str, Outcome]]:
        """Each mutant's outcomes of some rows. They share a worker: nothing has to be kept from our own code."""
        if not (mutants and rows):
            return [{} for _ in mutants]
        packages = [self.reference | {self.jobs.file: self.mutated(mutant)} for mutant in mutants]
        job = self.jobs.job(packages, rows, {name: expected.seed for name, expected in self.expected.items()}, alone)
        cpu, wall = job.caps.submission_cpu_seconds * len(mutants), job.caps.submission_wall_seconds * len(mutants)
        job = replace(job, caps=replace(job.caps, submission_cpu_seconds=cpu, submission_wall_seconds=wall))
        results = run_job(self.trusted, job, timeouts_allowed=len(job.runs))
        if results.loaded.ended != "values":
            raise GraderFault(f"one of the mutants {', '.join(m.name for m in mutants)} does not import")
        outcomes = iter(results.outcomes)
        return [{row.name: next(outcomes)[-1] for row in rows} for _ in mutants]

    def failed(self, outcomes: Mapping[str, Outcome]) -> frozenset[str]:
        """The rows whose outcome is wrong."""
        arguments = argument_names(self.signatures)
        return frozenset(name for name, got in outcomes.items() if compare(self.expected[name], got, arguments))

    def mutated(self, mutant: Mutant) -> str:
        """The reference file with the mistake in it."""
        if mutant.name not in self._mutated:
            self._mutated[mutant.name] = apply(mutant, self.reference[self.jobs.file])
        return self._mutated[mutant.name]

    def _run_mutants(self, task: str) -> list[Known[Outcome]]:
        mutants = [mutant for mutant in self.mutants if mutant.task == task]
        found = self.outcomes(mutants, [row for row in self.rows if row.task == task], alone=task)
        return [Known(mutant, alone, self.failed(alone)) for mutant, alone in zip(mutants, found, strict=True)]


def open_live(jobs: Jobs, trusted: Zygote, rows: list[RowId], seed: int, timings: Timings) -> Live:
    """Load the reference and compute the expected outcomes in a zygote that has been warmed."""
    module = jobs.module
    reference = from_folder(jobs.course, module, REFERENCE)
    path = jobs.course.root / "tests" / "mutants" / f"{module.name}.toml"
    with timings.step("expected outcomes"):
        expected = expect(trusted, jobs.job([reference], [], {}), rows, seed)
    spoken = signatures(reference[jobs.file])
    return Live(jobs, trusted, rows, reference, spoken, load_mutants(path, module), expected, timings)
