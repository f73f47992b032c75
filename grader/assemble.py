"""The package an implementation runs in: its own file of the module, beside given files of the earlier modules."""

import ast
from collections.abc import Mapping
from functools import cache

from .course import Course, Module

GIVEN_FOLDER = "assignments/given"


def assemble(course: Course, module: Module, own: Mapping[str, str], upstream: str = "given") -> dict[str, str]:
    """File name → source of the package `assignments`.

    Args:
        own: the implementation's files; the one of the module is needed.
        upstream: where the earlier modules come from: `given`, or `own` with given for those that are not there.
    """
    earlier = {f"{name}.py": course.source(GIVEN_FOLDER, name) for name in module.upstream}
    kept = own if upstream == "own" else {f"{module.name}.py": own[f"{module.name}.py"]}
    return earlier | dict(kept)


@cache
def only(source: str, tasks: tuple[str, ...], keep: frozenset[str]) -> str:
    """A source without the definitions of its tasks, but for those to keep; imports and helpers stay."""
    tree = ast.parse(source)
    gone = set(tasks) - keep
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in gone]
    return ast.unparse(tree)


def from_folder(course: Course, module: Module, folder: str) -> dict[str, str]:
    """The package of one of our own implementations: `reference` or given."""
    return assemble(course, module, {f"{module.name}.py": course.source(folder, module.name)})
