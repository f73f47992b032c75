"""Finding the checks of a module: pytest collects the check file, `graded` and the hidden file say the rows."""

import contextlib
import io
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import Grading
from .errors import BadRequest, suggest

HIDDEN = "hidden-"


@dataclass(frozen=True)
class RowId:
    """One run of a check: what crosses between processes instead of the function and its arguments."""

    name: str  # check_softmax_sums[2]
    check: str
    task: str
    weight: float
    hidden: bool
    sentence: str
    pins: str
    arguments: str  # shape=[2, 3], dim=0; not the options that a row leaves out, {}
    second_device: bool | None = None
    draws: bool = False


@dataclass(frozen=True)
class Collected:
    """A row with the function to call and its arguments, on the side that can run it."""

    row: RowId
    function: Callable[..., Any]
    arguments: dict[str, Any]


def names_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a check's arguments."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


def hidden_rows(check_file: Path) -> dict[str, list[dict[str, Any]]]:
    """The hidden rows beside a check file: check name → rows. Empty where a release has left the file out."""
    path = check_file.with_name(check_file.name.replace("check_", "hidden_").replace(".py", ".toml"))
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(f"{path}: {error}") from None


def rows_of(function: Callable[..., Any], check_file: Path) -> list[tuple[str, dict[str, Any]]]:
    """(id, arguments) of each row of a graded function, the public ones first."""
    grading: Grading = function.graded  # type: ignore[attr-defined]
    hidden = hidden_rows(check_file).get(function.__name__, [])
    rows = [(str(i), dict(row)) for i, row in enumerate(grading.rows, 1)]
    return rows + [(f"{HIDDEN}{i}", dict(row)) for i, row in enumerate(hidden, 1)]


def row_id(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> RowId:
    """The row of a pytest item: its name as collected and the function behind it."""
    grading: Grading = function.graded  # type: ignore[attr-defined]
    sentence = (function.__doc__ or "").strip().splitlines()
    return RowId(
        name=name,
        check=function.__name__,
        task=grading.task,
        weight=grading.weight,
        hidden=f"[{HIDDEN}" in name,
        sentence=sentence[0] if sentence else function.__name__,
        pins=grading.pins,
        arguments=", ".join(f"{name}={value!r}" for name, value in arguments.items() if value != {}),
        second_device=grading.second_device,
        draws=grading.draws,
    )


def collect_checks(check_files: Sequence[Path]) -> list[Collected]:
    """Every row of some check files of one folder, in file order.

    Raises:
        BadRequest: pytest cannot collect the files.
    """
    import pytest

    found: list[Collected] = []

    class Catcher:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                if isinstance(item, pytest.Function) and hasattr(item.function, "graded"):
                    callspec = getattr(item, "callspec", None)
                    arguments = dict(callspec.params) if callspec else {}
                    found.append(Collected(row_id(item.name, item.function, arguments), item.function, arguments))

    options = ["--collect-only", "-qq", "--strict-markers", "--assert=plain"]
    plugins = ["-p", "grader.plugin", "-p", "no:cacheprovider", "-p", "no:unraisableexception"]  # it collects garbage
    folder = str(check_files[0].parent)
    settings = ["-c", os.devnull, "--rootdir", folder, "--confcutdir", folder, "--noconftest"]
    names = ["-o", "python_files=check_*.py", "-o", "python_functions=check_*"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, *plugins, *settings, *names, *map(str, check_files)], plugins=[Catcher()])
    if code != pytest.ExitCode.OK:
        what = ", ".join(map(str, check_files))
        raise BadRequest(f"{what} cannot be collected (pytest says {code}): {said.getvalue().strip()[-500:]}")
    names_found = {collected.row.check for collected in found}
    for file in check_files:
        for name in hidden_rows(file).keys() - names_found:
            raise BadRequest(f"The hidden rows of {file.name} are for '{name}'.{suggest(name, names_found)}")
    return found
