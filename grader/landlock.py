"""Landlock: a process gives up all files but a list, all TCP, and signals to others. No privilege is needed.

Source: the kernel's Documentation/userspace-api/landlock.rst. The three system calls have the same numbers on every
architecture. What an older kernel does not know is left out, so the rules in force depend on its ABI version.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from .kernel import PR_SET_NO_NEW_PRIVS, call, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH, VERSION_FLAG = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEVICE = 1 << 14, 1 << 15  # from ABI 3 and 5
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version knows
TCP_RIGHTS = 0b11  # bind and connect, from ABI 4
SCOPES = 0b11  # abstract sockets and signals, from ABI 6


def abi() -> int:
    """The version that this kernel speaks; 0 when it has none or the container's filter hides it."""
    try:
        return syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    except OSError:
        return 0


def restrict(readable: Iterable[str], writable: Path | None = None, devices: Iterable[str] = ()) -> None:
    """Leave this process only these files and folders, to read; a path that is not there is passed over.

    Args:
        writable: a folder where everything is allowed but to execute.
        devices: device files that may be written and sent commands to, or folders whose files may be.

    Raises:
        OSError: the kernel refuses.
    """
    version = abi()
    if not version:
        raise OSError(0, "the kernel has no Landlock, or hides it")
    rights = (1 << RIGHTS_OF_ABI.get(version, 16)) - 1
    fields = [rights, TCP_RIGHTS if version >= 4 else 0, SCOPES if version >= 6 else 0]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = syscall(CREATE_RULESET, ctypes.create_string_buffer(attributes[:size], size), size, 0)
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in devices:
            _allow(ruleset, path, rights & OF_FILES)
        if writable is not None:
            _allow(ruleset, writable, rights & ~EXECUTE)
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str | Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", rights if os.path.isdir(path) else rights & OF_FILES, fd)
        syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(fd)
