"""A student's own file as it is on disk now: read, looked at, graded in whole or for one task."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .collect import Submission, collect
from .course import Course, Module
from .errors import BadRequest
from .pristine import STUBS
from .record import SubmissionRecord, from_json, write_whole

if TYPE_CHECKING:
    from .session import Session

LAST = ".grader"  # the folder of what is only of this machine


@dataclass(frozen=True)
class Own:
    """Where the file is, and the course it belongs to."""

    course: Course
    module: Module
    path: Path

    @property
    def is_default(self) -> bool:
        """Whether it is the file that progress is kept of."""
        return self.path.absolute() == default_path(self.course, self.module)


def default_path(course: Course, module: Module) -> Path:
    return course.root / "assignments" / f"{module.name}.py"


def read(own: Own) -> Submission:
    """The file as a submission; one that cannot be read has its reason as `problem`.

    Raises:
        BadRequest: there is no such file.
    """
    notebook = own.path.with_suffix(".ipynb")
    if not own.path.exists() and notebook.is_file():
        raise BadRequest(
            f"{own.path.name} is not there, but {notebook.name} is: export the notebook as {own.path.name}."
        )
    shipped = own.course.root / STUBS / f"{own.module.name}.py"
    if own.is_default and not own.path.exists() and shipped.is_file():
        raise BadRequest(
            f"assignments/{own.path.name} is not there. To begin anew: cp {STUBS}/{own.path.name} assignments/"
        )
    found = collect(own.path, own.module.name, own.module.upstream)
    if len(found) != 1:
        raise BadRequest(
            f"{own.path} holds {len(found)} submissions; `grader check` looks at one, `grader grade` at many."
        )
    return found[0]


def problem_of(own: Own, submission: Submission) -> str:
    """Why the file cannot even be loaded, as far as its text shows; empty if it may."""
    from .screen import syntax_problem

    return submission.problem or syntax_problem(submission.files[f"{own.module.name}.py"], own.module)


def whole(session: "Session", submission: Submission) -> SubmissionRecord:
    """The record of all tasks."""
    from .grade import grade
    from .options import Options

    return grade(session, submission, submission.digest, Options())


def on_own_parts(session: "Session", own: Own, submission: Submission) -> SubmissionRecord:
    """The record of all tasks, and what becomes of them on the student's own earlier files, as far as those are begun.

    The digest is of the file alone: its points do not hang on the others.
    """
    from .grade import grade
    from .options import Options

    return grade(session, replace(submission, files=_earlier(own) | submission.files), submission.digest, Options())


def _earlier(own: Own) -> dict[str, str]:
    """The earlier modules beside the file; none beside one that was named, and no untouched stub."""
    if not own.is_default:
        return {}
    [found] = collect(own.path.parent, own.module.name, own.module.upstream)
    return {name: text for name, text in found.files.items() if not is_stub(own.course, name, text)}


def is_stub(course: Course, name: str, text: str) -> bool:
    """Whether nothing was written into a file of a kit."""
    stub = course.root / STUBS / name
    return stub.is_file() and stub.read_text(encoding="utf-8") == text


def of_task(session: "Session", submission: Submission, task: str) -> SubmissionRecord:
    """The record of one task, not tried on the student's own earlier files.

    Only its rows are run; a kit without given of its week needs those of the tasks below it to judge it.
    """
    from .grade import grade
    from .options import Options

    name = f"{session.module.name}.py"
    alone = replace(submission, files={name: submission.files[name]})
    record = grade(session.for_task(task), alone, submission.digest, Options())
    checks = [check for check in record.checks if check.task == task]
    return replace(record, checks=checks, score=round(sum(check.points for check in checks), 4))


def keep(own: Own, record: SubmissionRecord) -> None:
    """Leave the record where `grader hint` finds it, and its points where `grader status` does."""
    from .progress import note_points

    if own.is_default:
        write_whole(_last(own), record.to_json())
        note_points(own.course.root, own.module, record)


def last_record(own: Own, submission: Submission) -> SubmissionRecord | None:
    """The record of the last check, if it was of this very text."""
    path = _last(own)
    if not own.is_default or not path.is_file():
        return None
    try:
        record = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):  # an older version's, or cut off: it is checked anew
        return None
    return record if record.digest == submission.digest else None


def _last(own: Own) -> Path:
    return own.course.root / LAST / f"{own.module.name}.json"
