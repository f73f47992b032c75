"""The reports of a grading run, drawn from its records: grades.csv, the class page and a page a submission."""

import csv
import io
from pathlib import Path

from .collect import TAKEN
from .course import Course, Module
from .html import class_page, submission_page
from .record import SubmissionRecord, write_whole
from .text import number, plain

COLUMNS = ("submission", "module", "score", "max_score", "status")
# A spreadsheet runs a cell that begins with one of these; the full-width forms count in some locales.
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def write_reports(folder: Path, records: list[SubmissionRecord], course: Course, module: Module) -> None:
    """Write FOLDER/grades.csv, FOLDER/<submission>/index.html and FOLDER/index.html, in the order of the names.

    Raises:
        ValueError: the name of a submission is not the name of a folder. Nothing is written then.
    """
    ordered = sorted(records, key=lambda record: (record.submission.casefold(), record.submission))
    homes = [_home(folder, record.submission) for record in ordered]
    write_whole(folder / "grades.csv", grades_csv(ordered))
    for home, record in zip(homes, ordered, strict=True):
        write_whole(home / "index.html", submission_page(record, course, module))
    write_whole(folder / "index.html", class_page(ordered, course, module))  # last: it links to the others


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
