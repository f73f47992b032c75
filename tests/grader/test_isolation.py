"""Each layer of the sandbox, alone and together: what it stops is seen by the canaries and by a submission."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from grader import isolation, sandbox, seccomp
from grader.course import Course
from grader.device import CUDA
from grader.errors import BadRequest, GraderFault
from grader.isolation import GUARDED, level
from grader.kernel import LINUX
from grader.opening import open_session
from grader.outcome import Outcome
from grader.sandbox import Caps
from grader.session import Session, single
from grader.workers import run_job
from grader.zygotes import Isolation, Zygote

pytestmark = pytest.mark.skipif(not LINUX, reason="the layers are Linux's")

ROW = "check_split_heads_values[1]"
LAYERS = ("namespaces", "own user", "Landlock", "seccomp")


@pytest.fixture
def probe(course: Course) -> Iterator[Callable[..., Isolation]]:
    """What the canaries see with some layers left out."""
    opened: list[Zygote] = []

    def run(*skip: str) -> Isolation:
        secret = course.root / "reference" / "attention.py"
        opened.append(Zygote(course.check_files("attention"), secret, skip))
        return opened[-1].probe(Caps(**asdict(course.limits)))

    yield run
    for zygote in opened:
        zygote.close()


def test_every_canary_is_stopped_by_landlock_and_seccomp_alone(probe: Callable[..., Isolation]) -> None:
    found = probe("namespaces", "own user")
    assert found.held >= GUARDED
    assert found.level == "B"


def test_without_landlock_the_report_says_that_files_are_open(probe: Callable[..., Isolation]) -> None:
    found = probe("namespaces", "own user", "Landlock")
    assert {"not protected: files", "not protected: writing"} <= set(found.describe())
    assert found.level in ("C", "D")


def test_report_says_why_a_layer_is_not_there(probe: Callable[..., Isolation]) -> None:
    assert "without namespaces: left out" in probe("namespaces").describe()


def test_without_any_layer_the_report_says_so(probe: Callable[..., Isolation]) -> None:
    found = probe(*LAYERS, "no capabilities")
    assert found.level == "D"
    for name in ("files", "network", "processes", "signals", "memory"):  # a limit alone does not count shared memory
        assert f"not protected: {name}" in found.describe()


@pytest.mark.parametrize(
    ("layers", "held", "wanted"),
    [
        ({"namespaces"}, GUARDED, "A"),
        ({"Landlock", "seccomp"}, GUARDED, "B"),
        ({"namespaces"}, GUARDED - {"network"}, "D"),
        ({"own user"}, {"signals", "memory of others"}, "C"),
        ({"own user"}, {"signals"}, "D"),
        (set(), set(), "D"),
    ],
)
def test_level_is_what_the_canaries_vouch_for(layers: set[str], held: set[str], wanted: str) -> None:
    assert level(layers, held) == wanted


def test_level_that_the_machine_cannot_give_is_refused(course: Course) -> None:
    opened = open_session(course, course.module("attention"), 1, require="B", skip=LAYERS)
    with (
        pytest.raises(BadRequest, match=r"--require-isolation B: this machine gives level D; .*not protected: files"),
        opened,
    ):
        pass


def test_worker_that_is_less_closed_off_than_the_first_stops_the_run(session: Session) -> None:
    zygote = session.students
    first = zygote.isolation
    assert first is not None
    with pytest.raises(GraderFault, match="a worker could do what those before it could not: network"):
        zygote._compare(Isolation(first.layers, first.held - {"network"}, {}))


ATTEMPTS = {
    "read the reference": "open(ROOT + '/reference/attention.py').read()",
    "read the checks": "open(ROOT + '/tests/checks/check_attention.py').read()",
    "list the course": "os.listdir(ROOT + '/tests')",
    "read passwords": "open('/etc/shadow').read()",
    "write a file": "open('/tmp/attack', 'w')",
    "open a socket": "socket.socket().connect(('127.0.0.1', 9))",
    "talk to a local daemon": "socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
    "start a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "start threads without end": "[threading.Thread(target=time.sleep, args=(9,)).start() for _ in range(500)]",
    "find hidden rows": "gc.unfreeze() or [x for x in gc.get_objects() if getattr(x, 'hidden', 0) is True][0]",
    "kill everything": "os.kill(-1, 9)",
    "read another process": "open('/proc/%d/environ' % JUDGE).read()",
    "trace another process": "(ctypes.CDLL(None, use_errno=True).ptrace(16, JUDGE, 0, 0) == 0) or int('denied')",
    "make a namespace": "(ctypes.CDLL(None).unshare(0x10000000) == 0) or int('denied')",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_DATA, (2 ** 40, 2 ** 40))",
    "lower a limit of another process": "resource.prlimit(JUDGE, resource.RLIMIT_CORE)",
    "slow another process down": "os.setpriority(os.PRIO_PROCESS, JUDGE, 0)",
    "change a file's mode": "os.chmod('/tmp/attack-of-mode', 0)",
    "change a file's times": "os.utime('/tmp/attack-of-mode')",
    "signal by a pipe": "fcntl.fcntl(PIPE[0], fcntl.F_SETOWN, JUDGE)",
    "outlive the zygote": "(prctl(1, 0, 0, 0, 0) == 0) or int('denied')",
    "take shared memory": "mmap.mmap(-1, 3 << 29)",
    "take memory as a stack": "mmap.mmap(-1, 3 << 29, flags=0x122)",
    "let the stack grow": "STACK.grow()",
    "cut the stack and let it grow": "STACK.cut()",
    "resize the stack": "STACK.resize()",
    "move the stack": "STACK.resize(flags=3)",
    "make what was written read-only": "[READ_ONLY(64 << 20) for _ in range(40)]",
    "take page tables": "mmap.mmap(-1, 1 << 40, flags=0x4022, prot=1)",
    "become root": "os.setuid(0) if os.getuid() else int('denied')",
}


# The addresses alone: what the limits count of them does not depend on what is written.
READ_ONLY = """
KEPT = []
def READ_ONLY(size):
    KEPT.append(mmap.mmap(-1, size, flags=0x22))
    at = ctypes.addressof(ctypes.c_char.from_buffer(KEPT[-1]))
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(at), ctypes.c_size_t(size), 1):
        raise MemoryError
