"""Running one submission: public rows, hidden rows and second chances, in workers that share one budget of CPU time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .collecting import RowId
from .outcome import Outcome
from .session import Session, single
from .workers import NOT_RUN, run_job

# Said in place of its own words, which may hold what it has seen of hidden rows.
SECOND_IMPORT = "it failed, although it was imported without an error a moment before"


@dataclass(frozen=True)
class Ran:
    """How the import of a submission went, its outcomes row by row, the forbidden calls seen as `line name`.

    `unshown` are those beside hidden rows: their lines could spell out an input.
    """

    loaded: Outcome
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    unshown: list[str] = field(default_factory=list)
    unwatched: bool = False


@dataclass
class Budget:
    """Seconds that a submission may still use."""

    cpu: float
    wall: float


class Trial:
    """One submission and what is left of its CPU time."""

    def __init__(self, session: Session, files: dict[str, str], budget: Budget | None = None) -> None:
        self._session, self._files = session, files
        caps = session.jobs.caps
        self._budget = budget or Budget(caps.submission_cpu_seconds, caps.submission_wall_seconds)

    def on(self, files: dict[str, str]) -> "Trial":
        """The same submission with other files around it, on what is left of its time."""
        return Trial(self._session, files, self._budget)

    def run(self, rows: Sequence[RowId], watched: Sequence[str] = ()) -> Ran:
        """Public rows in one worker, then hidden ones in another: no hidden input can come back as a public value.

        Args:
            watched: what the module forbids, to be looked for.
        """
        ran = Ran(Outcome("values"))
        public, hidden = [row for row in rows if not row.hidden], [row for row in rows if row.hidden]
        for part in filter(None, (public, hidden)):
            endless = {row.task for row in rows if _ended(ran, row) == "timeout"}
            outcomes = {row.name: Outcome("timeout", why=NOT_RUN) for row in part if row.task in endless}
            to_run = [row for row in part if row.task not in endless]
            if to_run:
                found = self._part(to_run, watched)
                if found.loaded.ended != "values":
                    again = part is hidden and public
                    return replace(found, loaded=Outcome("crashed", why=SECOND_IMPORT)) if again else found
                outcomes |= found.outcomes
                calls, unshown = ran.calls + found.calls, ran.unshown + found.unshown
                ran = replace(ran, calls=calls, unshown=unshown, unwatched=ran.unwatched or found.unwatched)
            ran = replace(ran, outcomes=ran.outcomes | outcomes)
        return ran

    def again(self, rows: Sequence[RowId], first: Mapping[str, Outcome], watched: Sequence[str] = ()) -> Ran:
        """The rows of one task with given below it; a task that calls no other has had its chance if it was run.

        One worker runs public and hidden rows: their values decide whether the task is right, and nobody is shown them.
        """
        task = rows[0].task
        endings = {first[row.name].why for row in rows if first[row.name].ended == "timeout"}
        calls_given = self._session.jobs.given is not None and self._session.module.below(task)
        if not calls_given and endings != {NOT_RUN}:
            return Ran(Outcome("values"), {row.name: first[row.name] for row in rows})
        ran = self._part(rows, watched, alone=task)
        # it imported a moment ago; if it does not now, that is the outcome of every row
        return replace(ran, outcomes=ran.outcomes or dict.fromkeys((row.name for row in rows), ran.loaded))

    def _part(self, rows: Sequence[RowId], watched: Sequence[str], alone: str = "") -> Ran:
        """Rows in one worker; `alone` is a task to run with given in place of those it calls."""
        job = self._session.job([self._files], rows, alone, watched)
        left = self._budget
        caps = replace(job.caps, submission_cpu_seconds=left.cpu, submission_wall_seconds=left.wall)
        job = replace(job, caps=caps)
        results = run_job(self._session.students, job, timings=self._session.timings)
        left.cpu -= results.cpu_seconds
        left.wall -= results.wall_seconds
        if results.loaded.ended != "values":
            return Ran(results.loaded)
        calls, unshown = ([], results.calls) if any(row.hidden for row in rows) else (results.calls, [])
        return Ran(results.loaded, single(results, rows), calls, unshown, results.unwatched)


def _ended(ran: Ran, row: RowId) -> str:
    return ran.outcomes[row.name].ended if row.name in ran.outcomes else ""
