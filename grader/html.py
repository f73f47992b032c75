"""The HTML pages: what they say is put together here, how it looks stands in templates/.

Everything a record holds is data from a stranger. Autoescape covers the markup and `finalize` passes each text through
plain(), so no template can forget either; the page's own policy forbids scripts and every load from elsewhere.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .course import Course, Module
from .picture import draw, histogram
from .record import CheckRecord, SubmissionRecord
from .text import number, one_line, plain

if TYPE_CHECKING:
    from jinja2 import Environment

GLOSS = {
    "passed": "the same outcome as the model answer",
    "failed": "ran, and gave something else",
    "error": "raised an exception",
    "missing": "not written yet",
    "forbidden": "used a call that the task does not allow",
    "timeout": "took longer than the limit",
    "crashed": "ended the process: killed, out of memory, or exited",
    "blocked": "could not run, because the file did not import",
    "graded": "every check has a verdict",
    "not_importable": "the file could not be imported; it counts as zero",
    "unreadable": "no file of this module could be read; it counts as zero",
}
CAUSE_WIDTH = 140  # characters of a cause in a table


@dataclass(frozen=True)
class TaskResult:
    """One task of one submission, the checks sorted by what to read first."""

    name: str
    points: float
    max_points: float
    own: list[CheckRecord]  # lost, and not because of another task
    caused: dict[
        str, list[CheckRecord]
    ]  # by the task whose failure explains them; passed where a second chance counted
    passed: list[CheckRecord]
    breaks: int  # checks of other tasks that this one explains

    @property
    def total(self) -> int:
        return len(self.own) + sum(map(len, self.caused.values())) + len(self.passed)

    @property
    def right(self) -> int:
        """Checks passed, those that a second chance counted among them."""
        return len(self.passed) + sum(c.status == "passed" for checks in self.caused.values() for c in checks)

    @property
    def share(self) -> float:
        return share(self.points, self.max_points)


@dataclass(frozen=True)
class TaskMean:
    """One task of the class."""

    name: str
    number: str
    points: float
    max_points: float


@dataclass(frozen=True)
class Cost:
    """What one check cost the class."""

    name: str
    task: str
    sentence: str
    lost: int  # graded submissions that lost it
    of: int  # graded submissions that were given it
    points: float
    own: float  # of these points, the ones that no other task explains
    diagnosis: str
    diagnosed: int
    tally: list[tuple[str, int]]


def submission_page(record: SubmissionRecord, course: Course, module: Module, alone: bool = True) -> str:
    """The page of one submission; `alone` when the results are of this module only."""
    tasks = task_results(record, module)
    words = _present(check.status for check in record.checks)
    return render("submission.html", course=course, module=module, record=record, tasks=tasks, words=words, alone=alone)


def course_page(records: list[SubmissionRecord], course: Course, modules: list[Module]) -> str:
    """The class over several modules: a row a submission, a column a module."""
    by_name: dict[str, dict[str, SubmissionRecord]] = {}
    for record in records:
        by_name.setdefault(record.submission, {})[record.module] = record
    scores = {module.name: [record.score for record in records if record.module == module.name] for module in modules}
    return render("course.html", course=course, modules=modules, rows=by_name, scores=scores, records=records)


def class_page(records: list[SubmissionRecord], course: Course, module: Module, alone: bool = True) -> str:
    """The class at a glance: records in the order in which they are to be listed."""
    graded = [record for record in records if record.status == "graded"]
    top = max(record.max_score for record in records)
    return render(
        "class.html",
        course=course,
        module=module,
        records=records,
        graded=graded,
        top=top,
        median=median(record.score for record in records),
        bars=histogram(records, top),
        rows=[(record, {task.name: task for task in task_results(record, module)}) for record in records],
        columns=_means(graded, module),
        costs=class_costs(graded, module),
        words=_present(record.status for record in records),
        alone=alone,
    )


def task_results(record: SubmissionRecord, module: Module) -> list[TaskResult]:
    """The tasks in course order, then those of checks that belong to no task."""
    names = dict.fromkeys([*module.tasks, *(check.task for check in record.checks)])
    return [_task(name, record, module) for name in names]


def _task(name: str, record: SubmissionRecord, module: Module) -> TaskResult:
    checks = [check for check in record.checks if check.task == name]
    alone = [check for check in checks if check.cause in {None, name}]
    caused: dict[str, list[CheckRecord]] = {}
    for check in checks:
        if check.cause is not None and check.cause != name:
            caused.setdefault(check.cause, []).append(check)
    known = module.tasks.get(name)
    planned = known.points if known else 0.0
    return TaskResult(
        name=name,
        points=sum(check.points for check in checks),
        max_points=sum(check.max_points for check in checks) if checks else planned,
        own=[check for check in alone if check.status != "passed"],
        caused=caused,
        passed=[check for check in alone if check.status == "passed"],
        breaks=sum(check.cause == name != check.task for check in record.checks),
    )


def class_costs(graded: list[SubmissionRecord], module: Module) -> list[Cost]:
    """The checks that somebody lost, the most expensive first; submissions that did not run say nothing here.

    Points count for the order only where the check was lost in its own right, by something that was written: else one
    early mistake or an empty file would put every check that builds on it at the top.
    """
    by_name: dict[str, list[CheckRecord]] = {}
    for record in graded:
        for check in record.checks:
            by_name.setdefault(check.name, []).append(check)
    costs = [_cost(checks) for checks in by_name.values()]
    return sorted((cost for cost in costs if cost.lost), key=lambda cost: (-cost.own, -cost.points, -cost.lost))


def _cost(checks: list[CheckRecord]) -> Cost:
    lost = [check for check in checks if check.status != "passed"]
    says, count = (Counter(check.diagnosis.says for check in lost if check.diagnosis).most_common(1) or [("", 0)])[0]
    kinds = Counter(f"caused by {check.cause}" if check.cause else check.status for check in lost)
    return Cost(
        name=checks[0].name,
        task=checks[0].task,
        sentence=checks[0].sentence,
        lost=len(lost),
        of=len(checks),
        points=sum(check.max_points - check.points for check in lost),
        own=sum(check.max_points - check.points for check in lost if not check.cause and check.status != "missing"),
        diagnosis=says,
        diagnosed=count,
        tally=kinds.most_common(),
    )


def first_cause(record: SubmissionRecord, module: Module) -> tuple[str, str]:
    """The task where the first loss begins and, in a few words, why: ("", "") when nothing is lost."""
    if record.status != "graded":
        lines = [line for line in plain(record.problem).splitlines() if line.strip()]
        return "", one_line(lines[0] if lines else GLOSS[record.status], CAUSE_WIDTH)
    roots = [check for task in task_results(record, module) for check in task.own]
    if not roots:
        return "", ""
    if all(check.status == "missing" for check in record.checks):
        return "", "nothing written yet"
    return roots[0].task, one_line(explanation(roots[0]), CAUSE_WIDTH)


def explanation(check: CheckRecord) -> str:
    """The shortest true thing to say about a lost check."""
    if check.diagnosis:
        return check.diagnosis.says
    if check.status in {"missing", "blocked"}:
        return GLOSS[check.status]
    lines = plain(check.message).strip().splitlines()
    return lines[0] if lines else GLOSS[check.status]


def share(points: float, max_points: float) -> float:
    """Between 0 and 1; 0 where there is nothing to gain."""
    return max(0.0, min(1.0, points / max_points)) if max_points else 0.0


def _means(graded: list[SubmissionRecord], module: Module) -> list[TaskMean]:
    """The columns of the class table: every task, and what the graded submissions have of it on average."""
    results = [task for record in graded for task in task_results(record, module)]
    seen = dict.fromkeys([*module.tasks, *(task.name for task in results)])
    return [_mean(name, [task for task in results if task.name == name], module) for name in seen]


def _mean(name: str, results: list[TaskResult], module: Module) -> TaskMean:
    known = module.tasks.get(name)
    top = max((task.max_points for task in results), default=known.points if known else 0.0)
    points = sum(task.points for task in results) / len(results) if results else 0.0
    return TaskMean(name, known.number if known else "", points, top)


def _present(statuses: Iterable[str]) -> dict[str, str]:
    found = set(statuses)
    return {status: gloss for status, gloss in GLOSS.items() if status in found}


def _distinct(values: list[str]) -> str:
    """One value where all agree, else each with its count: two runs into one folder may differ."""
    counts = Counter(values)
    return "; ".join(
        value if len(counts) == 1 else f"{value} ({count} of {len(values)})" for value, count in counts.items()
    )


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "average": mean, "distinct": _distinct, "folder": _link, "draw": draw}
    environment.globals |= {"share": share, "first_cause": first_cause, "gloss": GLOSS}
    return environment


def _link(name: str) -> str:
    """The folder of a submission as part of a link; every character that means something in one is encoded."""
    return quote(name.encode("utf-8", "surrogateescape"), safe="")
