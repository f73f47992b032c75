"""Why a file could not be imported, with the next step where one is known."""

import re
import sys
from difflib import get_close_matches

from .course import Course, Module
from .loading import PACKAGE
from .outcome import Outcome

INSTALLED = ("torch", "numpy", "einops", "jaxtyping", "regex", "tiktoken", *sys.stdlib_module_names)
NOT_INSTALLED = (
    "it is not installed where submissions are graded. "
    "There are torch, numpy, einops, jaxtyping, regex, tiktoken and the standard library."
)

NO_FILES = (
    "A file is checked without files, network or a home folder. Keep what needs them, plots for instance, in another "
    'file or under `if __name__ == "__main__":`.'
)
FROM_IMPORTS = ("ModuleNotFoundError", "ImportError")


def why_not(loaded: Outcome, course: Course, module: Module) -> str:
    """The reason on the first line, then the student's own frames."""
    raised = loaded.raised
    if raised is None:
        return f"While it was imported, {loaded.why}."
    headline = f"{raised.kind}: {raised.message}" if raised.message else raised.kind
    if "OSError" in raised.bases and raised.kind not in FROM_IMPORTS:
        headline += f"\n{NO_FILES}"
    if raised.kind == "ModuleNotFoundError":
        headline = f"{raised.message}: {_missing(raised.message, course, module)}"
    return "\n".join(filter(None, [headline, raised.trace]))


def _missing(message: str, course: Course, module: Module) -> str:
    """Why an import finds nothing: not installed, mistyped, or a module of the course that comes later."""
    found = re.search(r"'([\w.]+)'", message)
    name = found[1] if found else ""
    first, _, rest = name.partition(".")
    if first == PACKAGE:
        earlier = f"it may import {', '.join(module.upstream)}" if module.upstream else "no module comes before it"
        what = f"{rest} comes later in the course" if rest in course.modules else f"the course has no module {rest}"
        return f"{what}; this is {module.name}, and {earlier}."
    if first in module.upstream:
        return f"{first} is a module of the course; write `from .{name} import …`, with the dot."
    near = get_close_matches(first, INSTALLED, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near and near[0] != first else NOT_INSTALLED
