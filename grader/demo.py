"""Running a module's payoff: handouts/demos/MODULE.py on an implementation, in this process."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import loading
from .assemble import GIVEN_FOLDER
from .collect import collect
from .course import Course, Module
from .device import CPU
from .errors import BadRequest
from .text import one_line

ON_A_GPU = ("training", "finetuning")  # the demos that train for minutes
Say = Callable[[str], None]


def run_demo(course: Course, module: Module, impl: Path | None, out: Path, say: Say, device: str = CPU) -> list[Path]:
    """Load the implementation and hand it to the demo; the pictures it wrote.

    The demo runs the file in this process: it is for one's own work, not for a stranger's.

    Raises:
        BadRequest: the demo needs what is not there, or takes no device but the CPU.
    """
    return _run(course, module, _files(course, module, impl), out, say, device)


def run_all(course: Course, impl: Path | None, out: Path, say: Say, device: str = CPU) -> list[Path]:
    """Every demo in the order of the course, on one person's files; what is not right is named, and given instead.

    Those that train for minutes do it on the device, the others on the CPU.
    """
    files = {}
    for module in course.modules.values():
        source, why = _checked(course, module, impl or course.root / "assignments")
        say(f"{module.name}: your own" if not why else f"{module.name}: the given one, since {module.name}.py {why}")
        files[f"{module.name}.py"] = course.source(GIVEN_FOLDER, module.name) if why else source
    pictures = []
    for module in course.modules.values():
        say(f"\n{module.week}. {module.title}")
        pictures += _run(course, module, files, out, say, device if module.name in ON_A_GPU else CPU)
    return pictures


def _checked(course: Course, module: Module, folder: Path) -> tuple[str, str]:
    """The source of a module that somebody wrote, and why it cannot be used."""
    from .grade import Options, grade
    from .opening import open_session

    [submission] = collect(folder / f"{module.name}.py", module.name)
    if submission.problem:
        return "", submission.problem
    with open_session(course, module, seed=0) as session:
        record = grade(session, submission, "", Options(ban=False))
    wrong = dict.fromkeys(check.task for check in record.checks if check.status != "passed")
    if record.problem:
        return "", f"cannot be imported: {one_line(record.problem)}"
    return submission.files[f"{module.name}.py"], f"is not right yet in {', '.join(wrong)}" if wrong else ""


def _run(course: Course, module: Module, files: Mapping[str, str], out: Path, say: Say, device: str) -> list[Path]:
    if device != CPU:
        if module.name not in ON_A_GPU:
            raise BadRequest(f"The demo of {module.name} runs on the CPU; --device is for {' and '.join(ON_A_GPU)}.")
        _open(device)
    script = course.root / "handouts" / "demos" / f"{module.name}.py"
    if not script.is_file():
        raise BadRequest(f"There is no demo for {module.name}: {script} does not exist.")
    spec = importlib.util.spec_from_file_location(f"demo_{module.name}", script)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    with _searched_first(script.parent):
        spec.loader.exec_module(demo)
    out.mkdir(parents=True, exist_ok=True)
    try:
        options = {"device": device} if device != CPU else {}
        pictures: list[Path] = demo.run(loading.load(files, module.name), out, say, **options)
    except NotImplementedError as error:
        todo = str(error) or "a function that raises NotImplementedError"
        raise BadRequest(f"The demo needs the whole module, and this is still to do: {todo}.") from None
    except ModuleNotFoundError as error:
        raise BadRequest(f"{error}. The demo needs it; run: {sys.executable} -m pip install {error.name}") from None
    finally:
        loading.forget()
    return pictures


def _open(device: str) -> None:
    """Open the GPU in this process.

    Raises:
        BadRequest: it cannot be opened.
    """
    from . import gpu

    gpu.check_build(device)
    if why := gpu.start(device, share=1.0):
        raise BadRequest(f"--device {device}: PyTorch cannot use the GPU: {why}. Use --device cpu.")


@contextmanager
def _searched_first(folder: Path) -> Iterator[None]:
    """A demo may import what stands beside it, as any script may."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _files(course: Course, module: Module, impl: Path | None) -> dict[str, str]:
    """The module's file with all that lies beside it of the weeks before, and given ones for what does not."""
    names = [name for name, other in course.modules.items() if other.week < module.week]
    found = collect(impl or course.root / "assignments" / f"{module.name}.py", module.name, names)
    if len(found) != 1 or found[0].problem:
        why = found[0].problem or f"{len(found)} submissions; the demo takes one"
        raise BadRequest(f"{impl or 'assignments'}: {why}")
    return {f"{name}.py": course.source(GIVEN_FOLDER, name) for name in names} | found[0].files
