"""The exceptions that reach the command line: you asked for something impossible, or the grader is broken."""

from collections.abc import Iterable
from difflib import get_close_matches


class BadRequest(Exception):
    """A wrong argument, path, module name or course.toml. Shown as one line, exit code 2."""


class GraderFault(Exception):
    """The grader itself broke. It stops the run loudly (exit code 3) and is never a student's zero."""


class GpuOutOfReach(GraderFault):
    """A worker, closed off as it is, cannot open the GPU."""


def suggest(word: str, known: Iterable[str]) -> str:
    """' Did you mean …?' with the nearest known word, else ' Known: …'."""
    names = list(known)
    near = get_close_matches(word, names, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(names)}."
