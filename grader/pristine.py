"""The untouched side of an assignment: the specification of each task, and the stub to go back to."""

import time
from pathlib import Path

from .course import Course, Module
from .definitions import places
from .errors import BadRequest
from .record import write_whole
from .screen import syntax_problem

STUBS = "assignments/stubs"  # where a kit keeps what it shipped
BACKUPS = ".grader/backups"


def specification(course: Course, module: Module) -> str:
    """A source text with every task's arguments and docstring: the shipped stub, or the reference it is made from."""
    for folder in (STUBS, "reference"):
        path = course.root / folder / f"{module.name}.py"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


def stub(course: Course, module: Module) -> str:
    """The stub as it was shipped.

    Raises:
        BadRequest: there is none, and no reference to make it from.
    """
    path = course.root / STUBS / f"{module.name}.py"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    if not (course.root / "reference" / f"{module.name}.py").is_file():
        raise BadRequest(f"There is no untouched stub to go back to: {STUBS}/{module.name}.py does not exist.")
    from .stubs import make_stub

    return make_stub(course.source("reference", module.name), module)


def reset(course: Course, module: Module, path: Path, task: str) -> Path:
    """Put the stub of one task back into a student's file and return where the file as it was is kept.

    A file that does not parse has no place for one task: then all of it is put back.
    """
    shipped, raw = stub(course, module), path.read_bytes()
    now = raw.decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    kept = course.root / BACKUPS / f"{module.name}-{time.strftime('%Y%m%d-%H%M%S')}.py"
    old, new = places(now).get(task), places(shipped).get(task)
    if new is None:
        raise BadRequest(f"The stub of {module.name} has no {task}.")
    text = shipped
    if not syntax_problem(now, module):
        lines, fresh = now.split("\n"), shipped.split("\n")[new.first - 1 : new.last]
        if old is None:
            text = "\n".join([*"\n".join(lines).rstrip("\n").split("\n"), "", "", *fresh, ""])
        else:
            text = "\n".join([*lines[: old.first - 1], *fresh, *lines[old.last :]])
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(raw)
    except OSError as error:
        raise BadRequest(f"{kept} cannot be written: {error.strerror}. Nothing was reset.") from None
    write_whole(path, text)
    return kept
