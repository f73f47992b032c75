"""Where the names in a source text come from: imports and simple assignments, followed scope by scope. Nothing is run.

Made for source from a stranger: no recursion along what the text nests or chains, and a cap on whatever could multiply.
"""

import ast
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

Place = tuple[int, int]  # line, column
Child = tuple[ast.AST, "At"]
Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LATER = (10**9, 0)  # a binding made through `global` holds from nobody knows when
MAX_LIVE = 20  # bindings of one name that may hold at one place
MAX_ORIGINS = 20
MAX_CHAIN = 12  # a.b.c
MAX_WORDS = 24  # of a dotted name that aliases add up to, and
MAX_LENGTH = 200  # its characters
MAX_ALIASES = 50  # a = b, b = c
MAX_DEPTH = 50  # of functions in functions; those below count as their own surroundings


@dataclass(eq=False)
class Scope:
    """A module, function, class or comprehension and what it binds."""

    kind: str
    parent: "Scope | None" = None
    depth: int = 0
    names: dict[str, list["Binding"]] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)  # name -> "global" or "nonlocal"

    def live(self, name: str, before: Place | None = None) -> list["Binding"]:
        """The bindings of a name that may hold at a place, or at the end: the last sure one and branches after it."""
        bindings = self.names[name]
        end = bisect_left(bindings, before, key=lambda binding: binding.at) if before else 0
        found = []
        for index in range((end or len(bindings)) - 1, -1, -1):  # none before: a loop, so the last one
            found.append(bindings[index])
            if bindings[index].sure or len(found) == MAX_LIVE:
                break
        return found


@dataclass(eq=False)
class Binding:
    """One way in which a name gets its value."""

    node: ast.AST
    at: Place  # it holds from here on
    sure: bool  # not in a branch, so it ends what held before
    scope: Scope
    value: ast.expr | None = None
    origins: frozenset[str] | None = None  # filled when first asked for


@dataclass(frozen=True)
class At:
    """Where the walk is, and so where an expression stands."""

    scope: Scope
    unit: tuple[str, ...] = ()  # the top-level names that the code belongs to
    sure: bool = True
    quiet: bool = False  # in an annotation or behind isinstance, which name a thing without using it


