"""Bad arguments refused, beside good ones answered: who refuses everything has done nothing."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from .record import CheckRecord
from .session import Session


def hold_back(session: Session, checks: Sequence[CheckRecord], returned: Collection[str]) -> list[CheckRecord]:
    """The checks, without points for what a task refuses as long as it returns nothing where it should.

    Args:
        returned: the rows in which the submission returned something, right or wrong.
    """
    answers = [row for row in session.rows if session.expected[row.name].native.ended == "values"]
    idle = {row.task for row in answers} - {row.task for row in answers if row.name in returned}
    return [_held_back(check) if check.task in idle and check.status == "passed" else check for check in checks]


def _held_back(check: CheckRecord) -> CheckRecord:
    text = f"It is refused, as it should be. That counts as soon as {check.task} returns something where it should."
    return replace(check, status="failed", points=0.0, message=text)
