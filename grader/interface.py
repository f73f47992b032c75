"""Names and arguments of a student's file beside those that were asked for, both shown as written."""

import ast
from difflib import get_close_matches

from .course import Module
from .definitions import Definition, Function, header, inside, methods, places


def differences(source: str, specification: str, module: Module) -> dict[str, str]:
    """Task → one sentence, for each task that a caller could not call as it was asked for.

    An added argument with a default is no difference, and nothing is said of a task made by assignment.
    """
    own, asked = places(source), places(specification)
    if not own:
        return {}
    assigned = {
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for task in module.tasks:
        if task not in asked:
            continue
        if task in own:
            sentence = _different(own[task].node, asked[task].node)
        else:
            sentence = "" if task in assigned else _absent(task, source, set(own) - set(module.tasks))
        if sentence:
            found[task] = sentence
    return found


def _absent(task: str, source: str, others: set[str]) -> str:
    """Nothing of that name at the top level: is it inside something else, or under another name?"""
    if around := inside(source, task):
        outer, line = around
        return f"{task} is defined inside {outer} (line {line}): take it out, to the start of the line."
    folded = {name.casefold().replace("_", ""): name for name in sorted(others)}
    near = get_close_matches(task.casefold().replace("_", ""), folded, n=1, cutoff=0.75)
    if near:
        return f"There is no {task} in your file, but a {folded[near[0]]}: rename it to {task}."
    return f"There is no {task} in your file; it must be defined at the top level."


def _different(own: Definition, asked: Definition) -> str:
    if isinstance(own, ast.ClassDef) != isinstance(asked, ast.ClassDef):
        kinds = ["a class" if isinstance(node, ast.ClassDef) else "a function" for node in (asked, own)]
        return f"{asked.name}: {kinds[0]} was asked for, your file has {kinds[1]}."
    if not (isinstance(own, ast.ClassDef) and isinstance(asked, ast.ClassDef)):
        return _told(header(asked), header(own)) if _clash(own, asked) else ""  # type: ignore[arg-type]
    mine = methods(own)
    for name, method in methods(asked).items():
        if name not in mine:
            if name.startswith("_") or len(own.bases) != 1 or ast.unparse(own.bases[0]) not in ("nn.Module", "Module"):
                continue
            return f"{asked.name} has no method {name}; asked for: {header(method)}."
        if _clash(mine[name], method):
            if name == "__init__":
                return _told(header(asked), header(own))
            return _told(f"{asked.name}.{header(method)}", f"{own.name}.{header(mine[name])}")
    return ""


def _told(asked: str, own: str) -> str:
    return f"Asked for: {asked}. Your file has: {own}."


def _clash(own: Function, asked: Function) -> bool:
    """Whether some call that fits what was asked for does not fit what is there."""
    mine, theirs = own.args, asked.args
    names = [argument.arg for argument in (*mine.posonlyargs, *mine.args)]
    wanted = [argument.arg for argument in (*theirs.posonlyargs, *theirs.args)]
    if not mine.vararg and names[: len(wanted)] != wanted:
        return True
    known = {*names, *(argument.arg for argument in mine.kwonlyargs)}
    keywords = {*wanted, *(argument.arg for argument in theirs.kwonlyargs)}
    if not mine.kwarg and not keywords <= known and not mine.vararg:
        return True
    return bool(_required(mine) - _required(theirs))


def _required(arguments: ast.arguments) -> set[str]:
    """The arguments that have no default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    bare = positional[: len(positional) - len(arguments.defaults)]
    alone = [a for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return {argument.arg for argument in (*bare, *alone)}
