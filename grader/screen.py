"""The static look at a submission: does it parse, what is missing, which calls are not allowed. Nothing is run.

Names are followed through imports and simple assignments, and a helper counts for the tasks that call it. That makes a
forbidden call visible with its line; it does not make it impossible. The worker watches the calls themselves, and what
could blind it there (suspicious.py) is listed too: for a person to look at, never punished.
"""

import ast
import re
import warnings
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

from .course import KERNEL, METHOD, Module, packages
from .guard import NOTED
from .names import At, Names, Scope, by_last_word, endings, folded, in_class
from .resolve import by_object, resolve
from .suspicious import BY_TEXT, ways_out
from .text import one_line

MAX_REPEATS = 10  # findings of one call in one task
MAX_SEEN = 1_000  # different calls that are believed of one worker
MAX_NOTES = 200  # suspicious findings in all
RAN, UNSHOWN = "seen while it ran", "seen while it ran with inputs that are not shown"
SEEN = re.compile(r"(\d{1,7}|[A-Za-z_]\w{,99}) ([\w.]{1,100}(?:\.\*)?)", re.ASCII)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
TENSORS = re.compile(r"torch\.(?:nn\.functional\.)?(?!compile\b|load\b)[a-z]\w*", re.ASCII)  # functions that give one
MAX_STEPS = 20  # towards where a value comes from


@dataclass(frozen=True)
class Finding:
    """A call or name in the source, and the task that it counts for (None: for no task)."""

    line: int  # 0 where none is told
    call: str  # as course.toml or the lists above name it
    used: str  # as written
    task: str | None = None


@dataclass(frozen=True)
class Screen:
    """What the source text shows by itself."""

    syntax_error: str = ""  # two lines: where and what, then the line of the file
    missing: list[str] = field(default_factory=list)  # tasks that nothing at the top level defines
    forbidden: list[Finding] = field(default_factory=list)
    suspicious: list[Finding] = field(default_factory=list)
    shared: frozenset[frozenset[str]] = frozenset()  # pairs of tasks that call the same helper
    spans: tuple[tuple[int, int, list[str | None]], ...] = ()  # first and last line of a definition, and whose it is
    unwritten: frozenset[str] = frozenset()  # tasks that do nothing but raise NotImplementedError

    def with_calls(self, calls: Iterable[str], module: Module, shown: bool = True) -> "Screen":
        """The same with the forbidden calls that the worker saw, where the text did not show them.

        A call is `line name`, or `task name` for what a task itself is. The name is the worker's own account, and so a
        stranger's: what course.toml does not forbid is left out.

        Args:
            shown: whether the student may know the lines; beside hidden rows they could spell out an input.
        """
        told_of = sorted({(found[1], found[2]) for call in calls if (found := SEEN.fullmatch(call))})[:MAX_SEEN]
        seen = sorted((int(line), name) for line, name in told_of if line.isdecimal())
        added = self._new(seen, module)
        made = [(task, name) for task, name in told_of if task in module.tasks and module.forbids(name, task)]
        bare = [Finding(0, name, f"{name}, behind the name {task},", task) for task, name in made]
        bare += [] if shown else [replace(one, line=0, used=f"{one.call}, {UNSHOWN},") for one in added]
        forbidden = [*self.forbidden, *(added if shown else [])]
        for one in bare:  # without a line: told where nothing better is
            if one.task and one.task not in {f.task for f in forbidden}:
                forbidden.append(one)
        told = {f.line for f in forbidden if f.task} | {f.line for f in self.suspicious if f.call not in BY_TEXT}
        listened = packages(module.all_forbidden)
        to_note = {(one.line, one.call) for one in added}  # of no task, or with lines for the instructor only
        noted = [
            Finding(line, name, f"{name}, {RAN if shown else UNSHOWN}")
            for line, name in seen
            if line not in told and ((line, name) in to_note or NOTED.fullmatch(name) or name in listened)
        ]
        return replace(self, forbidden=_tidy(forbidden), suspicious=_tidy([*self.suspicious, *noted]))

    def _new(self, seen: list[tuple[int, str]], module: Module) -> list[Finding]:
        """Forbidden calls on lines where the text shows none."""
        known = {finding.line for finding in self.forbidden if finding.line}
        named = {line for line, name in seen if not name.startswith(KERNEL)}  # the kernel says the same once more
        return [
            Finding(line, name, f"{name}, {RAN},", task)
            for line, name in seen
            if line not in known and not (name.startswith(KERNEL) and line in named)
            for task in self._tasks_at(line)
            if module.forbids(name, task)
        ]

    def _tasks_at(self, line: int) -> list[str | None]:
        """The tasks that the code on a line counts for."""
        at = bisect_right(self.spans, line, key=lambda span: span[0]) - 1
        return self.spans[at][2] if at >= 0 and line <= self.spans[at][1] else [None]


