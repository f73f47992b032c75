"""Opening a session: the zygotes are started and warmed, what is right is computed or read."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .collecting import RowId
from .course import REFERENCE, Course, Module
from .device import CPU, check_device, is_gpu
from .errors import BadRequest, GpuOutOfReach
from .isolation import LEVELS, NAMESPACES, not_dumpable
from .sandbox import Caps
from .timings import Timings
from .zygotes import Zygote

if TYPE_CHECKING:
    from .jobs import Jobs
    from .session import Session
    from .source import Source

YOUNG_OBJECTS = 20_000  # between two collections: trees of source texts hold few cycles and many objects
Start = Callable[[Sequence[str]], list[Zygote]]  # with some layers left out
GIVEN_UP_FOR_GPU: tuple[tuple[str, ...], ...] = (  # what costs least comes first
    (),
    (NAMESPACES,),  # the other two keep level B; an ordinary user's driver may not get a /proc of its own inside
    ("seccomp",),  # inside namespaces the rest is still level A
    ("Landlock",),
    ("seccomp", "Landlock"),
    (NAMESPACES, "seccomp"),
    (NAMESPACES, "seccomp", "Landlock"),
    (NAMESPACES, "seccomp", "Landlock", "resource limits"),
    (NAMESPACES, "seccomp", "Landlock", "resource limits", "own user", "no capabilities"),
)


@contextmanager
def open_session(
    course: Course,
    module: Module,
    seed: int,
    device: str = CPU,
    require: str = "D",
    skip: Sequence[str] = (),
    timings: Timings | None = None,
    gpu_workers: int = 1,
) -> Iterator["Session"]:
    """Start the zygotes, warm them, and compute the expected outcomes, or in a kit read them.

    Args:
        device: where the checks run, see device.py.
        require: the isolation level to insist on, see isolation.py.
        skip: layers to leave out, to test the ones below them.
        timings: where to count the time of each step.
        gpu_workers: how many workers share a GPU.
    Raises:
        BadRequest: the machine cannot give the isolation level, or has no such device; a check is of a task that
            course.toml does not list, or a task has no check; a kit's frozen tensors are missing, damaged, or not for
            these checks or this seed.
    """
    check_files = _check_files(course, module)
    check_device(device)
    reference = course.root / REFERENCE / f"{module.name}.py"
    not_dumpable()
    timings = timings or Timings()
    kit = not reference.is_file()
    secret = course.frozen_path(module.name) if kit else reference
    skips = GIVEN_UP_FOR_GPU if is_gpu(device) else (tuple(skip),)
    start = partial(_start, 1 if kit else 2, check_files, secret, device)
    with timings.step("import torch and the checks"):
        first = start(skips[0])
        with _uncollected():
            from .jobs import jobs_of  # these import torch: the judge does it while the zygotes do
            from .session import Session

        jobs = jobs_of(course, module, device, gpu_workers)
        zygotes = _probed(first, start, skips, jobs.caps)
    try:
        _require(zygotes[0], require)
        rows, *_ = [_in_order(zygote.rows, module) for zygote in zygotes]
        warm = jobs.job([jobs.given] if jobs.given else [], rows, {}, watched=module.all_forbidden)
        with timings.step("warm up on given"), ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda zygote: zygote.warm(warm), zygotes))
        yield Session(jobs, seed, zygotes[0], _source(jobs, zygotes[1:], rows, seed, timings), rows, timings)
    finally:
        for zygote in zygotes:
            zygote.close()


def _check_files(course: Course, module: Module) -> list[Path]:
    found = course.check_files(module.name)
    if not found:
        raise BadRequest(f"There are no checks for {module.name}: tests/checks/check_{module.name}.py does not exist.")
    return found


def _source(jobs: "Jobs", trusted: Sequence[Zygote], rows: list[RowId], seed: int, timings: Timings) -> "Source":
    """What is right: of the reference in its zygote, or in a kit, which has none, of the frozen tensors."""
    if trusted:
        from .live import open_live

        return open_live(jobs, trusted[0], rows, seed, timings)
    from .frozen import read_frozen

    return read_frozen(jobs.course, jobs.module, rows, seed, jobs.device)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collections while torch is imported, a fifth of its time, and none later of what it made."""
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()


def _start(count: int, check_files: Sequence[Path], secret: Path, device: str, skip: Sequence[str]) -> list[Zygote]:
    return [Zygote(check_files, secret, skip, device) for _ in range(count)]


def _probed(first: list[Zygote], start: Start, skips: Sequence[Sequence[str]], caps: Caps) -> list[Zygote]:
    """The first zygotes whose workers are ready to work, after the canaries of one of them.

    Drivers of GPUs differ in what they need, so layers are given up one by one until a worker reaches the GPU; but
    where it is out of reach with none of them, at once.
    """
    why = _out_of_reach(first, caps)
    if not why:
        return first
    bare = start(skips[-1])
    if _out_of_reach(bare, caps):
        raise BadRequest(f"No worker can open the GPU: {why}. Use --device cpu.")
    with ExitStack() as unused:
        for zygote in bare:
            unused.callback(zygote.close)
        for skip in skips[1:-1]:
            zygotes = start(skip)
            if not _out_of_reach(zygotes, caps):
                return zygotes
        unused.pop_all()
    return bare


def _out_of_reach(zygotes: list[Zygote], caps: Caps) -> str:
    """Why a worker cannot open the GPU; empty where it can. Zygotes that are of no use are closed."""
    try:
        zygotes[0].probe(caps)
    except BaseException as error:
        for zygote in zygotes:
            zygote.close()
        if not isinstance(error, GpuOutOfReach):
            raise
        return str(error)
    return ""


def _require(students: Zygote, wanted: str) -> None:
    found = students.isolation
    assert found is not None
    if LEVELS.index(found.level) > LEVELS.index(wanted):
        raise BadRequest(f"--require-isolation {wanted}: this machine gives {'; '.join(found.describe())}.")


def _in_order(rows: list[RowId], module: Module) -> list[RowId]:
    """The rows of every task of the module, in the order of course.toml."""
    checked, tasks = {row.task for row in rows}, list(module.tasks)
    for task in checked - set(tasks):
        raise BadRequest(f"A check grades '{task}', which course.toml does not list under {module.name}.")
    for task in set(tasks) - checked:
        raise BadRequest(f"course.toml gives points for '{task}' of {module.name}, but no check grades it.")
    return sorted(rows, key=lambda row: tasks.index(row.task))
