"""What a zygote prepares for its workers, and what a report says about it.

Levels: A, everything the canaries try is stopped, inside namespaces; B, the same by the kernel's own filters
(Landlock, seccomp); C, a user of its own, but files or network are open; D, a separate process and no more.
"""

import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import landlock, namespaces, seccomp
from .device import gpu_files, gpu_nodes, is_gpu
from .kernel import LINUX, PR_SET_DUMPABLE, call

LEVELS = ("A", "B", "C", "D")
SYSTEM = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo", "/sys/devices/system/cpu"),
)
GUARDED = {"files", "writing", "network", "signals", "memory of others", "processes"}
FROM_OTHERS = {"signals", "memory of others"}
NAMESPACES = "namespaces"


@dataclass(frozen=True)
class Ground:
    """What a zygote stands on: the files its workers may read, and the namespaces it has entered."""

    readable: tuple[str, ...]
    process_namespace: int | None  # open /proc/self/ns/pid, where each worker can have one of its own
    absent: dict[str, str]  # layer → why it is not there
    tasks: int = 0  # processes and threads that its user had before, and that a limit on them would count


def prepare(check_folder: Path, secret: Path, skip: tuple[str, ...], device: str) -> Ground:
    """Enter the namespaces that the host allows. Called before torch is imported.

    Folders that hold the secret leave the import path first, so that `import reference` finds nothing.
    """
    sys.path[:] = [entry for entry in sys.path if entry and not secret.is_relative_to(Path(entry).resolve())]
    readable = tuple(path for path in dict.fromkeys([*_python(), *SYSTEM]) if os.path.exists(path))
    tasks = _tasks() if LINUX and os.geteuid() != 0 else 0
    if NAMESPACES in skip:
        return Ground(readable, None, {NAMESPACES: "left out"}, tasks)
    try:
        files, nodes = (gpu_files(), gpu_nodes()) if is_gpu(device) else ([], [])
        outside = [path for path in files if not path.startswith(("/proc", "/sys")) and os.path.exists(path)]
        namespaces.enter([*readable, str(check_folder), *outside], nodes)
        if os.getuid() != 0:
            namespaces.begin_processes()
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.new_process_namespace(own)
    except OSError as error:
        return Ground(readable, None, {NAMESPACES: str(error)}, tasks)
    return Ground(readable, own, {}, tasks)


def _tasks() -> int:
    """How many processes and threads this user has."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if folder.stat().st_uid == os.geteuid():
                found += len(os.listdir(folder / "task"))
    return found


def not_dumpable() -> None:
    """Keep other processes of the same user out of this one's memory: for the judge, and a zygote once it is set up."""
    if LINUX:
        call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)


def user_of_slot(uid: int | None, ground: Ground) -> tuple[int | None, str]:
    """The uid a worker can take, or why it cannot: another user must be able to read Python itself."""
    if os.geteuid() != 0 or uid is None:
        return None, "only root can give a worker a user of its own"
    closed = next((path for path in _python() if not _open_to_all(path)), None)
    if closed:
        return None, f"another user cannot read {closed}, where Python is"
    return uid, ""


def level(applied: set[str], held: set[str]) -> str:
    """The level that the canaries vouch for."""
    if held >= GUARDED:
        return "A" if NAMESPACES in applied else "B"
    return "C" if "own user" in applied and held >= FROM_OTHERS else "D"


def describe(applied: set[str], held: set[str], absent: Mapping[str, str]) -> list[str]:
    """The lines of a report: the level, the layers in force, those that are not and why, what is not protected."""
    layers = [
        name
        for name in (NAMESPACES, "own user", "no capabilities", "Landlock", "seccomp", "resource limits")
        if name in applied
    ]
    lines = [f"level {level(applied, held)}", "separate process", "cleared environment", *layers]
    lines += [f"without {name}: {why}" for name, why in absent.items()]
    missing = [name for name in (*sorted(GUARDED), "memory", "disk space") if name not in held]
    return lines + [f"not protected: {name}" for name in missing]


def possible() -> dict[str, str]:
    """Layer → what this machine has of it, for `grader doctor`."""
    version = landlock.abi()
    return {
        "Landlock": f"ABI {version}" if version else "absent",
        "seccomp": "there" if LINUX and seccomp.supported() else "absent",
        "own user": "there" if LINUX and os.geteuid() == 0 else "absent: not root",
    }


def _python() -> list[str]:
    """Where this interpreter and its packages are. The course folder is not among them."""
    found = [sys.base_prefix, sys.prefix, *(entry for entry in sys.path if entry), str(Path(__file__).parent)]
    return [str(Path(path).resolve()) for path in found]


def _open_to_all(path: str) -> bool:
    """Whether any user may reach a file or folder."""
    here = Path(path)
    if not here.exists():
        return True
    return all(stat.S_IMODE(p.stat().st_mode) & 0o001 for p in here.parents) and bool(here.stat().st_mode & 0o004)
