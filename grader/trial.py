"""Running one submission: public rows, hidden rows and second chances, in workers that share one budget of CPU time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .collecting import RowId
from .outcome import Outcome
from .session import Session, single
from .workers import NOT_RUN, run_job


@dataclass(frozen=True)
class Ran:
    """How the import of a submission went, its outcomes row by row, the forbidden calls seen as `line name`."""

    loaded: Outcome
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    unwatched: bool = False


@dataclass
class Budget:
    """CPU seconds that a submission may still use."""

    left: float


class Trial:
    """One submission and what is left of its CPU time."""

    def __init__(self, session: Session, files: dict[str, str], budget: Budget | None = None) -> None:
        self._session, self._files = session, files
        self._budget = budget or Budget(session.course.limits.submission_cpu_seconds)

    def on(self, files: dict[str, str]) -> "Trial":
        """The same submission with other files around it, on what is left of its time."""
        return Trial(self._session, files, self._budget)

    def run(self, rows: Sequence[RowId], alone: str = "", watched: Sequence[str] = ()) -> Ran:
        """Public rows in one worker, then hidden ones in another: no hidden input can come back as a public value.

        Args:
            alone: a task to run with given in place of those it calls.
            watched: what the module forbids; the last of the two workers looks for it.
        """
        ran = Ran(Outcome("values"))
        public, hidden = [row for row in rows if not row.hidden], [row for row in rows if row.hidden]
        for part in filter(None, (public, hidden)):
            endless = {row.task for row in rows if _ended(ran, row) == "timeout"}
            outcomes = {row.name: Outcome("timeout", why=NOT_RUN) for row in part if row.task in endless}
            to_run = [row for row in part if row.task not in endless]
            if to_run:
                last = part is hidden or not hidden
                found = self._part(to_run, alone, watched if last else ())
                if found.loaded.ended != "values":
                    return found
                ran = replace(found, outcomes=ran.outcomes)
                outcomes |= found.outcomes
            ran = replace(ran, outcomes=ran.outcomes | outcomes)
        return ran

    def again(self, rows: Sequence[RowId], first: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """The rows of one task with given below it; a task that calls no other has had its chance if it was run."""
        task = rows[0].task
        endings = {first[row.name].why for row in rows if first[row.name].ended == "timeout"}
        calls_given = self._session.jobs.given is not None and self._session.module.below(task)
        if not calls_given and endings != {NOT_RUN}:
            return {row.name: first[row.name] for row in rows}
        ran = self.run(rows, alone=task)
        # it imported a moment ago; if it does not now, that is the outcome of every row
        return ran.outcomes or dict.fromkeys((row.name for row in rows), ran.loaded)

    def _part(self, rows: list[RowId], alone: str, watched: Sequence[str]) -> Ran:
        job = self._session.job([self._files], rows, alone, watched)
        job = replace(job, caps=replace(job.caps, submission_cpu_seconds=self._budget.left))
        results = run_job(self._session.students, job, timings=self._session.timings)
        self._budget.left -= results.cpu_seconds
        if results.loaded.ended != "values":
            return Ran(results.loaded)
        return Ran(results.loaded, single(results, rows), results.calls, results.unwatched)


def _ended(ran: Ran, row: RowId) -> str:
    return ran.outcomes[row.name].ended if row.name in ran.outcomes else ""
