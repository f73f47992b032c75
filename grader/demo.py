"""Running a module's payoff: handouts/demos/MODULE.py on an implementation, in this process."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import loading
from .assemble import assemble
from .collect import collect
from .course import Course, Module
from .errors import BadRequest


def run_demo(course: Course, module: Module, impl: Path | None, out: Path, say: Callable[[str], None]) -> list[Path]:
    """Load the implementation and hand it to the demo; the pictures it wrote.

    The demo runs the file in this process: it is for one's own work, not for a stranger's.
    """
    script = course.root / "handouts" / "demos" / f"{module.name}.py"
    if not script.is_file():
        raise BadRequest(f"There is no demo for {module.name}: {script} does not exist.")
    spec = importlib.util.spec_from_file_location(f"demo_{module.name}", script)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    with _searched_first(script.parent):
        spec.loader.exec_module(demo)
    files = _files(course, module, impl)
    out.mkdir(parents=True, exist_ok=True)
    try:
        pictures: list[Path] = demo.run(loading.load(files, module.name), out, say)
    except NotImplementedError as error:
        todo = str(error) or "a function that raises NotImplementedError"
        raise BadRequest(f"The demo needs the whole module, and this is still to do: {todo}.") from None
    except ModuleNotFoundError as error:
        raise BadRequest(f"{error}. The demo needs it; run: pip install {error.name}") from None
    return pictures


@contextmanager
def _searched_first(folder: Path) -> Iterator[None]:
    """A demo may import what stands beside it, as any script may."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _files(course: Course, module: Module, impl: Path | None) -> dict[str, str]:
    found = collect(impl or course.root / "assignments" / f"{module.name}.py", module.name, module.upstream)
    if len(found) != 1 or found[0].problem:
        why = found[0].problem or f"{len(found)} submissions; the demo takes one"
        raise BadRequest(f"{impl or 'assignments'}: {why}")
    return assemble(course, module, found[0].files, upstream="own")
