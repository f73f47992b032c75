"""A look at this machine: what a student or an instructor should know before the first run."""

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory

from . import isolation
from .advice import hides, hiding
from .course import Course, find_root, load_course
from .errors import BadRequest, GraderFault
from .run import cores
from .text import one_line
from .zygotes import THREADS

MEMORY_NEEDED = 2 << 30  # bytes; torch and two workers
DISK_NEEDED = 1 << 30
COLUMNS = 80
NOTICE_SECONDS = 3
TORCH_SECONDS = 120
CONTAINER_MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
TORCH = """
import json, time
start = time.monotonic()
import torch
device = "cpu"
if torch.cuda.is_available():
    device = f"cuda: {torch.cuda.get_device_name()}"
elif torch.backends.mps.is_available():
    device = "mps"
seconds = time.monotonic() - start
print(json.dumps({"seconds": seconds, "device": device, "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    fine: bool
    advice: str = ""


def examine() -> list[Finding]:
    """Everything worth knowing, in the order to mend it."""
    course, where = _course()
    folder = course.root if course else Path.cwd()
    return [
        where,
        _python(),
        *_packages(),
        *_torch(),
        _memory(),
        _disk(folder),
        _terminal(),
        *([_saves(folder)] if course else []),
        *_shadows([folder, folder / "assignments"]),
        _isolation(course),
    ]


def _course() -> tuple[Course | None, Finding]:
    try:
        course = load_course(find_root())
    except BadRequest as error:
        return None, Finding("course", str(error), False, "Go to the folder that holds course.toml.")
    return course, Finding("course", f"{course.title or 'no title'} in {course.root}", True)


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding(
        "python", f"{platform.python_version()} at {sys.executable}", fine, "" if fine else "Use 3.11 or newer."
    )


def _packages() -> list[Finding]:
    """The packages of the base install: the version found beside the one wanted."""
    from packaging.requirements import Requirement

    found = []
    for line in requires("llm-from-scratch-kit") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            found.append(
                Finding(wanted.name, f"not installed (wanted {wanted.specifier})", False, f"pip install '{wanted}'")
            )
            continue
        fine = wanted.specifier.contains(have, prereleases=True)
        advice = "" if fine else f"Install what is wanted: pip install '{wanted}'"
        found.append(Finding(wanted.name, f"{have} (wanted {wanted.specifier})", fine, advice))
    return found


def _torch() -> list[Finding]:
    """What torch says of itself in a process of its own: a broken one must not take the doctor with it."""
    command = [sys.executable, "-P", "-c", TORCH]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False, env=_untouched()
        )
    except subprocess.TimeoutExpired:
        advice = "Is the disk slow, or the machine very busy? Try again."
        return [Finding("torch starts", f"not within {TORCH_SECONDS} seconds", False, advice)]
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [Finding("torch starts", one_line(why), False, "Install it anew: make setup, or pip install torch.")]
    said = json.loads(done.stdout)
    threads = f"your own programs: {said['threads']} of {cores()} cores; the grader: one in each of its workers"
    return [
        Finding("torch starts", f"in {said['seconds']:.1f} s", True),
        Finding("device", f"{said['device']}; checks run on the cpu unless --device says otherwise", True),
        Finding("threads", threads, True),
    ]


def _untouched() -> dict[str, str]:
    """The environment without the number of threads that the grader has set for itself."""
    return {name: value for name, value in os.environ.items() if name not in THREADS}


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "unknown on this system", True)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = min([total, *_container_limits()])
    where = " (the limit of this container)" if limit < total else ""
    fine = limit >= MEMORY_NEEDED
    advice = "" if fine else f"{MEMORY_NEEDED >> 30} GiB are wanted: close other programs, grade with --jobs 1."
    return Finding("memory", f"{limit / 2**30:.1f} GiB{where}", fine, advice)


def _container_limits() -> list[int]:
    """What a container may use, where there is one."""
    texts = [path.read_text().strip() for path in map(Path, CONTAINER_MEMORY) if path.is_file()]
    return [int(text) for text in texts if text.isdigit()]


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    fine = free >= DISK_NEEDED
    advice = "" if fine else f"Free some space: {DISK_NEEDED >> 30} GiB are wanted."
    return Finding("disk", f"{free / 2**30:.1f} GiB free in {folder}", fine, advice)


def _terminal() -> Finding:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        return Finding("terminal", "none here: plain lines, no keys in --watch", True)
    colour = "without colour (NO_COLOR)" if console.no_color else console.color_system or "without colour"
    fine = console.width >= COLUMNS
    advice = "" if fine else f"Make the window at least {COLUMNS} columns wide."
    return Finding("terminal", f"{console.width} x {console.height}, {colour}, {console.encoding}", fine, advice)


def _saves(folder: Path) -> Finding:
    """Write a file and wait for the news of it, as --watch does."""
    stop = threading.Event()
    try:
        with TemporaryDirectory(prefix=".doctor-", dir=folder) as place:
            seconds = _noticed(Path(place) / "saved.py", stop)
    except OSError as error:
        return Finding(
            "saves", f"no file can be written in {folder}: {error.strerror}", False, "Check its permissions."
        )
    if seconds is None:
        return Finding("saves", f"not noticed within {NOTICE_SECONDS} s", False, "Use grader check --watch --poll.")
    return Finding("saves", f"noticed after {seconds * 1000:.0f} ms", True)


def _noticed(file: Path, stop: threading.Event) -> float | None:
    """Seconds from a write to its event; None if none comes."""
    from .saves import saves

    seen = threading.Event()

    def wait() -> None:
        for _ in saves(file, stop):
            seen.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    start = time.monotonic()
    try:
        while time.monotonic() - start < NOTICE_SECONDS:  # the first writes may come before the watch has begun
            wrote = time.monotonic()
            file.write_text("")
            if seen.wait(0.3):
                return time.monotonic() - wrote
        return None
    finally:
        stop.set()
        waiting.join()


def _shadows(folders: list[Path]) -> list[Finding]:
    """Files that hide a module of Python or a package of the course."""
    found = [(folder, name) for folder in folders for name in hiding(folder)]
    return [Finding("file names", hides(name, folder.name), False) for folder, name in found]


def _isolation(course: Course | None) -> Finding:
    """The level that the canaries of a worker measure; without a course only what the machine could give."""
    possible = ", ".join(f"{name} {state}" for name, state in isolation.possible().items())
    module = next((name for name in course.modules if course.check_files(name)), "") if course else ""
    if course is None or not module:
        return Finding("isolation", f"{possible} (not measured: there is no course here)", True)
    from .sandbox import Caps
    from .zygotes import Zygote

    secret = course.root / "course.toml"
    zygote = Zygote(course.check_files(module), secret)
    try:
        found = zygote.probe(Caps(**asdict(course.limits)))
    except (BadRequest, GraderFault) as error:
        return Finding("isolation", f"a worker does not start: {error}", False, "Mend what is said above this first.")
    finally:
        zygote.close()
    said = found.describe()
    weak = [line for line in said if line.startswith("not protected")]
    advice = f"{'; '.join(weak)}. Your own work is safe to check; grade strangers elsewhere." if weak else ""
    return Finding("isolation", f"measured: {', '.join(line for line in said if line not in weak)}", True, advice)