"""
# The kernel's answer is asked for, where a touch would end the worker whether it is held or not.
STACK = """
class STACK:
    def lowest():
        return int(next(line for line in open('/proc/self/maps') if '[stack]' in line).split('-')[0], 16)
    def touch(address):
        os.write(PIPE[1], b'x')
        if ctypes.CDLL(None).read(PIPE[0], ctypes.c_void_p(address), 1) != 1:
            raise MemoryError
    def grow():
        most = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, (most, most))
        STACK.touch(STACK.lowest() - (8 << 20))
    def cut():
        ctypes.CDLL(None).munmap(ctypes.c_void_p(STACK.lowest() + 4096), ctypes.c_size_t(4096))
        STACK.touch(STACK.lowest() - 4096)
    def resize(flags=1):
        libc = ctypes.CDLL(None)
        libc.mremap.restype = ctypes.c_void_p
        place = mmap.mmap(-1, 1 << 20, flags=0x22)
        there = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(place)))
        sizes = map(ctypes.c_size_t, (4096, 4096 if flags & 2 else 8192))
        if libc.mremap(ctypes.c_void_p(STACK.lowest()), *sizes, flags, there) == 2**64 - 1:
            raise MemoryError
"""


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("skip", [(), ("namespaces",)], ids=["level A", "level B"])
def test_submission_is_refused(sessions: Callable[..., Session], attempt: str, skip: tuple[str, ...]) -> None:
    session = sessions(skip)
    assert (session.students.isolation or pytest.fail("no worker yet")).level in ("A", "B")
    outcome = split_heads(session, ATTEMPTS[attempt])
    assert outcome.ended in ("raised", "crashed"), f"it could {attempt}: {outcome.leaves}"


@pytest.fixture(scope="module")
def sessions(course: Course) -> Iterator[Callable[..., Session]]:
    """One open session for each choice of layers."""
    from contextlib import ExitStack

    opened: dict[tuple[str, ...], Session] = {}
    with ExitStack() as stack:

        def get(skip: tuple[str, ...]) -> Session:
            if skip not in opened:
                opened[skip] = stack.enter_context(open_session(course, course.module("attention"), 1, skip=skip))
            return opened[skip]

        yield get


def test_large_blocks_still_grow_in_place(session: Session) -> None:
    """Copying instead would take a minute: the C library's realloc asks for it by mremap."""
    growing = "text = ''\n    for _ in range(100_000): text += 'abcdefghij' * 50"
    assert split_heads(session, growing).ended == "values"


def split_heads(session: Session, expression: str) -> Outcome:
    """The outcome of a row whose function evaluates an expression and returns the right answer if nothing is raised."""
    import os

    source = (
        "import ctypes, fcntl, gc, mmap, os, resource, signal, socket, threading, time, torch\n"
        "prctl, PIPE = ctypes.CDLL(None).prctl, os.pipe()\n"
        f"ROOT, JUDGE = {str(session.course.root)!r}, {os.getpid()}\n"
        f"{STACK}\n{READ_ONLY}\n"
        "def split_heads(x, n_heads):\n"
        f"    {expression}\n"
        "    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)\n"
    )
    rows = [row for row in session.rows if row.name == ROW]
    return single(run_job(session.students, session.job([{"attention.py": source}], rows)), rows)[ROW]


