"""The student's own files all the way down: do the checks that pass with given parts pass with them too?

Points hang on given parts only. When a check changes its mind, the first earlier module is named for which given up to
it and the student's own after it pass.
"""

from dataclasses import replace

from .assemble import assemble
from .collect import Submission
from .collecting import RowId
from .record import Chain
from .session import Session
from .trial import Trial
from .verdict import Verdict, message, verdict


def try_chain(session: Session, submission: Submission, trial: Trial, passed: list[RowId]) -> Chain | None:
    """What becomes of rows that pass with given parts; None where the student has no earlier file, or no such row.

    Args:
        trial: of the submission with given parts; the chain runs on what is left of its computing time.
        passed: the public rows that pass with given parts.
    """
    own = [name for name in session.module.upstream if f"{name}.py" in submission.files]
    if not own or not passed:
        return None
    lost = _lost(session, submission, trial, passed)
    if not lost:
        return Chain(own, len(passed), 0)
    for at, name in enumerate(own[:-1], 1):
        kept = {file: text for file, text in submission.files.items() if file.removesuffix(".py") not in own[:at]}
        if not _lost(session, replace(submission, files=kept), trial, [found.row for found in lost]):
            return _blamed(session, own, name, passed, lost)
    return _blamed(session, own, own[-1], passed, lost)


def _lost(session: Session, submission: Submission, trial: Trial, rows: list[RowId]) -> list[Verdict]:
    """The rows that fail on the student's own files."""
    files = assemble(session.course, session.module, submission.files, upstream="own")
    ran = trial.on(files).run(rows)
    outcomes = ran.outcomes or dict.fromkeys((row.name for row in rows), ran.loaded)
    verdicts = [verdict(session, row, outcomes[row.name]) for row in rows]
    return [found for found in verdicts if found.status != "passed"]


def _blamed(session: Session, own: list[str], name: str, passed: list[RowId], lost: list[Verdict]) -> Chain:
    first = lost[0]
    raised = first.outcome.raised
    if first.status == "missing" or (raised and raised.kind == "NotImplementedError"):
        why = f"Something in {name}.py is not written yet."
    else:
        why = f"{first.row.sentence}\n{message(session, first, related=False)}"
    return Chain(own, len(passed), len(lost), name, why)
