"""Running a module's payoff: handouts/demos/MODULE.py on an implementation, in this process."""

import importlib.util
import os
import sys
import traceback
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

    A kit holds no given part of its newest module: where that one is not right, the demos before it are all there is.
    Those that train for minutes do it on the device, the others on the CPU.

    Raises:
        BadRequest: the files are in no folder, or none of them can be shown.
    """
    folder = impl or course.root / "assignments"
    if not folder.is_dir():
        raise BadRequest(f"`demo all` takes the folder of your files; {folder} is none.")
    files: dict[str, str] = {}
    shown = []
    for module in course.modules.values():
        file = f"{module.name}.py"
        source, why = _checked(course, module, folder)
        if why and not (course.root / GIVEN_FOLDER / file).is_file():
            say(f"{module.name}: not shown, since {file} {why} and there is no given one here")
            break
        say(f"{module.name}: your own" if not why else f"{module.name}: the given one, since {file} {why}")
        files[file] = course.source(GIVEN_FOLDER, module.name) if why else source
        shown.append(module)
    if not shown:
        raise BadRequest(f"There is nothing to show yet. Next: grader check {module.name}")
    pictures = []
    for module in shown:
        say(f"\n{module.week}. {module.title}")
        pictures += _run(course, module, files, out, say, device if module.name in ON_A_GPU else CPU)
    return pictures


def _checked(course: Course, module: Module, folder: Path) -> tuple[str, str]:
    """The source of a module that somebody wrote, and why it cannot be used."""
    from .grade import grade
    from .opening import open_session
    from .options import Options

    file = folder / f"{module.name}.py"
    if not file.exists():
        return "", "is not there"
    [submission] = collect(file, module.name)
    if submission.problem:
        return "", f"cannot be read: {submission.problem}"
    with open_session(course, module, seed=0) as session:
        record = grade(session, submission, "", Options(ban=False))
    if record.problem:
        return "", f"cannot be imported: {one_line(record.problem)}"
    if all(check.status == "missing" for check in record.checks):
        return "", "is not written yet"
    wrong = dict.fromkeys(check.task for check in record.checks if check.status != "passed")
    return submission.files[file.name], f"is not right yet in {', '.join(wrong)}" if wrong else ""


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
    except (BadRequest, OSError):
        raise
    except Exception as error:
        if "GRADER_DEBUG" in os.environ:
            raise
        raise BadRequest(f"{_where(error, module)}. Next: grader check {module.name}") from None
    finally:
        loading.forget()
    return pictures


def _where(error: Exception, module: Module) -> str:
    """What ended a demo, and the line of the person's files at which it did, as far as it was there."""
    what = f"{type(error).__name__}: {one_line(str(error))}".rstrip(". ")
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        what = f"{type(error).__name__}: {error.msg}"
        places.append((str(error.filename), error.lineno))
    own = [place for place in places if place[0].startswith(f"{loading.PACKAGE}/")]
    if own:
        return f"The demo ended at {Path(own[-1][0]).name}, line {own[-1][1]}: {what}"
    return f"The demo cannot go on with what {module.name}.py gives it: {what}"


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