class Names:
    """All scopes of a source text and every expression that reads a name."""

    def __init__(self, tree: ast.Module) -> None:
        self.root = Scope("module")
        self.scopes = [self.root]
        self.stars: list[str] = []  # modules whose names were all imported
        self.imports: list[tuple[ast.Import | ast.ImportFrom, str]] = []  # and the dotted name
        self.reads: list[tuple[ast.Name | ast.Attribute | ast.Call, At]] = []
        self.writes: list[tuple[ast.Attribute, At]] = []
        self.aliases: set[int] = set()  # ids of values that an assignment only gives another name
        stack: list[Child] = [(tree, At(self.root))]
        while stack:
            node, at = stack.pop()
            stack.extend(self._visit(node, at))
        self._settle()

    def origins(self, node: ast.AST, scope: Scope, depth: int = 0) -> frozenset[str]:
        """The dotted names outside the file that an expression may stand for, e.g. {"torch.softmax"}."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute) and len(attributes) < MAX_CHAIN:
            attributes.append(node.attr)
            node = node.value
        if depth > MAX_ALIASES:
            return frozenset()
        roots: Iterable[str] = ()
        if isinstance(node, ast.Name):
            roots = self._of_name(node, scope, depth)
        elif self.is_builtin_call(node, scope, "getattr") and (word := folded(_argument(node, 1))):
            roots = self.origins(_argument(node, 0), scope, depth + 1)
            attributes.append(word)
        tail = "".join(f".{attribute}" for attribute in reversed(attributes))
        return frozenset(_end_of(root + tail) for root in roots)

    def of_binding(self, binding: Binding, depth: int = 0) -> frozenset[str]:
        """The dotted names that one binding may stand for."""
        if binding.origins is None:
            binding.origins = frozenset()  # a circle of aliases ends here
            if binding.value is not None:
                binding.origins = self.origins(binding.value, binding.scope, depth + 1)
        return binding.origins

    def lookup(self, node: ast.Name, scope: Scope) -> tuple[Scope, list[Binding]] | None:
        """The scope that a name is found in and its bindings there; None if the file does not bind it."""
        before: Place | None = (node.lineno, node.col_offset)
        at: Scope | None = scope
        while at is not None:
            if node.id in at.outer:
                at = self.root if at.outer[node.id] == "global" else at.parent
                before = None
                continue
            if node.id in at.names and (at.kind != "class" or at is scope):
                return at, at.live(node.id, before)
            if at.kind == "function":  # its body runs later, when all of the scopes around it are complete
                before = None
            at = at.parent
        return None

    def is_builtin_call(self, node: ast.AST, scope: Scope, *names: str) -> bool:
        """Whether the node calls one of Python's own functions of these names."""
        function = node.func if isinstance(node, ast.Call) else None
        return isinstance(function, ast.Name) and function.id in names and self.lookup(function, scope) is None

    def _of_name(self, node: ast.Name, scope: Scope, depth: int) -> frozenset[str]:
        found = self.lookup(node, scope)
        if found is None:
            return frozenset(f"{star}.{node.id}" for star in self.stars)
        return frozenset(sorted({origin for b in found[1] for origin in self.of_binding(b, depth)})[:MAX_ORIGINS])

    def _visit(self, node: ast.AST, at: At) -> Iterator[Child]:
        """Note what a node binds or reads, and give the nodes below it with their place."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from self._function(node, at)
            case ast.ClassDef():
                yield from self._class(node, at)
            case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
                yield from self._assignment(node, at)
            case ast.Import() | ast.ImportFrom():
                self._import(node, at)
            case ast.Global() | ast.Nonlocal() if at.scope is not self.root:
                at.scope.outer.update(dict.fromkeys(node.names, type(node).__name__.lower()))
            case ast.Name() | ast.Attribute() | ast.Call():
                yield from self._expression(node, at)
            case _:
                yield from self._other(node, at)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, at: At) -> Iterator[Child]:
        outside = at if isinstance(node, ast.Lambda) else self._define(node, at)
        inside = replace(outside, scope=self._scope("function", at.scope), sure=True, quiet=False)
        quiet = replace(outside, quiet=True)
        arguments = node.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
        for argument in every:
            if argument is not None:
                self._bind(argument.arg, argument, (0, 0), inside)
                yield argument, quiet
        yield from ((child, outside) for child in (*arguments.defaults, *arguments.kw_defaults) if child is not None)
        if isinstance(node, ast.Lambda):
            yield node.body, inside
            return
        yield from ((child, outside) for child in node.decorator_list)
        yield from ((child, quiet) for child in (node.returns,) if child is not None)
        yield from ((child, inside) for child in node.body)

    def _class(self, node: ast.ClassDef, at: At) -> Iterator[Child]:
        outside = self._define(node, at)
        inside = replace(outside, scope=self._scope("class", at.scope), sure=True)
        yield from ((child, outside) for child in (*node.decorator_list, *node.bases, *node.keywords))
        yield from ((child, inside) for child in node.body)

    def _define(self, node: Def, at: At) -> At:
        self._bind(node.name, node, _end(node), at)
        return replace(at, unit=(node.name,)) if at.scope is self.root else at

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, at: At) -> Iterator[Child]:
        if isinstance(node, ast.AnnAssign):
            yield node.annotation, replace(at, quiet=True)
        if node.value is None:  # `x: int` binds nothing
            return
        targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else [node.target]
        if at.scope is self.root and not isinstance(node, ast.NamedExpr):
            at = replace(at, unit=tuple(name for target in targets for name in _roots(target)))
        pairs = [(target, node.value) for target in targets]
        while pairs:
            target, value = pairs.pop()
            if isinstance(target, ast.Name):
                self._bind(target.id, node, _end(node), at, value=value)
                # In a class body the name becomes an attribute, which is not followed; a walrus is used on the spot.
                if at.scope.kind in ("module", "function") and not isinstance(node, ast.NamedExpr):
                    self.aliases.add(id(value))
            elif (both := _parallel(target, value)) is not None:
                pairs.extend(both)
            else:
                yield target, at
        yield node.value, at

    def _import(self, node: ast.Import | ast.ImportFrom, at: At) -> None:
        package = "" if isinstance(node, ast.Import) else _start_of("." * node.level + (node.module or ""))
        for alias in node.names:
            dotted = _start_of(f"{package}{'' if package.endswith('.') or not package else '.'}{alias.name}")
            self.imports.append((node, dotted))
            if alias.name == "*":
                if package not in self.stars and len(self.stars) < MAX_ORIGINS:
                    self.stars.append(package)
                continue
            name = alias.asname or alias.name.partition(".")[0]
            if isinstance(node, ast.Import) and not alias.asname:
                dotted = name  # `import torch.nn` binds torch
            self._bind(name, node, _end(node), at, origins=frozenset({dotted}))

    def _expression(self, node: ast.Name | ast.Attribute | ast.Call, at: At) -> Iterator[Child]:
        if isinstance(node, ast.Call):
            self.reads.append((node, at))
            quiet = isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass")
            yield from ((child, at) for child in (node.func, *node.args[:1], *node.keywords))
            yield from ((child, replace(at, quiet=True) if quiet else at) for child in node.args[1:])
            return
        if isinstance(node.ctx, ast.Load):
            self.reads.append((node, at))
        elif isinstance(node, ast.Attribute):
            self.writes.append((node, at))
        else:
            self._bind(node.id, node, _end(node), at)
        if isinstance(node, ast.Attribute):
            yield node.value, at

    def _other(self, node: ast.AST, at: At) -> Iterator[Child]:
        if isinstance(node, COMPREHENSIONS):
            at = replace(at, scope=self._scope("comprehension", at.scope))
        elif isinstance(node, BRANCHES):
            at = replace(at, sure=False)
        # except … as name, case name, case *name, case {**rest}
        name = getattr(node, "rest" if isinstance(node, ast.MatchMapping) else "name", None)
        if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping) and name:
            self._bind(name, node, (node.lineno, node.col_offset), at)
        yield from ((child, at) for child in ast.iter_child_nodes(node))

    def _scope(self, kind: str, parent: Scope) -> Scope:
        if parent.depth == MAX_DEPTH:
            return parent
        self.scopes.append(Scope(kind, parent, parent.depth + 1))
        return self.scopes[-1]

    def _bind(
        self,
        name: str,
        node: ast.AST,
        place: Place,
        at: At,
        *,
        value: ast.expr | None = None,
        origins: frozenset[str] | None = None,
    ) -> None:
        scope = at.scope
        while isinstance(node, ast.NamedExpr) and scope.kind == "comprehension" and scope.parent is not None:
            scope = scope.parent
        scope.names.setdefault(name, []).append(Binding(node, place, at.sure, at.scope, value, origins))

    def _settle(self) -> None:
        """Move what was bound through `global` and `nonlocal`, then order the bindings of each name."""
        for scope in self.scopes:
            for name in scope.outer.keys() & scope.names.keys():
                home = self._home(scope, name)
                moved = scope.names.pop(name)
                home.names.setdefault(name, []).extend(replace(b, at=LATER, sure=False) for b in moved)
        for scope in self.scopes:
            for bindings in scope.names.values():
                bindings.sort(key=lambda binding: binding.at)

    def _home(self, scope: Scope, name: str) -> Scope:
        at = scope.parent
        while scope.outer[name] == "nonlocal" and at is not None:
            if at.kind == "function" and name in at.names:
                return at
            at = at.parent
        return self.root


def folded(node: ast.AST | None, depth: int = 20) -> str | None:
    """The text of a string that is written out, in one piece or added up from several."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right) if depth:
            first, second = folded(left, depth - 1), folded(right, depth - 1)
            return None if first is None or second is None else first + second
        case ast.JoinedStr(values=values) if depth:
            parts = [folded(value, 0) for value in values]
            return None if None in parts else "".join(part or "" for part in parts)
    return None


