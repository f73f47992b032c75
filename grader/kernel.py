"""Calls of the Linux kernel that Python does not wrap, through libc."""

import ctypes
import os
import platform
import sys

LINUX = sys.platform == "linux"
MACHINE = platform.machine()

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER = 0x20000, 0x4000000, 0x8000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def call(name: str, *arguments: object) -> int:
    """A function of libc, e.g. call("prctl", 38, 1, 0, 0, 0).

    Raises:
        OSError: it returned -1, or this is not Linux.
    """
    if _libc is None:
        raise OSError(0, f"{name} is not there on {sys.platform}")
    result = int(getattr(_libc, name)(*map(_word, arguments)))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def syscall(number: int, *arguments: object) -> int:
    """A system call by its number, for those that libc does not name."""
    return call("syscall", number, *arguments)


def top_of_stack() -> int:
    """An address near the top of the main thread's stack; 0 where it cannot be learnt."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[25])
    except (OSError, IndexError):
        return 0


def touch(address: int) -> None:
    """Write a zero byte to an address of this process: by the kernel, which answers where a fault would kill.

    Raises:
        OSError: nothing is there, and no stack may grow to it.
    """
    ours, theirs = os.pipe()
    try:
        os.write(theirs, b"\0")
        call("read", ours, address, 1)
    finally:
        os.close(ours)
        os.close(theirs)


def _word(value: object) -> object:
    return ctypes.c_long(int(value)) if isinstance(value, int) else value
