"""What a worker gives up before it reads a student's file, layer by layer.

Each layer is applied where the machine has it, and left out with its reason where not. Nothing here is believed: the
canaries (canary.py) try what a submission would try, and a report names what they saw.
"""

import ctypes
import io
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from . import landlock, namespaces, scratch, seccomp
from .device import CPU, gpu_files, gpu_nodes, is_gpu
from .kernel import LINUX, PR_SET_PDEATHSIG, call, top_of_stack, touch

MIB = 1 << 20
GRACE = 1.25  # times the CPU time of a check, for code that does not return to Python
STACK, ARGUMENTS = 8 << 20, 256 << 10  # of the main thread, and what of it the start of the program may have taken
RESERVED_MIB = 1536  # of addresses, beside the memory: mapped files, and what the C library sets aside for threads
PROCESSES = 64  # and threads
FILES, FILES_FOR_GPU = 256, 4096  # open at a time; a driver opens dozens for each GPU of the machine
CAPABILITY_VERSION = 0x20080522


@dataclass(frozen=True)
class Caps:
    """The limits of one worker, from course.toml."""

    check_cpu_seconds: float
    check_wall_seconds: float
    submission_cpu_seconds: float
    memory_mib: int  # 0: no limit, since a GPU's driver sets aside far more than it uses
    output_kib: int
    gpu_share: float = 1.0  # of the GPU's memory
    submission_wall_seconds: float = 240


@dataclass(frozen=True)
class Orders:
    """How a worker is to be closed off: its limits, its own user where root can give one, the files it may read."""

    caps: Caps
    uid: int | None
    readable: tuple[str, ...]
    scratch: Path | None = None  # the folder it may write to, for checks that save files
    skip: tuple[str, ...] = ()  # layers to leave out, to test the ones below them
    device: str = CPU
    tasks: int = 0  # processes and threads that its user has besides


class Printed(io.TextIOBase):
    """Stands in for stdout: keeps the first and the last few kilobytes of what is printed."""

    def __init__(self, kib: int) -> None:
        self._half = kib * 512
        self._head, self._tail, self._size = "", "", 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._size += len(text)
        room = self._half - len(self._head)
        if room > 0:
            self._head += text[:room]
        rest = text[max(room, 0) :]
        if rest:
            self._tail = (self._tail + rest[-self._half :])[-self._half :]
        return len(text)

    def take(self) -> str:
        """What was printed since the last call, with a line in the middle that says what was cut."""
        cut = self._size - len(self._head) - len(self._tail)
        text = self._head + (f"\n[… {cut} characters cut …]\n" if cut else "") + self._tail
        self._head, self._tail, self._size = "", "", 0
        return text


def enter(orders: Orders) -> dict[str, str]:
    """Close this process off. Called once, right after the fork, while it has one thread.

    Returns:
        layer → "" where it was applied, else why not.
    """
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if is_gpu(orders.device) and os.getpid() == 1:
        with suppress(OSError):  # where it cannot be had, the driver may do without
            namespaces.own_proc()
    layers: dict[str, Callable[[], None]] = {
        "resource limits": lambda: _limits(orders),
        "own user": lambda: _become(orders.uid),
        "no capabilities": _drop_capabilities,
        "ends with its zygote": _end_with_parent,  # forgotten at each change of user
        "Landlock": lambda: _landlock(orders),
        "seccomp": lambda: seccomp.restrict(is_gpu(orders.device)),
    }
    return {name: "left out" if name in orders.skip else _tried(apply) for name, apply in layers.items()}


class OutOfTime(BaseException):
    """Raised in the code that runs when its time is up, so that its traceback says where it was."""


def start_clock(seconds: float) -> None:
    """Raise OutOfTime once this process has used this much more CPU time, and end it a little later; 0: no limit.

    What ends it is libc's own _exit, the signal's number as exit code: it works in C code that never returns to Python,
    and in the first process of a process namespace, where signals without a handler are ignored.
    """
    handle, end = _libc()
    for number in (signal.SIGPROF, signal.SIGXCPU):
        handle(number, end)
    signal.signal(signal.SIGVTALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, GRACE * seconds)