def screen(source: str, module: Module) -> Screen:
    """Look at a source text from a stranger. It never raises, whatever the text."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    lines = source.encode(errors="replace").split(b"\n")  # places in the tree count bytes
    tree = _parse(source, f"{module.name}.py")
    if isinstance(tree, str):
        return Screen(tree)
    names = Names(tree)
    missing = [task for task in module.tasks if task not in names.root.names]
    forbidden = _Forbidden(names, module, lines)
    every = [*forbidden.bound(), *forbidden.used()]
    found = _tidy(finding for finding in every if module.forbids(finding.call, finding.task))
    noted = [(node, call) for node, call in ways_out(names) if call not in module.usual]
    suspicious = _tidy(Finding(getattr(node, "lineno", 0), call, _written(node, lines)) for node, call in noted)
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    spans = tuple((node.lineno, node.end_lineno or node.lineno, forbidden.blamed((node.name,))) for node in defined)
    unwritten = frozenset(node.name for node in defined if _only_raises(node))
    return Screen("", missing, found, suspicious[:MAX_NOTES], _shared(forbidden.tasks, module), spans, unwritten)


def _only_raises(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a function, or each of a class, holds a docstring and `raise NotImplementedError` and nothing else."""
    if isinstance(node, ast.ClassDef):
        inside = [child for child in node.body if isinstance(child, ast.FunctionDef)]
        return bool(inside) and all(_only_raises(child) for child in inside)
    *before, last = node.body
    said = all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in before)
    error = last.exc if isinstance(last, ast.Raise) else None
    raised = error.func if isinstance(error, ast.Call) else error
    return said and isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def syntax_problem(source: str, module: Module) -> str:
    """Why a text does not parse, as `screen` says it; empty if it does."""
    tree = _parse(source, f"{module.name}.py")
    return tree if isinstance(tree, str) else ""


def _parse(source: str, file: str) -> ast.Module | str:
    """The tree, or why there is none."""
    if "\0" in source:
        return f"{file} does not parse: it has NUL bytes in it; save it as UTF-8"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # '\d' and the like: not ours to print
            # Only parsed: the compiler behind it copies nested `finally` blocks, 2^20 of them from a file of 4 KB.
            return ast.parse(source)
    except SyntaxError as error:
        return f"{file} does not parse: {_syntax(error, source)}"
    except (RecursionError, MemoryError):
        return f"{file} does not parse: an expression in it is nested too deeply"
    except ValueError:  # half of a surrogate pair
        return f"{file} does not parse: it has characters that are not Unicode in it; save it as UTF-8"


def _syntax(error: SyntaxError, source: str) -> str:
    message = one_line(error.msg)
    if isinstance(error, TabError):
        message = "tabs and spaces are mixed in the indentation; use four spaces a level"
    elif "unindent does not match" in message:
        message = "the indentation of this line matches no line above it; use four spaces a level"
    if error.lineno is None:
        return message
    lines = source.split("\n")
    quoted = one_line(lines[error.lineno - 1], 100) if 0 < error.lineno <= len(lines) else ""
    return f"line {error.lineno}: {message}" + (f"\n    {quoted}" if quoted else "")


