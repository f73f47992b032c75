"""pytest plugin: checks are ordinary pytest functions, and running one grades an implementation.

`pytest tests/checks` grades the reference itself, `pytest tests/checks --impl PATH` a submission. The check does not
run in this process: the rows of the selected tasks are run in workers, and each item reports its verdict.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .collecting import RowId, rows_of
from .errors import BadRequest, GraderFault
from .text import plain

if TYPE_CHECKING:
    from .course import Course, Module
    from .grade import Findings
    from .session import Session

GRADING = pytest.StashKey["Grading"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("grader")
    group.addoption("--impl", default=None, help="the submission that the checks grade; the reference by default")
    group.addoption("--seed", default=0, type=int, help="seed of the checks' inputs")
    group.addoption("--device", default="cpu", help="where the checks run: cpu, cuda, cuda-tf32 or second")
    group.addoption("--allow-forbidden", action="store_true", help="forbidden calls do not fail a check")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GRADING] = Grading(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if GRADING in config.stash:
        config.stash[GRADING].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item a row, public rows first, then those of the hidden file."""
    if not hasattr(metafunc.function, "graded"):
        return
    rows = rows_of(metafunc.function, Path(metafunc.definition.path))
    names = list(rows[0][1])
    if names:
        values = [pytest.param(*(row[name] for name in names), id=row_id) for row_id, row in rows]
        metafunc.parametrize(names, values)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Report the verdict on a check's row in place of calling the function here."""
    if not hasattr(pyfuncitem.function, "graded"):
        return None
    failure = pyfuncitem.config.stash[GRADING].failure(pyfuncitem)
    if failure:
        pytest.fail(failure, pytrace=False)
    return True


@pytest.fixture
def impl() -> None:
    """The implementation under check; a worker fills it in."""


@pytest.fixture
def rng() -> None:
    """The source of a check's inputs; a worker fills it in."""


@pytest.fixture
def scratch() -> None:
    """An empty folder to write to; a worker fills it in."""


class Grading:
    """The grading runs of one pytest session, one a module, each started by its first item."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._open = ExitStack()
        self._module_of: dict[Path, tuple[Course, Module]] = {}
        self._runs: dict[str, dict[str, str]] = {}

    def failure(self, item: pytest.Function) -> str:
        """Why this row fails; empty when it passes."""
        if item.path not in self._module_of or self._module_of[item.path][1].name not in self._runs:
            checks = [i for i in item.session.items if isinstance(i, pytest.Function) and hasattr(i.function, "graded")]
            try:
                course, module = self._find(item.path)
                selected = [check for check in checks if self._find(check.path)[1] == module]
                tasks = {check.function.graded.task for check in selected}
                self._runs[module.name] = self._run(course, module, tasks)
            except BadRequest as error:
                pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
            except GraderFault as error:
                pytest.exit(f"the grader itself failed: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)
        return self._runs[self._module_of[item.path][1].name][item.name]

    def close(self) -> None:
        self._open.close()

    def _find(self, check_file: Path) -> tuple["Course", "Module"]:
        """The course and the module that a check file belongs to."""
        from .course import find_root, load_course

        if check_file not in self._module_of:
            course = load_course(find_root(check_file.parent))
            self._module_of[check_file] = course, course.module_of(check_file)
        return self._module_of[check_file]

    def _run(self, course: "Course", module: "Module", tasks: set[str]) -> dict[str, str]:
        """Row → why it fails, for every row of these tasks."""
        from .collect import collect
        from .grade import look_into
        from .opening import open_session
        from .options import Options

        option = self._config.getoption
        found = collect(self._path(course, module), module.name, module.upstream)
        if len(found) != 1:
            raise BadRequest(f"--impl {option('--impl')} holds {len(found)} submissions; pytest grades one at a time")
        ours = option("--impl") is None and self._path(course, module) == _reference(course, module)
        ban = not ours and not option("--allow-forbidden")
        opened = open_session(course, module, option("--seed"), option("--device"))
        whole = self._open.enter_context(opened)
        session = replace(whole, rows=[row for row in whole.rows if row.task in tasks])
        status, problem, findings = look_into(session, found[0], Options(ban=ban))
        if findings is None:
            return {row.name: plain(f"{status}: {problem}") for row in session.rows}
        return {row.name: plain(_failure(session, findings, row, ban)) for row in session.rows}

    def _path(self, course: "Course", module: "Module") -> Path:
        """What is graded: --impl, else the reference; a kit has none, so there it is the student's file."""
        path = self._config.getoption("--impl")
        if path:
            return Path(path)
        reference = _reference(course, module)
        return reference if reference.is_file() else course.root / "assignments" / f"{module.name}.py"


def _reference(course: "Course", module: "Module") -> Path:
    return course.root / "reference" / f"{module.name}.py"


def _failure(session: "Session", findings: "Findings", row: RowId, ban: bool) -> str:
    """The verdict on a row in words, by the rules of a grade."""
    from .grade import better_of, forbidden_text
    from .verdict import message

    used = [f for f in findings.screen.forbidden if f.task == row.task] if ban else []
    if used:
        return forbidden_text(used)
    verdicts = better_of(findings, [other for other in session.rows if other.check == row.check])
    verdict = next(verdict for verdict in verdicts if verdict.row.name == row.name)
    if verdict.status == "passed":
        return ""
    diagnosis = findings.diagnoses.get(row.task)
    says = f"\nThis is exactly the output of a known mistake: {diagnosis.says}" if diagnosis else ""
    return f"{row.sentence}\n{verdict.status}: {message(session, verdict)}{says}"
