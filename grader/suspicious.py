"""What in a source text could reach past the grader: for a person to look at, never punished. Nothing is run."""

import ast
import re
from collections.abc import Iterable, Iterator

from .names import Names, Scope, by_last_word, endings, folded, in_class

BUILTINS = ("exec", "eval", "compile", "open", "__import__", "__builtins__", "globals")
ATTRIBUTES = (
    *("__subclasses__", "__globals__", "__builtins__", "__code__", "__closure__", "__self__", "__path__"),
    *("__array_interface__", "__array_struct__"),  # numpy reads and writes any address that they name
    *("tb_frame", "f_back", "f_code", "f_globals", "f_locals", "f_builtins"),
    *(f"{kind}_{what}" for kind in ("gi", "cr", "ag") for what in ("code", "frame")),
)
BY_NAME = ("getattr", "setattr", "delattr", "vars")
BY_TEXT = ("operator.attrgetter", "operator.methodcaller")  # what they reach shows when it is reached
# Ways out of the file: to the grader's own objects, to the machine, past the watch on torch's operations.
MODULES = (
    *("ctypes", "cffi", "gc", "sys.modules", "sys._getframe", "sys.settrace", "sys.setprofile", "inspect.stack"),
    *("inspect.currentframe", "builtins", "importlib", "os", "subprocess", "socket", "threading", "_thread"),
    *("multiprocessing", "concurrent.futures", "signal", "atexit", "pickle", "torch.library", "torch._C", "torch.ops"),
    *("torch.overrides", "torch.utils._python_dispatch", "torch.utils.cpp_extension", "torch.jit.CompilationUnit"),
    *("torch.multiprocessing", "asyncio", "code", "codeop", "runpy", "pkgutil", "pydoc", "timeit"),
    *("unittest.mock", "typing.get_type_hints", "_ctypes", "posix", "_posixsubprocess"),
    *("grader", "given_parts", "_pytest", "marshal", "doctest", "bdb"),
    *("types.FunctionType", "types.LambdaType", "types.CodeType"),
    *("sys.meta_path", "sys.path_hooks", *BY_TEXT),
)
NAMESAKES = ("torch.signal",)  # end like one of these, and are none
CHECKS = re.compile(r"(?:tests\.checks\.)?check_\w+", re.ASCII)  # the files of checks
PRIVATE = re.compile(r"torch\.(?:[A-Za-z]\w*\.)*_(?!_|foreach_)\w+", re.ASCII)  # torch._C, torch._refs
MODULE_ENDINGS = by_last_word(MODULES)


def ways_out(names: Names) -> Iterator[tuple[ast.AST, str]]:
    """Each place that a person may want to look at, and what it reaches, as the lists above name it."""
    for statement, dotted in names.imports:
        for call in sorted(_imported(dotted)):
            yield statement, call
    called = {id(read.func): read for read, _ in names.reads if isinstance(read, ast.Call)}
    for read, at in names.reads:
        if _is_getattr(read, at.scope, names) and id(read) not in called:  # reduce(getattr, ["_C"], torch)
            yield read, "getattr"
        for call in sorted(_reaches(read, at.scope, names) or _past_own_setattr(read, called, at.scope, names)):
            yield read, call
    for write, at in names.writes:
        if write.attr in ATTRIBUTES:
            yield write, write.attr
        for origin in sorted(names.origins(write, at.scope))[:1]:
            yield write, f"assignment to {origin}"
    for scope in names.scopes:
        for name in ATTRIBUTES if scope.kind == "class" else ():
            yield from ((binding.node, name) for binding in scope.names.get(name, ()))


def _imported(dotted: str) -> set[str]:
    """Which of the things to look at an import names."""
    tails = _tails({dotted})
    listed = {entry for entry in MODULES for tail in tails if f"{tail}.".startswith(f"{entry}.")}
    listed |= {found[0] for found in (CHECKS.match(dotted),) if found}
    return listed or {found[0] for tail in tails if (found := PRIVATE.match(tail))}


def _reaches(node: ast.Name | ast.Attribute | ast.Call, scope: Scope, names: Names) -> set[str]:
    """Which of the things to look at an expression reaches."""
    match node:
        case ast.Name(id=name):
            return {name} if name in BUILTINS and names.lookup(node, scope) is None else set()
        case ast.Attribute(attr="__dict__", value=value) if names.origins(value, scope):
            return {"__dict__"}
        case ast.Attribute(attr=attribute) if attribute in ATTRIBUTES:
            return {attribute}
        case ast.Call(func=ast.Name(id=name), args=[first, *rest]) if names.is_builtin_call(node, scope, *BY_NAME):
            word = folded(rest[0]) if rest else None
            if word in ATTRIBUTES:
                return {word}
            # getattr(torch, "exp") is spelled out and followed like torch.exp; the others can change or hide a module
            if names.origins(first, scope) and not (name == "getattr" and word):
                return {name}
    origins = names.origins(node, scope)
    return endings(origins.difference(NAMESAKES), MODULE_ENDINGS) or _private(origins)


def _past_own_setattr(node: ast.AST, called: dict[int, ast.Call], scope: Scope, names: Names) -> set[str]:
    """object.__setattr__ and the like, which ask no class; on self it is how a frozen dataclass fills itself."""
    match node:
        case ast.Attribute(attr="__setattr__" | "__delattr__", value=ast.Name(id="object" | "type" as owner) as value):
            call = called.get(id(node))
            first = call.args[0] if call and call.args else None
            on_self = owner == "object" and isinstance(first, ast.Name) and first.id == "self" and in_class(scope)
            return set() if on_self or names.lookup(value, scope) else {f"{owner}.{node.attr}"}
    return set()


def _is_getattr(node: ast.AST, scope: Scope, names: Names) -> bool:
    return isinstance(node, ast.Name) and node.id == "getattr" and names.lookup(node, scope) is None


def _tails(origins: Iterable[str]) -> set[str]:
    """Dotted names, and what is reached through another module's import: torch.nn.functional.torch._C is torch._C."""
    found = set()
    for origin in origins:
        words = origin.split(".") if origin not in NAMESAKES else []
        found |= {origin} | {".".join(words[start:]) for start in range(1, len(words))}
    return found


def _private(origins: Iterable[str]) -> set[str]:
    """The parts of torch that it keeps to itself: its built-ins under other names, and what turns a watch off."""
    hidden = [origin for origin in origins if origin.rpartition(".")[2].startswith("_")]
    return {tail for tail in _tails(hidden) if PRIVATE.fullmatch(tail)}
