"""A seccomp filter without a library: system calls that no check needs fail with EPERM, before a student's code runs.

The filter is a list of forbidden calls, not of allowed ones: torch's needs change with every release, the dangerous
calls do not. Numbers are from the kernel's tables for x86-64 and arm64; on another machine the layer is absent.
Source: seccomp(2) and the kernel's Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import os
import struct

from .kernel import MACHINE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_SECCOMP, call, top_of_stack

# name → number on x86-64 and on arm64; None where the architecture has no such call
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
    "process_mrelease": (448, 448),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    # what Landlock does not look at: modes, owners, times and attributes of files, and before ABI 3 their length
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "truncate": (76, 45),
    "memfd_create": (319, 279),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "fanotify_init": (300, 262),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "memfd_secret": (447, 447),
    "landlock_create_ruleset": (444, 444),
}
# A driver listens on an abstract unix socket and makes a file in memory, or it does not start; it places its threads.
OF_A_GPU = ("socket", "bind", "listen", "memfd_create", "sched_setaffinity", "sched_setscheduler", "sched_setparam")
SOCKET, AF_UNIX = FORBIDDEN["socket"], 1
CLONE, CLONE3, KILL, TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
PRLIMIT, PRCTL, FCNTL, IOCTL, MMAP, MREMAP = (302, 261), (157, 167), (72, 25), (16, 29), (9, 222), (25, 216)
OWNERS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal to anyone when a pipe fills
OWNERS_BY_IOCTL = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
SHARED_WITHOUT_FILE, GROWS_DOWN = 0x21, 0x100  # of mmap: memory that no limit counts
MOVES_OTHERS = 0x6  # of mremap, MREMAP_FIXED and MREMAP_DONTUNMAP: newer kernels then take several mappings at a time
ROOM_OF_STACK = 128 << 20  # the kernel puts nothing else this close below the top of the stack
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
CLONE_THREAD = 0x00010000
# seccomp_data: the call's number, the architecture, and the low half of the first, second and fourth argument
NUMBER, ARCH, FIRST, FIRST_HIGH, SECOND, FOURTH = 0, 4, 16, 20, 24, 40
LOAD, EQUAL, ABOVE, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
SECCOMP_MODE_FILTER = 2


def supported() -> bool:
    return MACHINE in AUDIT_ARCH


def restrict(gpu: bool = False) -> None:
    """Forbid the calls for this process and everything it starts; signals reach only the process itself.

    Args:
        gpu: leave what the driver of a GPU needs: unix sockets that nobody can connect to or be served by.
    Raises:
        OSError: the kernel refuses, or there is no table for this machine.
    """
    if not supported():
        raise OSError(0, f"no table of system calls for {MACHINE}")
    program = assemble(MACHINE, os.getpid(), gpu, max(0, top_of_stack() - ROOM_OF_STACK))
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(fprog, len(fprog)), 0, 0)


def assemble(machine: str, pid: int, gpu: bool = False, stack: int = 0) -> bytes:
    """The filter as BPF instructions. `stack`: from this address on no mapping is resized."""
    column = 0 if machine == "x86_64" else 1
    deny = ERRNO | errno.EPERM
    lines = [
        _line(LOAD, ARCH),
        _line(EQUAL, AUDIT_ARCH[machine], 1, 0),
        _line(RETURN, KILL_PROCESS),
        _line(LOAD, NUMBER),
    ]
    if machine == "x86_64":  # the x32 numbers are a second way to every call
        lines += [_line(AT_LEAST, X32_BIT, 0, 1), _line(RETURN, deny)]
    for name, numbers in FORBIDDEN.items():
        number = numbers[column]
        if number is not None and not (gpu and name in OF_A_GPU):
            lines += [_line(EQUAL, number, 0, 1), _line(RETURN, deny)]
    if gpu:
        lines += _only_to(SOCKET[column], AF_UNIX, deny)
    # glibc falls back from clone3, whose flags a filter cannot read, to clone, whose flags it can
    lines += [_line(EQUAL, CLONE3[column], 0, 1), _line(RETURN, ERRNO | errno.ENOSYS)]
    lines += [_line(EQUAL, CLONE[column], 0, 4), _line(LOAD, FIRST)]
    lines += [_line(ANY_BIT, CLONE_THREAD, 1, 0), _line(RETURN, deny), _line(RETURN, ALLOW)]
    for number, first in ((KILL[column], pid), (TGKILL[column], pid), (PRLIMIT[column], 0)):
        lines += _only_to(number, first, deny)
    lines += _never_with(PRCTL[column], FIRST, (PR_SET_PDEATHSIG,), deny)
    lines += _never_with(FCNTL[column], SECOND, OWNERS, deny)
    lines += _never_with(IOCTL[column], SECOND, OWNERS_BY_IOCTL, deny)
    if not gpu:
        lines += _counted_memory(MMAP[column]) + _stack_stays(MREMAP[column], stack)
    return b"".join([*lines, _line(RETURN, ALLOW)])


def _only_to(number: int | None, first: int, deny: int) -> list[bytes]:
    """Allow a call with this first argument alone."""
    assert number is not None
    found = [_line(EQUAL, number, 0, 4), _line(LOAD, FIRST)]
    return [*found, _line(EQUAL, first, 1, 0), _line(RETURN, deny), _line(RETURN, ALLOW)]


def _never_with(number: int, place: int, values: tuple[int, ...], deny: int) -> list[bytes]:
    """Allow a call without these values of an argument."""
    refused = [line for value in values for line in (_line(EQUAL, value, 0, 1), _line(RETURN, deny))]
    return [_line(EQUAL, number, 0, len(refused) + 2), _line(LOAD, place), *refused, _line(RETURN, ALLOW)]


def _counted_memory(mmap: int) -> list[bytes]:
    """Allow only mappings that a limit on memory counts: with a file behind them, or private and no stack."""
    return [
        *(_line(EQUAL, mmap, 0, 6), _line(LOAD, FOURTH), _line(ANY_BIT, GROWS_DOWN, 2, 0)),
        *(_line(AND, SHARED_WITHOUT_FILE), _line(EQUAL, SHARED_WITHOUT_FILE, 0, 1)),
        *(_line(RETURN, ERRNO | errno.ENOMEM), _line(RETURN, ALLOW)),
    ]


def _stack_stays(mremap: int, stack: int) -> list[bytes]:
    """Refuse to resize or move the stack, which would count nowhere; realloc of large blocks lives on mremap."""
    high, low = divmod(stack, 1 << 32)
    return [
        *(_line(EQUAL, mremap, 0, 9), _line(LOAD, FOURTH), _line(ANY_BIT, MOVES_OTHERS, 5, 0)),
        *(_line(LOAD, FIRST_HIGH), _line(ABOVE, high, 3, 0), _line(EQUAL, high, 0, 3)),
        *(_line(LOAD, FIRST), _line(AT_LEAST, low, 0, 1)),
        *(_line(RETURN, ERRNO | errno.ENOMEM), _line(RETURN, ALLOW)),
    ]


def _line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