class _Forbidden:
    """The forbidden calls of one source text."""

    def __init__(self, names: Names, module: Module, lines: list[bytes]) -> None:
        self.names, self.module, self.lines = names, module, lines
        self.methods = {entry.removeprefix(METHOD) for entry in module.all_forbidden if entry.startswith(METHOD)}
        self.calls = {entry: entry for entry in module.all_forbidden if not entry.startswith((METHOD, KERNEL))}
        self.calls |= {f"torch.Tensor.{method}": METHOD + method for method in self.methods}
        self.endings = by_last_word(self.calls)
        self.objects = by_object(self.calls)
        self.packages = packages(module.all_forbidden)
        self.own = {name for scope in names.scopes if scope.kind == "class" for name in scope.names}
        self.own |= {
            write.attr for write, _ in names.writes if isinstance(write.value, ast.Name) and write.value.id == "self"
        }
        self.sure: dict[int, bool] = {}  # id of a function or an annotation → whether it is one of a tensor
        self.tasks = _tasks(names, module)

    def used(self) -> Iterator[Finding]:
        """Where the source reads something forbidden."""
        for node, at in self.names.reads:
            # `sm = torch.softmax` only gives it another name: what counts is where sm is read.
            renamed = id(node) in self.names.aliases
            origins = frozenset() if at.quiet else self.names.origins(node, at.scope)
            hits = set() if renamed else self._named(origins)
            if not origins and not at.quiet:
                hits = self._method(node, at)
            for call in sorted(hits):
                for task in self.blamed(at.unit):
                    yield Finding(node.lineno, call, _written(node, self.lines), task)

    def bound(self) -> Iterator[Finding]:
        """Where a task itself is nothing but another name: `from torch import softmax`."""
        for task in self.module.tasks:
            for binding in self.names.root.live(task) if task in self.names.root.names else []:
                for call in sorted(self._named(self.names.of_binding(binding))):
                    line = getattr(binding.node, "lineno", 0)
                    yield Finding(line, call, _written(binding.node, self.lines), task)

    def _named(self, origins: frozenset[str]) -> set[str]:
        """The entries of course.toml that dotted names fall under."""
        starts = {entry: f".{entry.removesuffix('*')}" for entry in self.packages}
        inside = {entry for entry, start in starts.items() for origin in origins if start in f".{origin}"}
        named = {self.calls[name] for name in endings(origins, self.endings)}
        same = {self.objects.get(id(resolve(origin)), "") for origin in origins}
        return inside | named | same - {""}

    def _method(self, node: ast.AST, at: At) -> set[str]:
        """x.softmax, also as getattr(x, "softmax"), where x may well be a tensor."""
        match node:
            case ast.Attribute(attr=attribute, value=receiver):
                method: str | None = attribute
            case ast.Call(args=[receiver, word, *_]) if self.names.is_builtin_call(node, at.scope, "getattr"):
                method = folded(word)
            case _:
                return set()
        if method not in self.methods or self._is_own(receiver, method, at.scope):
            return set()
        return {METHOD + method}

    def _is_own(self, receiver: ast.expr, method: str, scope: Scope) -> bool:
        """Whether the receiver is the student's own object, or may be: a class of the file has such a method.

        The worker sees what is called in the end, so that no tensor gets away with it.
        """
        match receiver:
            case ast.Name(id="self" | "cls") if in_class(scope):
                return True
            case ast.Name():
                found = self.names.lookup(receiver, scope)
                if found is not None and any(isinstance(binding.node, DEFINITIONS) for binding in found[1]):
                    return True
        return method in self.own and not self._is_tensor(receiver, scope)

    def _is_tensor(self, node: ast.AST, scope: Scope) -> bool:
        """Whether an expression is sure to be a tensor: an operator or torch made it, or an annotation says so."""
        stack = [(node, scope)]
        for _ in range(MAX_STEPS):
            if not stack:
                break
            node, scope = stack.pop()
            match node:
                case ast.BinOp(op=ast.MatMult() | ast.Sub() | ast.Div()):
                    return True
                case ast.BinOp(left=left, right=right):  # [Head()] * 4 is a list
                    stack += [(left, scope), (right, scope)]
                case ast.Call(func=ast.Name(id="type"), args=[value]):
                    stack.append((value, scope))
                case ast.Call(func=function):
                    if self._gives_tensor(function, scope):
                        return True
                    if isinstance(function, ast.Attribute):  # x.mT and x.exp() are tensors if x is
                        stack.append((function.value, scope))
                case ast.Attribute(value=value) | ast.Subscript(value=value) | ast.NamedExpr(value=value):
                    stack.append((value, scope))
                case ast.Name():
                    found = self.names.lookup(node, scope)
                    for binding in found[1] if found else ():
                        if self._says_tensor(getattr(binding.node, "annotation", None), binding.scope):
                            return True
                        stack += [(binding.value, binding.scope)] if binding.value else []
        return False

    def _gives_tensor(self, function: ast.AST, scope: Scope) -> bool:
        """torch.exp, F.relu."""
        if id(function) not in self.sure:
            origins = self.names.origins(function, scope)
            self.sure[id(function)] = any(TENSORS.fullmatch(origin) for origin in origins)
        return self.sure[id(function)]

    def _says_tensor(self, annotation: ast.AST | None, scope: Scope) -> bool:
        """Tensor, Tensor | None, Float[Tensor, "batch seq_len"]; not list[Tensor]."""
        if annotation is not None and id(annotation) not in self.sure:
            self.sure[id(annotation)] = self._names_tensor(annotation, scope)
        return annotation is not None and self.sure[id(annotation)]

    def _names_tensor(self, annotation: ast.AST, scope: Scope) -> bool:
        stack = [annotation]
        for _ in range(MAX_STEPS):
            match stack.pop() if stack else None:
                case ast.BinOp(left=left, right=right):
                    stack += [left, right]
                case ast.Subscript(slice=ast.Tuple(elts=[first, ast.Constant()])):
                    stack.append(first)
                case ast.Name() | ast.Attribute() as name:
                    if "torch.Tensor" in self.names.origins(name, scope):
                        return True
        return False

    def blamed(self, unit: tuple[str, ...]) -> list[str | None]:
        """The tasks that code counts for: its own, else those that reach it through helpers that are no tasks."""
        blamed = {task for name in unit for task in self.tasks.get(name, ())}
        return [task for task in self.module.tasks if task in blamed] or [None]


