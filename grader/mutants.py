"""Known mistakes, each a small edit of one symbol of the reference: tests/mutants/MODULE.toml."""

import ast
import textwrap
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .course import Module
from .errors import BadRequest, suggest

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Mutant:
    """One mistake. Either `edits` (old text, new text) or `body` says how the symbol is changed."""

    name: str
    task: str
    symbol: str  # the task, or Class.method of a class task
    says: str
    hints: list[str]  # the place, then nearly the code
    edits: list[tuple[str, str]]
    body: str | None


REQUIRED = ("name", "symbol", "says", "hints")
KEYS = tuple(f.name for f in fields(Mutant) if f.name != "task")


def load_mutants(path: Path, module: Module) -> list[Mutant]:
    """Read the mutants of a module; no file, no mutants.

    Raises:
        BadRequest: the file does not parse, or an entry is not what the head of `Mutant` describes.
    """
    if not path.exists():
        return []
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path}: {error}") from None
    tables = data.pop("mutant", [])
    if data or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise BadRequest(f"{path}: it holds [[mutant]] tables and nothing else.")
    mutants: dict[str, Mutant] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: mutant {_label(table, number)}"
        mutant = _mutant(table, module, where)
        if mutant.name in mutants:
            raise BadRequest(f"{where}: the name is taken by an earlier mutant.")
        mutants[mutant.name] = mutant
    return list(mutants.values())


def apply(mutant: Mutant, source: str) -> str:
    """The reference file with the one symbol changed.

    Raises:
        BadRequest: the symbol is not in the source, an edit is not found exactly once in it, or the result does not
            compile or is the same program.
    """
    lines = source.split("\n")  # as ast counts them: splitlines() also cuts at form feeds
    node = _find(mutant, source)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    text = "\n".join(lines[first : node.end_lineno])
    new = _edited(mutant, text) if mutant.body is None else _rewritten(mutant, mutant.body, node.col_offset)
    changed = "\n".join([*lines[:first], new, *lines[node.end_lineno :]])
    try:
        compile(changed, mutant.name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise BadRequest(f"mutant '{mutant.name}': the changed source does not compile: {error}") from None
    if ast.dump(_find(mutant, changed)) == ast.dump(node):
        raise BadRequest(f"mutant '{mutant.name}': it does not change {mutant.symbol}.")
    return changed


def _label(table: dict[str, Any], number: int) -> str:
    name = table.get("name")
    return f"'{name}'" if isinstance(name, str) and name else f"number {number}"


def _mutant(table: dict[str, Any], module: Module, where: str) -> Mutant:
    """A Mutant from its TOML table, every key and type checked."""
    for key in table:
        if key not in KEYS:
            raise BadRequest(f"{where}: unknown key '{key}'.{suggest(key, KEYS)}")
    for key in REQUIRED:
        if key not in table:
            raise BadRequest(f"{where}: the key '{key}' is missing.")
    for key in ("name", "symbol", "says", "body"):
        if key in table and not (isinstance(table[key], str) and table[key].strip()):
            raise BadRequest(f"{where}: '{key}' must be a text, got {table[key]!r}.")
    if not table["name"].isidentifier() or table["name"] != table["name"].lower():
        raise BadRequest(f"{where}: the name must be in snake_case.")
    if not (_texts(table["hints"], 2) and all(table["hints"])):
        raise BadRequest(f"{where}: 'hints' must be two texts, the place and nearly the code.")
    if ("edits" in table) == ("body" in table):
        raise BadRequest(f"{where}: give either 'edits' or 'body'.")
    edits = table.get("edits", [["old", "new"]])
    if not isinstance(edits, list) or not edits or not all(_texts(edit, 2) and edit[0] for edit in edits):
        raise BadRequest(f"{where}: 'edits' must be pairs of texts, [old, new].")
    symbol = table["symbol"]
    task = symbol.split(".")[0]
    if task not in module.tasks:
        raise BadRequest(f"{where}: '{task}' is not a task of {module.name}.{suggest(task, module.tasks)}")
    pairs = [(old, new) for old, new in table.get("edits", [])]
    return Mutant(table["name"], task, symbol, table["says"], table["hints"], pairs, table.get("body"))


def _texts(value: object, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(item, str) for item in value)


def _find(mutant: Mutant, source: str) -> Definition:
    """The definition of the mutant's symbol: a name at top level, then a name in that class."""
    body = ast.parse(source).body
    for part in mutant.symbol.split("."):
        found = [node for node in body if isinstance(node, Definition) and node.name == part]
        if len(found) != 1:
            raise BadRequest(f"mutant '{mutant.name}': {mutant.symbol} is defined {len(found)} times, expected once.")
        body = found[0].body
    return found[0]


def _edited(mutant: Mutant, text: str) -> str:
    """The symbol's text after the edits, in order."""
    for number, (old, new) in enumerate(mutant.edits, 1):
        if text.count(old) != 1:
            times = f"is found {text.count(old)} times in {mutant.symbol}, expected once"
            raise BadRequest(f"mutant '{mutant.name}': edit {number}, {old!r}, {times}.")
        text = text.replace(old, new)
    return text


def _rewritten(mutant: Mutant, body: str, column: int) -> str:
    """The body at the symbol's indentation, if it defines the symbol and nothing else."""
    body = textwrap.dedent(body).strip("\n")
    try:
        defined = [node.name if isinstance(node, Definition) else "" for node in ast.parse(body).body]
    except (SyntaxError, ValueError) as error:
        raise BadRequest(f"mutant '{mutant.name}': its body does not compile: {error}") from None
    wanted = mutant.symbol.split(".")[-1]
    if defined != [wanted]:
        raise BadRequest(f"mutant '{mutant.name}': its body must define {wanted} and nothing else.")
    return textwrap.indent(body, " " * column)
