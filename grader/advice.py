"""What a student should know of a file before its results: how it is saved, what lies beside it, what it leaves behind.

Nothing here costs points. It is for one's own file on one's own machine; a class is not looked at in this way.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .course import Course, Module
from .interface import differences
from .names import Names
from .pristine import specification

PACKAGES = ("torch", "numpy", "einops", "jaxtyping", "regex", "tiktoken", "pytest", "typer", "rich", "safetensors")
GENERATOR = "seeds torch for the whole program; use torch.Generator().manual_seed(…) and pass it on"
GLOBAL = {
    "torch.manual_seed": GENERATOR,
    "torch.random.manual_seed": GENERATOR,
    "random.seed": "seeds Python's random for the whole program; use an instance, random.Random(seed)",
    "numpy.random.seed": "seeds numpy for the whole program; use numpy.random.default_rng(seed)",
    "torch.set_default_dtype": "changes the dtype of every new tensor of the program; pass dtype= where you make one",
    "torch.set_default_tensor_type": "changes every new tensor; pass dtype= and device= where you make one",
    "torch.set_default_device": "changes the device of every new tensor; pass device=x.device where you make one",
    "torch.set_num_threads": "changes the threads of the whole program; leave that to whoever runs it",
    "torch.use_deterministic_algorithms": "changes torch for the whole program; leave that to whoever runs it",
}


@dataclass(frozen=True)
class Advice:
    """One sentence; of one task, or of the whole file."""

    text: str
    task: str = ""


def advise(course: Course, module: Module, path: Path, source: str) -> list[Advice]:
    """Everything there is to say of a student's file, in the order to read it."""
    asked = differences(source, specification(course, module), module)
    return [
        *(Advice(text, task) for task, text in asked.items()),
        *map(Advice, _saved(path)),
        *map(Advice, _beside(path, module)),
        *map(Advice, left_behind(source, path.name)),
        *map(Advice, prints(source, path.name)),
    ]


def hiding(folder: Path) -> list[str]:
    """The entries of a folder that hide a module of Python or a package of the course from every file in it."""
    if not folder.is_dir():
        return []
    real = sys.stdlib_module_names | set(PACKAGES)
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if (entry.suffix == ".py" and entry.stem in real) or (entry.name in real and (entry / "__init__.py").is_file())
    )


def hides(name: str, folder: str) -> str:
    """What to say of an entry found by `hiding`."""
    real = name.removesuffix(".py")
    what = "Python's own" if real in sys.stdlib_module_names else "the real"
    return f"{folder}/{name} hides {what} {real} from every file beside it: rename it."


def left_behind(source: str, file: str) -> list[str]:
    """Where a file changes a setting of the whole program, a line each."""
    tree = _what_runs(source)
    names = Names(tree)
    found = []
    for read, at in names.reads:
        for name in names.origins(read, at.scope) & GLOBAL.keys() if isinstance(read, ast.Attribute | ast.Name) else ():
            found.append((read.lineno, name))
    return [f"{file}:{line}: {name} {GLOBAL[name]}." for line, name in sorted(set(found))]


def prints(source: str, file: str) -> list[str]:
    """Where a file still prints: a line, or none."""
    calls = [node for node in ast.walk(_what_runs(source)) if isinstance(node, ast.Call)]
    lines = sorted({node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"})
    if not lines:
        return []
    where = f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}"
    return [f"{file} prints ({where}). It costs nothing; take it out before you hand in."]


def _what_runs(source: str) -> ast.Module:
    """The tree of a file without what does not run when it is imported; an empty one where it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])
    tree.body = [node for node in tree.body if not _is_main(node)]
    return tree


def _is_main(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, which does not run when the file is imported."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _saved(path: Path) -> Iterator[str]:
    """How the bytes of the file are to be read; none of it does harm here."""
    raw = path.read_bytes() if path.is_file() else b""
    if raw.startswith(b"\xef\xbb\xbf"):
        yield f"{path.name} begins with a byte order mark (BOM). It is read without it; save as plain UTF-8."
    if b"\r\n" in raw:
        mixed = "some lines with" if raw.count(b"\n") > raw.count(b"\r\n") else "Windows line ends,"
        yield f"{path.name} has {mixed} CR LF. That does no harm; line numbers are the same."


def _beside(path: Path, module: Module) -> Iterator[str]:
    """Files next to it that are mistaken for something else."""
    for name in hiding(path.parent):
        if name != path.name:
            yield hides(name, path.parent.name)
    notebook = path.with_name(f"{module.name}.ipynb")
    if notebook.is_file():
        yield f"{notebook.name} lies beside {path.name}: only {path.name} is checked."