def _tasks(names: Names, module: Module) -> dict[str, set[str]]:
    """For each top-level name the tasks that it counts for. A task that calls another does not answer for it."""
    read: dict[str, set[str]] = defaultdict(set)
    for node, at in names.reads:
        found = names.lookup(node, at.scope) if isinstance(node, ast.Name) and at.unit else None
        if isinstance(node, ast.Name) and found is not None and found[0] is names.root:
            for name in at.unit:
                read[name].add(node.id)
    reached: dict[str, set[str]] = defaultdict(set)
    for task in module.tasks:
        stack = [task]
        while stack:
            name = stack.pop()
            if task not in reached[name] and (name == task or name not in module.tasks):
                reached[name].add(task)
                stack.extend(read[name])
    return reached


def _shared(reached: dict[str, set[str]], module: Module) -> frozenset[frozenset[str]]:
    """The pairs of tasks that reach the same helper."""
    helpers = [tasks for name, tasks in reached.items() if name not in module.tasks]
    return frozenset(frozenset(pair) for tasks in helpers for pair in combinations(sorted(tasks), 2))


def _written(node: ast.AST, lines: list[bytes]) -> str:
    """The source of a node on one line: the end of a long x.y.z, the start of anything else."""
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
    start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
    if not isinstance(node, ast.Attribute):
        return one_line(lines[first - 1][start : end if first == last else None][:400].decode(errors="replace"), 80)
    start = start if first == last else 0
    cut = first != last or end - start > 80
    text = lines[last - 1][max(start, end - 80) : end].decode(errors="ignore")
    return ("…" if cut else "") + one_line(text, 80)


def _tidy(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, by line; a source can repeat one a hundred thousand times."""
    kept = []
    repeats: Counter[tuple[str, str | None]] = Counter()
    for finding in sorted(dict.fromkeys(findings), key=lambda finding: (finding.line, finding.call, finding.used)):
        repeats[finding.call, finding.task] += 1
        if repeats[finding.call, finding.task] <= MAX_REPEATS:
            kept.append(finding)
    return kept