def test_what_the_driver_of_a_gpu_does_at_its_start_is_allowed_and_no_more(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes a file in memory, names its threads, listens on an abstract unix socket, and opens its devices."""
    for module in (isolation, sandbox):
        monkeypatch.setattr(module, "gpu_nodes", lambda: ["/dev/full"])  # a device that every machine has
    for skip in ((), ("namespaces",)):
        found = _as_a_worker(course, skip, _start_a_driver)
        assert found == {
            "memory": "", "thread": "", "listen": "", "device": "",
            "connect": "Operation not permitted", "internet": "Operation not permitted",
            "the machine": found["the machine"],
        }  # fmt: skip
        assert found["the machine"] in ("Permission denied", "Read-only file system")


def _as_a_worker(course: Course, skip: tuple[str, ...], act: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `act` gives in a process that is closed off as a worker on a GPU is."""
    ours, theirs = os.pipe()
    if (zygote := os.fork()) == 0:
        secret = course.root / "reference" / "attention.py"
        ground = isolation.prepare(course.check_files("attention")[0].parent, secret, skip, CUDA)
        if (worker := os.fork()) == 0:
            user, _ = isolation.user_of_slot(300_000, ground)
            caps = Caps(**{**asdict(course.limits), "memory_mib": 0})
            sandbox.enter(sandbox.Orders(caps, user, ground.readable, None, skip, CUDA))
            os.write(theirs, json.dumps(act()).encode())
            os._exit(0)
        os.waitpid(worker, 0)
        os._exit(0)
    os.close(theirs)
    os.waitpid(zygote, 0)
    with os.fdopen(ours, "rb") as pipe:
        found: dict[str, str] = json.loads(pipe.read())
    return found


def _start_a_driver() -> dict[str, str]:
    def name_a_thread() -> None:
        thread = threading.Thread(target=time.sleep, args=(1,), daemon=True)
        thread.start()
        with open(f"/proc/self/task/{thread.native_id}/comm", "r+") as name:
            name.write("cuda-EvtHandlr")

    def listen() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.bind(f"\0cuda-uvmfd-{os.getpid()}")
            sock.listen(16)

    steps: dict[str, Callable[[], object]] = {
        "memory": lambda: os.truncate(os.memfd_create("driver"), 1 << 20),
        "thread": name_a_thread,
        "listen": listen,
        "device": lambda: os.open("/dev/full", os.O_RDWR),
        "connect": lambda: socket.socket(socket.AF_UNIX).connect("\0anything"),
        "internet": socket.socket,
        "the machine": lambda: os.open("/proc/sys/kernel/core_pattern", os.O_RDWR),
    }
    return {name: _error_of(step) for name, step in steps.items()}


def _error_of(step: Callable[[], object]) -> str:
    try:
        step()
    except OSError as error:
        return str(error.strerror)
    return ""


def test_filter_is_one_program_for_each_machine() -> None:
    for machine in seccomp.AUDIT_ARCH:
        program = seccomp.assemble(machine, 1234)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 4096  # the kernel's limit
    assert seccomp.assemble("x86_64", 1) != seccomp.assemble("aarch64", 1)


def test_user_of_a_worker_needs_a_python_that_others_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_python", lambda: ["/root"])
    monkeypatch.setattr(isolation, "_open_to_all", lambda path: False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    ground = isolation.Ground((), None, {})
    assert isolation.user_of_slot(61_000, ground) == (None, "another user cannot read /root, where Python is")


@pytest.mark.parametrize("skip", [(), ("namespaces",), LAYERS], ids=["level A", "level B", "level D"])
def test_worker_leaves_no_process_behind(sessions: Callable[..., Session], skip: tuple[str, ...]) -> None:
    marker = f"left-behind-{len(skip)}"
    leave = f"(prctl(15, b'{marker}', 0, 0, 0), os.write(PIPE[1], b'x'), time.sleep(60))"
    twice = f"(os.setsid(), os.fork() == 0 and {leave}, os._exit(0))"
    ignore = "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGTERM, signal.SIGHUP)]"
    body = f"{ignore} and os.fork() == 0 and {twice}; os.read(PIPE[0], 1)"
    split_heads(sessions(skip), body)
    names = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm") if path.exists()]
    assert marker[:15] not in names
