"""What students receive: the reference with every body taken out."""

import ast
from collections.abc import Sequence
from contextlib import suppress
from itertools import dropwhile

from .course import Course, Module
from .errors import BadRequest, suggest
from .record import write_whole

try:
    import libcst as cst
except ImportError:
    raise BadRequest("Writing stubs needs libcst; run: pip install -e '.[author]'") from None

Definition = cst.FunctionDef | cst.ClassDef
Import = cst.Import | cst.ImportFrom
Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
BLANK = cst.EmptyLine(indent=False)


def write_stubs(course: Course, check: bool) -> list[str]:
    """Write assignments/ from reference/ and return the names written.

    With `check` nothing is written: the names are those of the files that differ from what would be written.
    """
    stubs = {
        f"assignments/{name}.py": make_stub(_reference(course, name), module) for name, module in course.modules.items()
    }
    if check:
        return [name for name, stub in stubs.items() if _on_disk(course, name) != stub]
    for name, stub in stubs.items():
        write_whole(course.root / name, stub)
    return list(stubs)


def make_stub(source: str, module: Module) -> str:
    """The stub of one reference file: the tasks without their bodies, and the imports and constants they still need.

    Raises:
        BadRequest: a task of course.toml is not in the file, or a signature uses a function or class that is neither a
            task nor a mere record of settings.
    """
    tree = cst.parse_module(source)
    _require_tasks(tree, module)
    kept = _kept(tree, module)
    # Comments at the end of the file; libcst counts the blank lines above them to the body before.
    footer = _joined([BLANK, BLANK], list(tree.footer)) if tree.footer else []
    return tree.with_changes(body=_spaced(tree.body, kept), footer=footer).code


def _reference(course: Course, name: str) -> str:
    try:
        return course.source("reference", name)
    except FileNotFoundError:
        raise BadRequest(f"course.toml lists the module '{name}', but there is no reference/{name}.py.") from None


def _on_disk(course: Course, name: str) -> str | None:
    path = course.root / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _require_tasks(tree: cst.Module, module: Module) -> None:
    there = [statement.name.value for statement in tree.body if isinstance(statement, Definition)]
    for task in module.tasks.values():
        if task.name not in there:
            raise BadRequest(
                f"reference/{module.name}.py has no '{task.name}', task {task.number} of course.toml."
                f"{suggest(task.name, there)}"
            )


def _kept(tree: cst.Module, module: Module) -> list[Statement | None]:
    """What becomes of each statement; None: it goes.

    The last comes first, so that the names which signatures need are known when their import or constant is reached.
    """
    needed: set[str] = set()
    kept: list[Statement | None] = []
    for statement in reversed(tree.body):
        if statement is tree.body[0] and tree.get_docstring(clean=False) is not None:
            stub: Statement | None = statement
        elif isinstance(statement, Definition):
            stub = _definition(statement, module, needed)
        else:
            stub = _import_or_constant(statement, needed)
        needed |= _names(stub, ast.Load) if stub else set()
        kept.append(stub)
    return kept[::-1]


def _definition(node: Definition, module: Module, needed: set[str]) -> Definition | None:
    name = node.name.value
    if name in module.tasks:
        title = f"Task {module.tasks[name].number}: {name}"
        return _class_stub(node, title) if isinstance(node, cst.ClassDef) else _function_stub(node, title)
    if name in needed and _is_record(node):
        return node
    if name in needed:
        raise BadRequest(f"reference/{module.name}.py: a signature uses '{name}', which is no task and so has no stub.")
    return None


def _is_record(node: Definition) -> bool:
    """A class of annotated fields alone, such as a dataclass of settings: there is nothing in it to take out."""
    fields = [member for member in node.body.body if member not in node.body.body[: len(_docstring(node))]]
    return isinstance(node, cst.ClassDef) and all(
        isinstance(member, cst.SimpleStatementLine) and isinstance(member.body[0], cst.AnnAssign) for member in fields
    )