def _start_of(dotted: str) -> str:
    """What an import names, without the last words of a name that is too long for any module."""
    return ".".join(dotted[:MAX_LENGTH].split(".")[:MAX_WORDS])


def _end_of(dotted: str) -> str:
    """A dotted name without the first words of one that is too long; what it reaches is told by the last ones."""
    if len(dotted) > MAX_LENGTH:
        dotted = dotted[-MAX_LENGTH:].partition(".")[2]
    return dotted if dotted.count(".") < MAX_WORDS else ".".join(dotted.split(".")[-MAX_WORDS:])


def in_class(scope: Scope | None) -> bool:
    """Whether code stands in a class, in a method of it for example."""
    while scope is not None and scope.kind != "class":
        scope = scope.parent
    return scope is not None


def by_last_word(entries: Iterable[str]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for entry in entries:
        found[entry.rpartition(".")[2]].append(entry)
    return dict(found)


def endings(origins: Iterable[str], entries: dict[str, list[str]]) -> set[str]:
    """The entries that are among the tails of dotted names, without making the tails: a source can read a million."""
    found = ((origin, entry) for origin in origins for entry in entries.get(origin.rpartition(".")[2], ()))
    return {entry for origin, entry in found if f".{origin}".endswith(f".{entry}")}


def _argument(node: ast.AST, index: int) -> ast.AST:
    arguments = node.args if isinstance(node, ast.Call) else []
    return arguments[index] if index < len(arguments) else node


def _end(node: ast.stmt | ast.expr) -> Place:
    return (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)


def _roots(target: ast.expr) -> list[str]:
    """The names that an assignment to the target changes: TABLE in TABLE["a"] = …, Linear in Linear.forward = …"""
    found, stack = [], [target]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            found.append(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
            stack.append(node.value)
        elif isinstance(node, ast.Tuple | ast.List):
            stack.extend(node.elts)
    return found


def _parallel(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]] | None:
    """The pairs of `a, b = c, d`; None if the two sides cannot be paired."""
    if not isinstance(target, ast.Tuple | ast.List) or not isinstance(value, ast.Tuple | ast.List):
        return None
    starred = any(isinstance(element, ast.Starred) for element in (*target.elts, *value.elts))
    same = len(target.elts) == len(value.elts) and not starred
    return list(zip(target.elts, value.elts, strict=True)) if same else None
