"""A zygote's own view of the machine: no network, no other process, only the files that Python and torch need.

The zygote enters once, before it imports torch (a process with threads may not), and every worker inherits the view.
Only the process namespace is made anew for each worker, so that killing its first process kills all.
Source: unshare(2), pivot_root(2), user_namespaces(7), pid_namespaces(7).
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from .kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    call,
)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
VIEW = b"/tmp/view"  # in a tmpfs over /tmp that only this process sees
SCRATCH = Path("/scratch")  # in the view
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
OF_THE_MACHINE = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi")


def enter(readable: Iterable[str], devices: Iterable[str] = ()) -> None:
    """Leave the machine's namespaces and see only these files and folders, read-only, at their own paths.

    Args:
        devices: device files to see beside those that every process needs.

    Raises:
        OSError: the host does not allow it; the process is then as it was, or sees less, never more.
    """
    _unshare()
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    shown = dict.fromkeys([*readable, *DEVICES, *devices, "/proc", "/sys"])  # a descriptor left open leads outside
    view = Path(os.fsdecode(VIEW))
    with ExitStack() as opened:
        sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in shown}
        for fd in sources.values():
            opened.callback(os.close, fd)
        call("mount", b"tmpfs", b"/tmp", b"tmpfs", MS_NOSUID, b"mode=755")
        view.mkdir()
        (view / SCRATCH.name).mkdir()
        call("mount", VIEW, VIEW, None, MS_BIND | MS_REC, None)  # pivot_root wants a mount point
        for path, fd in sources.items():
            _show(path, fd, view)
    os.chdir(view)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def begin_processes() -> None:
    """Go on as the first process of a process namespace; the process that called only waits for it.

    Without root a process may set up namespaces only below one that its own user namespace owns.
    """
    call("unshare", CLONE_NEWPID)
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        os._exit(max(os.waitstatus_to_exitcode(status), 0))


def hide(path: str) -> None:
    """Take a folder out of the view again."""
    call("umount2", os.fsencode(path), MNT_DETACH)


def small_disk(path: Path, mib: int) -> None:
    """Put an empty file system in memory on a folder."""
    call(
        "mount",
        b"tmpfs",
        os.fsencode(path),
        b"tmpfs",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        f"size={mib}m,mode=700".encode(),
    )


def new_process_namespace(own: int) -> None:
    """Let the next fork begin a process namespace. `own`: an open /proc/self/ns/pid of this process."""
    call("setns", own, CLONE_NEWPID)
    call("unshare", CLONE_NEWPID)


def own_proc() -> None:
    """Show the first process of a process namespace a /proc with the numbers of its own threads.

    The driver of a GPU writes the names of its threads there, so it is writable, but for what is the machine's.
    """
    call("unshare", CLONE_NEWNS)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    for place in map(os.fsencode, filter(os.path.exists, OF_THE_MACHINE)):
        call("mount", place, place, None, MS_BIND, None)
        call("mount", None, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, None)


def _unshare() -> None:
    flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        call("unshare", flags)
        return
    call("unshare", flags | CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _show(path: str, fd: int, view: Path) -> None:
    """Bind a file or folder of the machine into the view, read-only where the kernel lets us say so."""
    target = view / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    place = os.fsencode(target)
    call("mount", f"/proc/self/fd/{fd}".encode(), place, None, MS_BIND | MS_REC, None)
    with suppress(OSError):  # a flag of the host's mount may be locked; Landlock forbids writing anyway
        call("mount", None, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID, None)
