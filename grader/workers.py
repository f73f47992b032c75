"""The judge's end of the processes: start a zygote, run rows in workers, hold every deadline from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from . import isolation, wire
from .collecting import RowId
from .device import CPU, is_gpu
from .errors import BadRequest, GpuOutOfReach, GraderFault
from .gpu import BROKEN as GPU_BROKEN
from .outcome import LENGTHS, MAX_JOB, BadFrame, Outcome, decode, lengths
from .sandbox import Caps
from .timings import Timings
from .worker import Job, Run, ended_by_clock

TIMEOUTS_ALLOWED = 2
USED_UP = "it was not run, because the submission has used up its computing time"
NOT_RUN = "it was not run, because an earlier check did not end"
START_SECONDS = 30  # a worker that does not report by then is the grader's fault
FIRST_USER, USERS, SLOTS = 200_000, 4096, 64  # uids that nobody has, another range for each zygote
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Results:
    """What a job came to: how the import went, and for each run of the job in order its outcomes, one a mode."""

    loaded: Outcome
    outcomes: list[list[Outcome]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # what the watch saw, as `line name`
    cpu_seconds: float = 0.0  # of all workers that it took
    unwatched: bool = False  # a worker ended before the watch had looked at what it ran


@dataclass(frozen=True)
class Isolation:
    """What the canaries of a worker saw."""

    layers: frozenset[str]
    held: frozenset[str]

    @property
    def level(self) -> str:
        return isolation.level(set(self.layers), set(self.held))

    def describe(self) -> list[str]:
        return isolation.describe(set(self.layers), set(self.held))


class Zygote:
    """A warm process to fork workers from; `rows` are the checks it found."""

    def __init__(self, check_files: Sequence[Path], secret: Path, skip: Sequence[str] = (), device: str = CPU) -> None:
        ours, theirs = socket.socketpair()
        environment = dict.fromkeys(THREADS, "1") | {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONHASHSEED": "0",  # the order of a set must not differ from one run to the next
            **_visible_gpus(device),
        }
        files = [str(file) for file in check_files]
        setting = {"check_files": files, "secret": str(secret), "judge": os.getpid(), "skip": list(skip)}
        setting["device"] = device
        command = [sys.executable, "-s", "-P", "-B", "-m", "grader.zygote", str(theirs.fileno()), json.dumps(setting)]
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

    def warm(self, job: Job) -> None:
        """Run a job in the zygote itself, so that no worker has to import what it needs."""
        answer = self._ask({"op": "warm", "job": asdict(job)})
        if answer["loaded"] != "values" or not answer["values"]:
            command = "pytest tests/checks --impl assignments/given"
            raise GraderFault(f"assignments/given does not import or run; `{command}` says more")

    def spawn(self, caps: Caps) -> tuple[int, socket.socket]:
        """A new worker, closed off: its pid and the socket to it.

        Raises:
            GraderFault: it is less closed off than the workers before it.
        """
        ours, theirs = socket.socketpair()
        uid = self._users.get()
        with theirs:
            answer = self._ask({"op": "spawn", "caps": asdict(caps), "uid": uid}, [theirs.fileno()])
        self._user_of[answer["pid"]] = uid
        ours.settimeout(START_SECONDS)
        try:
            report = wire.receive_json(ours)
        except (wire.Closed, wire.Late) as error:
            ours.close()
            self.kill(answer["pid"])
            raise GraderFault(f"a worker ended before it could begin ({error})") from None
        if report["gpu"]:
            ours.close()
            self.kill(answer["pid"])
            raise GpuOutOfReach(report["gpu"])
        absent = {name for name, why in {**report["layers"], **answer["absent"]}.items() if why}
        layers = frozenset({*report["layers"], isolation.NAMESPACES} - absent)
        self._compare(Isolation(layers, frozenset(report["held"])))
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


def run_job(
    zygote: Zygote, job: Job, timeouts_allowed: int = TIMEOUTS_ALLOWED, timings: Timings | None = None
) -> Results:
    """Run every row of a job. After a crash or a time-out a fresh worker goes on with the next row.

    A time-out ends its task: the task's other rows count as time-outs without being run. Two of them end the job.
    """
    outcomes: dict[int, list[Outcome]] = {}
    calls: list[str] = []
    unwatched, cpu = False, 0.0
    left = list(range(len(job.runs)))
    timeouts = 0
    while left:
        allowed = job.caps.submission_cpu_seconds - cpu
        if allowed <= 0:
            outcomes |= {i: [Outcome("timeout", why=USED_UP)] for i in left}
            break
        caps = replace(job.caps, submission_cpu_seconds=allowed)
        part = _one_worker(zygote, replace(job, runs=[job.runs[i] for i in left], caps=caps), timings or Timings())
        cpu += part.cpu_seconds
        if part.loaded.ended != "values":
            return Results(part.loaded, cpu_seconds=cpu)
        calls += part.calls
        unwatched |= part.unwatched
        outcomes |= zip(left, part.outcomes, strict=False)
        last, left = left[len(part.outcomes) - 1], left[len(part.outcomes) :]
        if outcomes[last][-1].ended == "timeout":
            timeouts += 1
            stopped = [i for i in left if timeouts >= timeouts_allowed or _same_task(job.runs[i], job.runs[last])]
            outcomes |= {i: [Outcome("timeout", why=NOT_RUN)] for i in stopped}
            left = [i for i in left if i not in outcomes]
    return Results(Outcome("values"), [outcomes[i] for i in range(len(job.runs))], calls, cpu, unwatched)


def _same_task(one: Run, other: Run) -> bool:
    return (one.package, one.task) == (other.package, other.task)


def _one_worker(zygote: Zygote, job: Job, timings: Timings) -> Results:
    """Run rows until the worker is done, dies or is late. The row it died in has that as its last outcome."""
    with timings.step("start a worker"):
        pid, sock = zygote.spawn(job.caps)
    start = time.perf_counter()
    loaded = Outcome("values")
    outcomes: list[list[Outcome]] = []
    watched: Outcome | None = None
    fate: Outcome | None = None
    with sock:
        frames = _Frames(sock, job)
        try:
            wire.send_json(sock, asdict(job))
            loaded = frames.next()
            for run in job.runs if loaded.ended == "values" else ():
                outcomes.append([])
                for _ in run.modes:
                    outcomes[-1].append(frames.next())
            watched = frames.next() if job.watched and outcomes else None
        except wire.Late:
            fate = Outcome("timeout", why=f"it did not end within {job.caps.check_wall_seconds:g} seconds")
        except (wire.Closed, BadFrame, OSError) as error:
            fate = Outcome("crashed", why=str(error))
        seconds = time.perf_counter() - start
        with timings.step("end a worker"):
            status, cpu = zygote.kill(pid)
    timings.add("run the rows of a worker", seconds, cpu)
    if ended_by_clock(status) == signal.SIGXCPU:  # the kernel counts in ticks
        cpu = max(cpu, job.caps.submission_cpu_seconds)
    if fate is not None and fate.ended == "crashed":
        fate = _died(status, job, fate)
    if fate is not None and not outcomes:
        return Results(fate, cpu_seconds=cpu)
    if fate is not None and len(outcomes[-1]) < len(job.runs[len(outcomes) - 1].modes):  # else the watch ended so
        outcomes[-1].append(fate)
    calls = [leaf for leaf in watched.leaves.values() if isinstance(leaf, str)] if watched else []
    return Results(loaded, outcomes, calls, cpu, unwatched=bool(job.watched) and watched is None)


class _Frames:
    """The frames of one worker, each with its deadline, all together with a limit."""

    def __init__(self, sock: socket.socket, job: Job) -> None:
        self._sock, self._seconds = sock, job.caps.check_wall_seconds
        self._room = MAX_JOB * len(job.packages)
        sock.settimeout(self._seconds)

    def next(self) -> Outcome:
        deadline = time.monotonic() + self._seconds
        header, payload = lengths(wire.receive_bytes(self._sock, LENGTHS.size, deadline))
        self._room -= header + payload
        if self._room < 0:
            raise BadFrame(f"more than {MAX_JOB >> 20} MiB in all")
        return decode(
            wire.receive_bytes(self._sock, header, deadline), wire.receive_bytes(self._sock, payload, deadline)
        )


def _visible_gpus(device: str) -> dict[str, str]:
    """The environment that shows a process its GPUs, or hides them.

    A process that sees one starts threads at its first gradient, and then its forks can compute none.
    """
    if not is_gpu(device):
        return {"CUDA_VISIBLE_DEVICES": ""}
    chosen = {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}
    return {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDA_CACHE_DISABLE": "1", **chosen}


def _died(status: int, job: Job, fate: Outcome) -> Outcome:
    """Why a worker is gone, from its wait status."""
    if clock := ended_by_clock(status):
        if clock == signal.SIGXCPU:
            return Outcome("timeout", why="the checks together took more computing time than a submission has")
        return Outcome("timeout", why=f"it did not end within {job.caps.check_cpu_seconds:g} seconds of computing")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return Outcome("crashed", why=f"the process was ended by {signal.Signals(os.WTERMSIG(status)).name}")
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == GPU_BROKEN:
        return Outcome("crashed", why="the GPU stopped it with an error; an index out of range is the usual cause")
    if os.WIFEXITED(status):
        return Outcome("crashed", why=f"it ended the process (exit code {os.WEXITSTATUS(status)})")
    return Outcome("crashed", why=f"the process ended or sent something unreadable ({fate.why})")