def _import_or_constant(statement: Statement, needed: set[str]) -> Statement | None:
    """The part of the line that the stub needs; None also for an `if` or `try` between the definitions."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    node = statement.body[0]
    if not isinstance(node, Import):
        return statement if needed & _names(statement, ast.Store) else None
    if isinstance(node, cst.ImportFrom) and node.module and node.module.value == "__future__":
        return statement
    if isinstance(node.names, cst.ImportStar):
        return None
    names = [alias for alias in node.names if _bound(alias) in needed]
    if len(names) in (0, len(node.names)):
        return statement if names else None
    names[-1] = names[-1].with_changes(comma=node.names[-1].comma)  # so that a closing bracket stays where it was
    return statement.with_changes(body=[node.with_changes(names=names)])


def _bound(alias: cst.ImportAlias) -> str:
    """The name that `import …` makes: numpy for numpy.linalg, np for numpy as np."""
    return alias.evaluated_alias or alias.evaluated_name.split(".")[0]


def _names(statement: Statement, context: type[ast.expr_context]) -> set[str]:
    """The names that a statement reads (ast.Load), also in quoted annotations, or assigns (ast.Store)."""
    nodes = list(ast.walk(ast.parse(cst.Module([statement]).code)))
    annotations = [getattr(node, field, None) for node in nodes for field in ("annotation", "returns")]
    for node in [inner for annotation in annotations if annotation for inner in ast.walk(annotation)]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            with suppress(SyntaxError):  # jaxtyping's axes are strings too
                nodes += ast.walk(ast.parse(node.value))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _function_stub(node: cst.FunctionDef, title: str) -> cst.FunctionDef:
    stop = cst.parse_statement(f'raise NotImplementedError("{title}")')
    return node.with_changes(body=cst.IndentedBlock([*_docstring(node), stop]))


def _class_stub(node: cst.ClassDef, title: str) -> cst.ClassDef:
    """Docstring, annotations and public methods, laid out anew: the comments of a class body would tell of its code."""
    body: list[Statement] = [*_docstring(node)]
    for member in node.body.body:
        stub = _member(member, title)
        if stub is None:
            continue
        together = not body or (_is_annotation(body[-1]) and _is_annotation(stub))
        body.append(stub.with_changes(leading_lines=[] if together else [BLANK]))
    return node.with_changes(body=cst.IndentedBlock(body or [cst.SimpleStatementLine([cst.Pass()])]))


def _member(member: cst.CSTNode, title: str) -> cst.FunctionDef | cst.SimpleStatementLine | None:
    if isinstance(member, cst.FunctionDef) and not _is_private(member.name.value):
        return _function_stub(member, f"{title}.{member.name.value}")
    if isinstance(member, cst.SimpleStatementLine) and _is_annotation(member):
        return cst.SimpleStatementLine(member.body)
    return None


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _is_annotation(member: cst.CSTNode) -> bool:
    """Is it `name: type`, without a value?"""
    node = member.body[0] if isinstance(member, cst.SimpleStatementLine) else None
    return isinstance(node, cst.AnnAssign) and node.value is None


def _docstring(node: Definition) -> list[cst.SimpleStatementLine]:
    """The docstring as a line of its own, without a comment behind it; empty when there is none."""
    first = node.body.body[0]
    if node.get_docstring(clean=False) is None or not isinstance(first, cst.SimpleStatementLine):
        return []
    return [cst.SimpleStatementLine(first.body[:1])]


def _spaced(body: Sequence[Statement], kept: Sequence[Statement | None]) -> list[Statement]:
    """The kept statements, with the loose comments and blank lines above those that went."""
    spaced: list[Statement] = []
    above: list[cst.EmptyLine] = []
    for statement, stub in zip(body, kept, strict=True):
        lines = _joined(above, list(statement.leading_lines))
        if stub is None:
            above = _loose(lines)
        else:
            spaced.append(stub.with_changes(leading_lines=_fitted(lines, spaced[-1:], stub)))
            above = []
    return spaced


def _joined(above: list[cst.EmptyLine], below: list[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """Where blank lines meet blank lines, the lower ones stay."""
    while above and below and not above[-1].comment and not below[0].comment:
        above = above[:-1]
    return above + below


def _loose(lines: list[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """The lines above a statement that do not belong to it: all down to the last blank one."""
    blank = [index for index, line in enumerate(lines) if not line.comment]
    return lines[: blank[-1] + 1] if blank else []


def _fitted(lines: list[cst.EmptyLine], before: list[Statement], stub: Statement) -> list[cst.EmptyLine]:
    """The lines above a statement, beginning with as many blank ones as ruff asks for below the statement before."""
    if before and isinstance(before[0], Definition):
        return lines
    rest = list(dropwhile(lambda line: not line.comment, lines))
    joins_definition = isinstance(stub, Definition) and all(line.comment for line in rest)
    blanks = 2 if joins_definition else min(1, len(lines) - len(rest))
    return [BLANK] * (blanks if before else 0) + rest
