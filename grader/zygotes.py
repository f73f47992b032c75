"""The judge's end of a zygote: start it, ask it for workers, hear what their canaries saw. It imports no torch."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from . import isolation, wire
from .collecting import RowId
from .device import CPU, LIBRARIES, is_gpu
from .errors import BadRequest, GpuOutOfReach, GraderFault
from .sandbox import Caps

if TYPE_CHECKING:
    from .worker import Job

START_SECONDS, WITH_GPU = 30, 120  # a worker that does not report by then is the grader's fault
FIRST_USER, USERS, SLOTS = 200_000, 4096, 64  # uids that nobody has, another range for each zygote
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Isolation:
    """What the canaries of a worker saw."""

    layers: frozenset[str]
    held: frozenset[str]
    absent: Mapping[str, str]  # layer → why it is not there

    @property
    def level(self) -> str:
        return isolation.level(set(self.layers), set(self.held))

    def describe(self) -> list[str]:
        return isolation.describe(set(self.layers), set(self.held), self.absent)


class Zygote:
    """A warm process to fork workers from; `rows` are the checks it found."""

    def __init__(self, check_files: Sequence[Path], secret: Path, skip: Sequence[str] = (), device: str = CPU) -> None:
        ours, theirs = socket.socketpair()
        environment = dict.fromkeys(THREADS, "1") | {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TORCHINDUCTOR_CACHE_DIR": "/",  # torch's compiler makes this folder when it is imported; a worker may not
            "TORCHDYNAMO_DISABLE": "1",  # and torch.compile hands a function back as it is
            "PYTHONHASHSEED": "0",  # the order of a set must not differ from one run to the next
            **_visible_gpus(device),
        }
        files = [str(file) for file in check_files]
        setting = {"check_files": files, "secret": str(secret), "judge": os.getpid(), "skip": list(skip)}
        setting["device"] = device
        command = [sys.executable, "-s", "-P", "-B", "-m", "grader.zygote", str(theirs.fileno()), json.dumps(setting)]
        self._gpu = is_gpu(device)
        self._process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the judge
        )
        theirs.close()
        self._sock = ours
        self._lock = threading.Lock()
        self._rows: list[RowId] | None = None
        self._users: SimpleQueue[int] = SimpleQueue()
        for slot in range(SLOTS):
            self._users.put(FIRST_USER + self._process.pid % USERS * SLOTS + slot)
        self._user_of: dict[int, int] = {}  # worker's pid → its uid
        self.isolation: Isolation | None = None  # of the first worker; every later one must match it

    @property
    def rows(self) -> list[RowId]:
        """The rows of the check file, in file order; waits for the zygote to be ready the first time."""
        with self._lock:
            if self._rows is None:
                answer = self._receive()
                if "error" in answer:
                    raise BadRequest(answer["error"])
                self._rows = [RowId(**row) for row in answer["rows"]]
        return self._rows

    def warm(self, job: "Job") -> None:
        """Run a job in the zygote itself, so that no worker has to import what it needs."""
        from .worker import message_of

        answer = self._ask({"op": "warm", "job": message_of(job)})
        if answer["loaded"] != "values" or not answer["values"]:
            command = "pytest tests/checks --impl assignments/given"
            raise GraderFault(f"assignments/given does not import or run; `{command}` says more")

    def spawn(self, caps: Caps) -> tuple[int, socket.socket]:
        """A new worker, closed off: its pid and the socket to it.

        Raises:
            GraderFault: it is less closed off than the workers before it.
            GpuOutOfReach: it cannot open the GPU; some drivers end the process at what they are not allowed.
        """
        ours, theirs = socket.socketpair()
        uid = self._users.get()
        with theirs:
            answer = self._ask({"op": "spawn", "caps": asdict(caps), "uid": uid}, [theirs.fileno()])
        self._user_of[answer["pid"]] = uid
        ours.settimeout(WITH_GPU if self._gpu else START_SECONDS)
        try:
            report = wire.receive_json(ours)
        except (wire.Closed, wire.Late) as error:
            ours.close()
            self.kill(answer["pid"])
            fault = GpuOutOfReach if self._gpu else GraderFault
            raise fault(f"a worker ended before it could begin ({error})") from None
        if report["gpu"]:
            ours.close()
            self.kill(answer["pid"])
            raise GpuOutOfReach(report["gpu"])
        absent = {name: why for name, why in {**report["layers"], **answer["absent"]}.items() if why}
        layers = frozenset({*report["layers"], isolation.NAMESPACES} - absent.keys())
        self._compare(Isolation(layers, frozenset(report["held"]), absent))
        return answer["pid"], ours

    def kill(self, pid: int) -> tuple[int, float]:
        """End a worker and everything it has started; its wait status and the CPU seconds it took."""
        answer = self._ask({"op": "kill", "pid": pid})
        self._users.put(self._user_of.pop(pid))
        return int(answer["status"]), float(answer["cpu_seconds"])

    def probe(self, caps: Caps) -> Isolation:
        """Start a worker for nothing but its canaries."""
        pid, sock = self.spawn(caps)
        sock.close()
        self.kill(pid)
        assert self.isolation is not None
        return self.isolation

    def _compare(self, found: Isolation) -> None:
        if self.isolation is None:
            self.isolation = found
        elif not found.held >= self.isolation.held:
            lost = ", ".join(sorted(self.isolation.held - found.held))
            raise GraderFault(f"a worker could do what those before it could not: {lost}")

    def close(self) -> None:
        """End the process with all its workers, also where a thread still waits for an answer of it."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> Any:
        _ = self.rows  # the first answer is the list of checks
        text = json.dumps(request).encode()
        with self._lock:
            try:
                socket.send_fds(self._sock, [wire.LENGTH.pack(len(text))], list(fds))
                self._sock.sendall(text)
                return self._receive()
            except OSError as error:
                raise GraderFault(f"the process that workers are forked from has gone ({error})") from None

    def _receive(self) -> Any:
        try:
            return wire.receive_json(self._sock)
        except wire.Closed:
            raise GraderFault("the process that workers are forked from ended; its message is above") from None


def _visible_gpus(device: str) -> dict[str, str]:
    """The environment that shows a process its GPUs, or hides them.

    A process that sees one starts threads at its first gradient, and then its forks can compute none. One that has
    asked CUDA whether there is a GPU cannot hand it to its forks either, so torch is told to ask the driver's monitor.
    """
    if not is_gpu(device):
        return {"CUDA_VISIBLE_DEVICES": ""}
    ours = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDA_CACHE_DISABLE": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    chosen = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", LIBRARIES)
    return ours | {name: os.environ[name] for name in chosen if name in os.environ}
