"""The verdict on one row: its outcome held against the expected one, a word for it, and what to tell the student."""

import re
from dataclasses import dataclass

from .collecting import RowId
from .compare import Mismatch, compare
from .explain import explain
from .outcome import Outcome, Raised
from .session import Session

HIDDEN_FATE = {
    "crashed": "the process ended",
    "timeout": "it did not end in time",
    "error": "it raised an exception",
    "missing": "it raised NotImplementedError",
    "failed": "the result is wrong",
}
SIZES = re.compile(r"(\w+)=(\d+)(?=,|$)")  # in the arguments of a row: q_len=5, head_dim=12
GRAVITY = ("crashed", "timeout", "error", "missing", "failed", "passed")  # of a row; the gravest names the check


@dataclass(frozen=True)
class Verdict:
    """One row of one submission, judged."""

    row: RowId
    status: str
    outcome: Outcome
    mismatch: Mismatch | None


def verdict(session: Session, row: RowId, outcome: Outcome) -> Verdict:
    """Compare one outcome with the expected one and put a word to it."""
    mismatch = compare(session.expected[row.name], outcome, session.arguments)
    others = set(session.module.tasks) - {row.task}
    return Verdict(row, _status(outcome, mismatch, others), outcome, mismatch)


def _is_missing(raised: Raised, others: set[str]) -> bool:
    """Whether the task itself is to do; a stub that it calls names another task."""
    if raised.kind == "MissingTask":
        return True
    return raised.kind == "NotImplementedError" and not others & set(re.findall(r"\w+", raised.message))


def _status(outcome: Outcome, mismatch: Mismatch | None, others: set[str]) -> str:
    if mismatch is None:
        return "passed"
    if outcome.ended in ("timeout", "crashed"):
        return outcome.ended
    if outcome.raised and _is_missing(outcome.raised, others):
        return "missing"
    return "error" if mismatch.kind == "raised" else "failed"


def worst_of(verdicts: list[Verdict]) -> Verdict:
    """The verdict that speaks for the check: a public failure before a hidden one, the gravest first."""
    return min(verdicts, key=lambda v: (v.status == "passed", v.row.hidden, GRAVITY.index(v.status)))


def message(session: Session, worst: Verdict, related: bool = True) -> str:
    """What went wrong in a row, in words; of a hidden row only that it did."""
    assert worst.mismatch is not None
    if worst.row.hidden:
        fate = HIDDEN_FATE["failed" if session.course.feedback.hidden == "property" else worst.status]
        return f"Right for the sizes and values in your kit; with others (not shown) {fate}."
    if worst.status == "missing" and not (worst.outcome.raised and worst.outcome.raised.kind == "MissingTask"):
        return "Not written yet."
    sizes = {name: int(size) for name, size in SIZES.findall(worst.row.arguments)}
    text = explain(worst.mismatch, session.signatures[worst.row.task], related, sizes)
    return f"{text}\n(with {worst.row.arguments})" if worst.row.arguments and worst.status != "missing" else text
