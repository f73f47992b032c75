"""What a worker gives up before it reads a student's file.

In force now: a session of its own, no standard streams, resource limits. The file system, the network and other
processes are not closed off yet; `describe` says so in every report.
"""

import io
import os
import resource
import signal
import sys
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Caps:
    """The limits of one worker, from course.toml."""

    check_cpu_seconds: float
    check_wall_seconds: float
    submission_cpu_seconds: int
    memory_mib: int
    output_kib: int


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


def enter(caps: Caps) -> Printed:
    """Close the process off, as far as this layer goes. Called once, right after the fork."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_CPU, caps.submission_cpu_seconds)
    limit(resource.RLIMIT_DATA, caps.memory_mib * MIB)
    printed = Printed(caps.output_kib)
    sys.stdout = sys.stderr = printed
    return printed


def limit(which: int, value: int) -> None:
    """Lower a resource limit for good, never raise one."""
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def start_clock(seconds: float) -> None:
    """End the process by SIGPROF once it has used this much more CPU time; 0 stops the clock."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def describe() -> list[str]:
    """The layers in force, as the report names them."""
    return ["separate process", "cleared environment", "resource limits"]
