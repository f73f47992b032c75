"""Where a source text defines what: the lines of a task, its first sentence, its arguments as written."""

import ast
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Place:
    """A definition at the top level of a file, decorators included; lines count from 1."""

    first: int
    head: int  # of `def` or `class`
    last: int
    node: Definition


def places(source: str) -> dict[str, Place]:
    """Name → the last definition of it at the top level; empty where the text does not parse."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {node.name: _place(node) for node in body if isinstance(node, Definition)}


def inside(source: str, name: str) -> tuple[str, int] | None:
    """The class or function that a name is defined in by mistake, and the line; None if it is nowhere."""
    for outer, place in places(source).items():
        for node in ast.walk(place.node):
            if isinstance(node, Definition) and node.name == name and node is not place.node:
                return outer, node.lineno
    return None


def sentence(place: Place) -> str:
    """The first paragraph of the docstring on one line: the formula of a task."""
    text = ast.get_docstring(place.node) or ""
    return " ".join(text.split("\n\n")[0].split())


def origin(place: Place) -> str:
    """The line of the docstring that names the paper or the book."""
    texts = [ast.get_docstring(node) or "" for node in ast.walk(place.node) if isinstance(node, Definition)]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return next((line for line in lines if line.startswith("Source:")), "")


def header(node: Definition) -> str:
    """softmax(x, dim): what a caller has to know, without annotations."""
    if isinstance(node, ast.ClassDef):
        made = methods(node).get("__init__")
        return f"{node.name}({_arguments(made)})" if made else f"{node.name}()"
    return f"{node.name}({_arguments(node)})"


def methods(node: ast.ClassDef) -> dict[str, Function]:
    return {child.name: child for child in node.body if isinstance(child, Function)}


def _place(node: Definition) -> Place:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return Place(first, node.lineno, node.end_lineno or node.lineno, node)


def _arguments(function: Function) -> str:
    """The arguments with their defaults; `self` goes without saying."""
    bare = ast.parse(ast.unparse(function.args).join(("def f(", "): pass"))).body[0]
    assert isinstance(bare, ast.FunctionDef)
    arguments = bare.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    text = ast.unparse(arguments)
    return text.removeprefix("self").removeprefix(", ") if text.split(",")[0] == "self" else text
