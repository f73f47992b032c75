"""The reports of a folder of results, drawn from its records: grades.csv, the class pages and a page a submission."""

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .collect import PAGES, TAKEN
from .course import Course
from .html import class_page, course_page, submission_page
from .record import SubmissionRecord, from_json, write_whole
from .text import number, plain

COLUMNS = ("submission", "module", "score", "max_score", "status")
# A spreadsheet runs a cell that begins with one of these; the full-width forms count in some locales.
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def write_page(folder: Path, course: Course, record: SubmissionRecord, alone: bool) -> None:
    """Write FOLDER/<submission>/<module>.html; `alone` where the results are of one module, and index.html its page."""
    page = submission_page(record, course, course.module(record.module), alone)
    write_whole(_home(folder, record.submission) / f"{record.module}.html", page)


def write_reports(
    folder: Path, course: Course, records: list[SubmissionRecord], pages: list[SubmissionRecord] | None = None
) -> None:
    """Write FOLDER/grades.csv, FOLDER/<submission>/<module>.html and FOLDER/index.html, in the order of the names.

    Where the records are of several modules, index.html has a column a module and the class page of each stands in
    FOLDER/modules.

    Args:
        pages: those of the records that still need a page of their own; None for all.
    Raises:
        ValueError: the name of a submission is not the name of a folder. Nothing is written then.
    """
    modules = [module for name, module in course.modules.items() if any(name == record.module for record in records)]
    place = {module.name: number for number, module in enumerate(modules)}
    ordered = sorted(records, key=lambda r: (r.submission.casefold(), r.submission, place[r.module]))
    for record in ordered:
        _home(folder, record.submission)
    write_whole(folder / "grades.csv", grades_csv(ordered))
    alone = len(modules) <= 1
    for record in ordered if pages is None else pages:
        write_page(folder, course, record, alone)
    for module in modules:
        mine = [record for record in ordered if record.module == module.name]
        file = folder / "index.html" if alone else folder / PAGES / f"{module.name}.html"
        write_whole(file, class_page(mine, course, module, alone))
    if not alone:
        write_whole(folder / "index.html", course_page(ordered, course, modules))  # last: it links to the others


def records_in(folder: Path, modules: Iterable[str]) -> list[SubmissionRecord]:
    """The records of a folder of results; one that cannot be read is left out, and graded anew by the next run."""
    found = []
    for name in modules:
        for file in sorted(folder.glob(f"*/{name}.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                found.append(from_json(file.read_text(encoding="utf-8")))
    return found


def grades_csv(records: list[SubmissionRecord]) -> str:
    """One row a submission, under the header that others read it by."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for record in records:
        name, module, status = map(_cell, (record.submission, record.module, record.status))
        rows.writerow([name, module, number(record.score), number(record.max_score), status])
    return text.getvalue()


def _cell(text: str) -> str:
    """The text, marked with a quote where a spreadsheet would take it for a formula."""
    shown = plain(text)
    return "'" + shown if shown[:1] in {"\t", "\r", "\n"} or shown.lstrip().startswith(FORMULA) else shown


def _home(folder: Path, submission: str) -> Path:
    """The folder of a submission. The names come from strangers: none may lead elsewhere or hide a report."""
    if submission in {".", "..", *TAKEN} or Path(submission).name != submission:
        raise ValueError(f"The submission name {submission!r} is not the name of a folder; collect must refuse it.")
    return folder / submission
