"""`grader hint`: the next hint for a task, from the last check of the very file or from a new one."""

from collections.abc import Iterator

from .errors import BadRequest, suggest
from .hints import Asked, Hint, hints, mistake
from .opening import open_session
from .own_file import Own, keep, last_record, read, whole
from .progress import UNKNOWN, note_hint, read_progress
from .record import CheckRecord, SubmissionRecord

COUNTED = {
    "free": "Hints are counted in progress.txt, for you alone.",
    "reported": "Hints are counted in progress.txt; your course asks for the number.",
}


def next_hint(own: Own, task: str, seed: int) -> Iterator[str]:
    """One hint more than there was the last time, in lines to print.

    Raises:
        BadRequest: there is no such task, or the file cannot be run.
    """
    if task and task not in own.module.tasks:
        raise BadRequest(f"{own.module.name} has no task '{task}'.{suggest(task, own.module.tasks)}")
    submission = read(own)
    record = last_record(own, submission) or _checked(own, seed)
    if record.problem:
        raise BadRequest(f"A hint needs a file that can be run. {record.problem.splitlines()[0]}")
    name = task or _first_open(own, record)
    if not name:
        yield f"Everything in {own.module.name} is right. To hand it in: grader submit {own.module.name}"
        return
    checks = tuple(check for check in record.checks if check.task == name)
    source = submission.files[f"{own.module.name}.py"]
    there = hints(Asked(own.course, own.module, name, checks, own.path, source))
    yield from _told(own, name, checks, there)


def _told(own: Own, task: str, checks: tuple[CheckRecord, ...], there: list[Hint]) -> Iterator[str]:
    """The hint after those that were taken before; the last one again where there is none after it."""
    name = f"{own.module.tasks[task].number} {task}"
    if there[0].level == "background":
        yield f"{name} is right. Its background:"
        yield from (f"  {line}" for line in there[0].lines)
        return
    key = (f"{own.module.name}.{task}", mistake(checks) or UNKNOWN)
    taken = read_progress(own.course.root).hints.get(key)
    before = taken.count if taken and own.is_default else 0
    count = min(before + 1, len(there))
    again = " (the last one, again)" if before == len(there) else ""
    yield f"{name}, hint {count} of {len(there)}: {there[count - 1].title}{again}"
    yield from (f"  {line}" for line in there[count - 1].lines)
    if own.is_default and count > before:
        note_hint(own.course.root, key[0], key[1], count)
        yield COUNTED[own.course.feedback.hints]


def _checked(own: Own, seed: int) -> SubmissionRecord:
    with open_session(own.course, own.module, seed) as session:
        record = whole(session, read(own))
    keep(own, record)
    return record


def _first_open(own: Own, record: SubmissionRecord) -> str:
    open_tasks = {check.task for check in record.checks if check.status != "passed"}
    return next((task for task in own.module.tasks if task in open_tasks), "")