def stop_asking() -> None:
    """No OutOfTime from here on: what follows is our own."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _out_of_time(*_: object) -> None:
    raise OutOfTime


@cache
def _libc() -> tuple[Callable[[int, object], object], object]:
    """The C library's signal, and the address of its _exit."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    return libc.signal, ctypes.cast(libc._exit, ctypes.c_void_p)


def _tried(apply: Callable[[], None]) -> str:
    try:
        apply()
    except OSError as error:
        return str(error)
    return ""


def _limits(orders: Orders) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    gpu = is_gpu(orders.device)  # its driver makes a file in memory, and does not start where that may hold nothing
    _limit(resource.RLIMIT_FSIZE, scratch.FILE_MIB * MIB if orders.scratch or gpu else 0)
    _limit(resource.RLIMIT_NOFILE, FILES_FOR_GPU if gpu else FILES)
    _limit(resource.RLIMIT_CPU, ceil(orders.caps.submission_cpu_seconds), margin=1)  # SIGXCPU first, then SIGKILL
    if orders.caps.memory_mib:
        _limit(resource.RLIMIT_DATA, orders.caps.memory_mib * MIB)
        # what is written and then made read-only counts no more, nor do page tables; a GPU's driver reserves far more
        _limit(resource.RLIMIT_AS, _addresses() + (orders.caps.memory_mib + RESERVED_MIB) * MIB)
        if LINUX:
            _end_growth()
    if LINUX:  # elsewhere nobody has counted what else the user runs
        _limit(resource.RLIMIT_NPROC, PROCESSES + (orders.tasks if orders.uid is None else 0))


def _addresses() -> int:
    """The bytes of addresses that this process has in use, 64 GiB where it cannot be learnt."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return 64 << 30


def _end_growth() -> None:
    """Give the main thread's stack its full size now, of which only what is used takes memory, and no more later.

    No limit on memory counts a stack, and its own limit counts each piece of one that has been cut by itself. Threads
    are not touched: the C library has read at its start how large their stacks are to be.
    """
    now, _ = resource.getrlimit(resource.RLIMIT_STACK)
    size = STACK if now == resource.RLIM_INFINITY else min(now, STACK)
    try:
        touch(top_of_stack() - size + ARGUMENTS)
    except OSError:  # it keeps a limit that only cuts get around
        _limit(resource.RLIMIT_STACK, size)
    else:
        _limit(resource.RLIMIT_STACK, 0)


def _limit(which: int, value: int, margin: int = 0) -> None:
    """Lower a resource limit for good, never raise one."""
    _, hard = resource.getrlimit(which)
    most = value + margin if hard == resource.RLIM_INFINITY else min(value + margin, hard)
    resource.setrlimit(which, (min(value, most), most))


def _become(uid: int | None) -> None:
    """Take a user of the worker's own, without groups."""
    if uid is None:
        raise OSError(0, "no user of its own could be given")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _drop_capabilities() -> None:
    """Give up what root, or the owner of a user namespace, may do."""
    header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION, 0), 8)
    call("capset", header, ctypes.create_string_buffer(24))


def _landlock(orders: Orders) -> None:
    # the driver of a GPU writes the names of its threads, or it does not start
    nodes, files = ([*gpu_nodes(), "/proc/self/task"], gpu_files()) if is_gpu(orders.device) else ([], [])
    landlock.restrict([*orders.readable, *files, "/proc/self"], orders.scratch, nodes)


def _end_with_parent() -> None:
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def replace_streams(kib: int) -> Printed:
    """Let print write into memory, bounded."""
    printed = Printed(kib)
    sys.stdout = sys.stderr = printed
    return printed
