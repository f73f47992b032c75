"""Which known mistake gives exactly this output?

A mutant is named only when the submission agrees with it on every row of its task, with given in place of the other
tasks, or on every row of the module with the file as it is. Agreeing means to fail the same rows with the same output;
exceptions that are asked for and not raised yet are set aside, since everybody writes those last. A kit without given
of its own week takes the rows of a task as they are, where nothing below the task fails. Never from one check alone: a
wrong cause is worse than none. Mutants that cannot be told apart are named together.
"""

from collections.abc import Collection, Mapping
from functools import cached_property

from .fingerprint import Fingerprint, recognises
from .mutants import Mutant
from .outcome import Outcome
from .record import Diagnosis
from .session import Session


def diagnose(
    session: Session,
    whole: Mapping[str, Outcome],
    alone: Mapping[str, Outcome],
    shared: Collection[frozenset[str]],
) -> dict[str, Diagnosis]:
    """Task → the mistake recognised in it.

    Args:
        whole: the submission's outcome of each row.
        alone: the same with given in place of the other tasks, for the rows of every task that failed.
        shared: pairs of tasks with a helper in common. A mistake in it shows in both, and given stands in for neither:
            the upper one of two that fail is not named.
    """
    everything = _Side(session, whole)
    complete = {row.task for row in session.rows} == set(session.module.tasks)  # only some tasks may have been run
    tasks: dict[str, list[str]] = {}
    for row in session.rows:
        if row.name in alone:
            tasks.setdefault(row.task, []).append(row.name)
    sides = {task: _Side(session, {name: alone[name] for name in names}) for task, names in tasks.items()}
    failed = {task for task, isolated in sides.items() if isolated.fails}
    found = {}
    for task, isolated in sides.items():
        if any(frozenset((task, other)) in shared for other in failed & session.module.below(task)):
            continue
        as_it_is = _Side(session, {name: whole[name] for name in tasks[task]})
        known = [k for k in session.source.known(task) if k.fails]
        same = [k.mutant for k in known if isolated.agrees(k.alone, k.fails)]
        if session.jobs.given is None:  # what stands below the task is the student's own, as it is the reference's here
            same += [k.mutant for k in known if k.mutant not in same and isolated.agrees_with(k.mutant)]
        if len(same) != 1 and complete:  # the whole module may tell what the task alone cannot
            near = same or [k.mutant for k in known if as_it_is.agrees(k.alone, k.fails)]
            same = [mutant for mutant in near if everything.agrees_with(mutant)] or same
        if same:
            found[task] = _named(same)
    return found


class _Side:
    """Some outcomes of the submission, to be held against a mutant's."""

    def __init__(self, session: Session, outcomes: Mapping[str, Outcome]) -> None:
        self._session = session
        self._outcomes = outcomes

    @cached_property
    def fails(self) -> set[str]:
        """The rows that the submission gets wrong."""
        return {name for name, outcome in self._outcomes.items() if not self._session.passes(name, outcome)}

    def agrees(self, known: Mapping[str, Outcome | Fingerprint], known_fails: Collection[str]) -> bool:
        """Whether both fail the same rows, with the same output on each."""
        expected = self._session.expected
        fails = self.fails
        if not all(expected[name].native.raised for name in known_fails):
            fails = {name for name in fails if name in known_fails or not expected[name].native.raised}
        return fails == known_fails and all(
            recognises(known[name], self._outcomes[name], expected[name]) for name in sorted(fails)
        )

    def agrees_with(self, mutant: Mutant) -> bool:
        """The same for a mutant as a whole file."""
        known = self._session.source.whole(mutant)
        return self.agrees(known, known.keys() & self._outcomes.keys())


def explains(session: Session, task: str, diagnosis: Diagnosis, rows: Collection[str]) -> bool:
    """Whether the recognised mistake fails one of these rows itself."""
    named = diagnosis.mutant.split(" or ")
    return any(known.fails & set(rows) for known in session.source.known(task) if known.mutant.name in named)


def _named(same: list[Mutant]) -> Diagnosis:
    says = " Or: ".join(mutant.says for mutant in same)
    return Diagnosis(" or ".join(mutant.name for mutant in same), says, same[0].hints if len(same) == 1 else [])
