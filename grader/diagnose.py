"""Which known mistake gives exactly this output?

A mutant is named only when it agrees with the submission on every row: (1) of the whole module, or (2) of its own
task, where it fails at least one, with given in place of the other tasks. Never from one check alone: a wrong cause
is worse than none. Mutants that cannot be told apart are named together.
"""

from collections.abc import Iterable, Mapping

from .compare import same_output
from .outcome import Outcome
from .record import Diagnosis
from .session import Known, Session


def diagnose(session: Session, whole: Mapping[str, Outcome], alone: Mapping[str, Outcome]) -> dict[str, Diagnosis]:
    """Task → the mistake recognised in it.

    Args:
        whole: the submission's outcome of each row.
        alone: the same with given in place of the other tasks, for the rows of every task that failed.
    """
    failed = {row for row, outcome in whole.items() if not session.passes(row, outcome)}
    failed_alone = {row for row, outcome in alone.items() if not session.passes(row, outcome)}
    tasks = {row.task for row in session.rows if row.name in failed | failed_alone}
    found: dict[str, Diagnosis] = {}
    candidates = [session.known(mutant) for mutant in session.mutants if mutant.task in tasks]
    for task in tasks:
        mine = [known for known in candidates if known.mutant.task == task]
        same = [k for k in mine if k.fails_whole and _agrees(session, k.whole, k.fails_whole, whole, failed)]
        rows = {row.name: alone[row.name] for row in session.rows if row.task == task and row.name in alone}
        same = same or [
            k for k in mine if k.fails_alone and _agrees(session, k.alone, k.fails_alone, rows, failed_alone)
        ]
        if same:
            found[task] = _named(same)
    return found


def _agrees(
    session: Session,
    known: Mapping[str, Outcome],
    known_fails: frozenset[str],
    outcomes: Mapping[str, Outcome],
    fails: Iterable[str],
) -> bool:
    """Whether both fail the same rows, with the same output on each."""
    mine = set(fails) & set(outcomes)
    return mine == known_fails and all(same_output(known[row], outcomes[row], session.expected[row]) for row in mine)


def _named(same: list[Known]) -> Diagnosis:
    mutants = [known.mutant for known in same]
    says = " Or: ".join(mutant.says for mutant in mutants)
    return Diagnosis(" or ".join(mutant.name for mutant in mutants), says, mutants[0].hints if len(same) == 1 else [])
