"""Timing a whole process: wall time, and where the CPU time of its children went."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PERIOD = 0.05  # seconds between two looks at /proc
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Timed:
    """One run of a command. CPU time is user and system, the children that it waited for included."""

    wall: float
    cpu: float
    code: int
    said: str = field(repr=False)


@dataclass
class Look:
    """The CPU seconds seen of a process and of each child: (its own, those of the children that it waited for)."""

    own: float = 0.0
    children: dict[int, tuple[float, float]] = field(default_factory=dict)
    wall: float = 0.0


def timed(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[subprocess.Popen[str]], None] | None = None,
) -> Timed:
    """Run a command to its end. `watch` looks at it meanwhile, in a thread."""
    start = time.perf_counter()
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, stdout=pipe, stderr=out, text=True
    )
    watcher = threading.Thread(target=watch, args=(process,)) if watch else None
    if watcher:
        watcher.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if watcher:
        watcher.join()
    return Timed(wall, usage.ru_utime + usage.ru_stime, process.returncode, said)


class Watch:
    """Looks at a process and its children until it ends; keeps the last look, and that when `begun` became true."""

    def __init__(self, begun: Callable[[], bool]) -> None:
        self.last, self.first = Look(), Look()
        self._begun = begun

    def __call__(self, process: subprocess.Popen[str]) -> None:
        start = time.perf_counter()
        waiting = True
        while (own := _cpu(process.pid)) is not None:
            self.last.own = sum(own)
            for child in _children(process.pid):
                self.last.children[child] = _cpu(child) or self.last.children.get(child, (0.0, 0.0))
            if waiting and self._begun():
                waiting = False
                self.first = Look(self.last.own, dict(self.last.children), time.perf_counter() - start)
            time.sleep(PERIOD)


class Memory:
    """Looks at a process and all below it until it ends; keeps the most memory seen, shared pages shared out (PSS)."""

    def __init__(self) -> None:
        self.most_mib = 0.0

    def __call__(self, process: subprocess.Popen[str]) -> None:
        while _cpu(process.pid) is not None:
            self.most_mib = max(self.most_mib, sum(map(_pss_kib, _tree(process.pid))) / 1024)
            time.sleep(2 * PERIOD)


def _tree(pid: int) -> list[int]:
    return [pid, *(below for child in _children(pid) for below in _tree(child))]


def _pss_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _cpu(pid: int) -> tuple[float, float] | None:
    """CPU seconds of a process and of the children it waited for; None once it has ended."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    user, system, children_user, children_system = (int(ticks) / TICKS for ticks in fields[11:15])
    return user + system, children_user + children_system


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (the name before it may hold anything)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _children(pid: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return sorted(int(child) for text in lists for child in text.split())
