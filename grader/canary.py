"""Canaries: a worker tries what a hostile submission would try, before the student's file is read.

Each probe returns whether it was stopped. They cost microseconds, so every worker runs them all.
"""

import mmap
import os
import resource
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import scratch
from .kernel import CLONE_NEWUSER, LINUX, call, top_of_stack, touch
from .sandbox import RESERVED_MIB

MAP_GROWSDOWN = 0x100  # of Linux: a mapping that counts as a stack
DEEP = 16 << 20  # bytes, below any stack that a worker should have
KINDS_OF_MEMORY = (mmap.MAP_PRIVATE, mmap.MAP_SHARED, mmap.MAP_PRIVATE | MAP_GROWSDOWN)


@dataclass(frozen=True)
class Bait:
    """What the probes go for."""

    secret: str  # a file that no submission may read: the reference
    pids: tuple[int, ...]  # of the judge and the zygote
    memory_bytes: int  # the limit
    scratch: Path | None = None  # the folder it may write to


def watch(bait: Bait) -> list[str]:
    """The names of the probes that were stopped."""
    probes: dict[str, Callable[[], bool]] = {
        "files": lambda: _refused(partial(_read, bait.secret)),
        "writing": lambda: _refused(_write) and _refused(partial(_change, bait.secret)),
        "network": lambda: _refused(_connect),
        "signals": lambda: all(_refused(partial(reach, pid)) for pid in bait.pids for reach in (_signal, _limit)),
        "memory of others": lambda: LINUX and all(_refused(partial(_read, f"/proc/{pid}/mem")) for pid in bait.pids),
        "processes": _cannot_multiply,
        "new namespaces": lambda: _refused(partial(call, "unshare", CLONE_NEWUSER)),
        "memory": lambda: (
            all(_refused(partial(_map, bait.memory_bytes, flags)) for flags in KINDS_OF_MEMORY)
            and _refused(partial(_reserve, bait.memory_bytes + (RESERVED_MIB << 20)))
            and _refused(_grow_stack)
            and _refused(_resize_stack)
        ),
        "disk space": lambda: scratch.is_small(bait.scratch),
    }
    return [name for name, probe in probes.items() if probe()]


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError):
        return True
    return False


def _map(size: int, flags: int) -> None:
    mmap.mmap(-1, size + mmap.PAGESIZE, flags | mmap.MAP_ANONYMOUS).close()


def _reserve(size: int) -> None:
    """Take addresses that cannot be written to; what was written before it became so counts as no memory either."""
    mmap.mmap(-1, size + mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ).close()


def _grow_stack() -> None:
    """Use the stack below where its limit should end, after raising that."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (most, most))
    touch(top_of_stack() - DEEP)


def _resize_stack() -> None:
    """Give a page of the stack the size that it has; who may do that may make it larger."""
    call("mremap", top_of_stack() // mmap.PAGESIZE * mmap.PAGESIZE, mmap.PAGESIZE, mmap.PAGESIZE, 0)


def _read(path: str) -> None:
    open(path, "rb").close()


def _write() -> None:
    path = f"/tmp/canary-{os.getpid()}"
    open(path, "wb").close()
    os.unlink(path)


def _change(path: str) -> None:
    """Give a file the mode that it has: Landlock does not look at that."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def _limit(pid: int) -> None:
    """Ask for a limit of another process; who may ask may lower it."""
    if hasattr(resource, "prlimit"):
        resource.prlimit(pid, resource.RLIMIT_CORE)


def _connect() -> None:
    """Reach the machine's own loopback; a refused connection has reached it."""
    with socket.socket() as sock:
        try:
            sock.connect(("127.0.0.1", 9))
        except ConnectionRefusedError:
            return


def _cannot_multiply() -> bool:
    """Whether a process started here is refused, or cannot outlive this one: the first of a process namespace."""
    if os.getpid() == 1:
        return True
    try:
        pid = os.fork()
    except OSError:
        return True
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return False
