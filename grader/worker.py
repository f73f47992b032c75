"""The process that runs a stranger's code: it loads one implementation, runs rows of checks, sends outcomes.

It decides nothing and knows no expected value. The judge trusts only that it may send bytes.
"""

import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import torch

from . import canary, gpu, loading, sandbox, second_device, wire
from .collecting import Collected, RowId, names_of
from .device import CPU, SECOND, TF32, is_gpu, place_of
from .outcome import MAX_TEXT, Outcome, Raised, encode, flatten
from .rng import Mode, Rng
from .watch import Watch

FRAMES = 12  # of a traceback, the innermost ones
GIVEN = "given_parts"


@dataclass(frozen=True)
class Run:
    """One row to run, once a mode, each time from the same seed, on one of the job's packages."""

    row: str
    task: str
    seed: int
    modes: list[tuple[bool, int]]
    package: int = 0


@dataclass(frozen=True)
class Job:
    """What one worker has to do. A package is file name → source; a submission's job has one, mutants share a job."""

    module: str
    packages: list[dict[str, str]]
    runs: list[Run]
    given: dict[str, str] | None  # when set, what it defines stands in for the package's own, but for the task in check
    tasks: list[str]
    device: str
    draws_on: str  # the device of the checks that compare what was drawn there
    caps: sandbox.Caps
    watched: list[str]  # what the package may not call; when set, the calls seen are sent after the last run


def job_from(message: Mapping[str, Any]) -> Job:
    """The job in a message of the judge."""
    runs = [Run(**{**run, "modes": [tuple(mode) for mode in run["modes"]]}) for run in message["runs"]]
    return Job(**{**message, "runs": runs, "caps": sandbox.Caps(**message["caps"])})


def message_of(job: Job) -> dict[str, Any]:
    """The message that job_from reads."""
    return {**vars(job), "runs": [vars(run) for run in job.runs], "caps": vars(job.caps)}


def main(sock: socket.socket, checks: dict[str, Collected], orders: sandbox.Orders, bait: canary.Bait) -> None:
    """Close the process off, say what that came to, then serve one job and end.

    The first frame of the job says whether the file could be imported; then comes one frame a run and mode.
    """
    layers = sandbox.enter(orders)
    held = canary.watch(bait)
    wire.send_json(sock, {"layers": layers, "held": held, "gpu": gpu.start(orders.device, orders.caps.gpu_share)})
    job = job_from(wire.receive_json(sock))
    wanted = {run.row for run in job.runs}
    for name in [name for name in checks if name not in wanted]:
        del checks[name]  # what looks around while public rows run finds no hidden ones
    printed = sandbox.replace_streams(job.caps.output_kib)
    for outcome in run_all(job, checks, printed, orders.scratch):
        sock.sendall(encode(outcome))
    sandbox.start_clock(0)
    os._exit(0)


def run_all(
    job: Job, checks: Mapping[str, Collected], printed: sandbox.Printed, scratch: Path | None = None
) -> Iterator[Outcome]:
    """How the first package loaded; then, if it did, the outcome of every run in order, and what the watch saw."""
    watch = Watch(job.watched, f"{loading.PACKAGE}/{job.module}.py")
    calls = watch.calls
    if job.watched:
        watch.guard()
    loaded, own = _load(job, job.runs[0].package, printed)
    watch.look_at(own)
    yield loaded
    if loaded.ended != "values":
        return
    given = loading.load(job.given, job.module, GIVEN) if job.given else None
    package = job.runs[0].package
    for run in job.runs:
        if run.package != package:
            package = run.package
            loaded, own = _load(job, package, printed)
        check = checks[run.row]
        if given is not None:
            _isolate(job, given, own, check.row.task)
        for wide, moved in run.modes:
            sandbox.start_clock(job.caps.check_cpu_seconds)
            if loaded.ended != "values":
                yield loaded
            elif check.row.task not in own:
                yield Outcome("raised", raised=Raised("MissingTask", [], f"{check.row.task} is not defined"))
            else:
                device = _device(job, check.row, wide)
                rng = Rng(run.seed, Mode(wide, moved), device, tf32=job.device == TF32)
                gpu.set_precision(job.device)
                with (
                    watch.on() if job.watched else nullcontext(),
                    second_device.present() if device == SECOND else nullcontext(),
                ):
                    outcome = run_row(_module(job), check, rng, scratch, printed)
                yield outcome
    if job.watched:
        yield Outcome("values", dict(flatten(sorted(f"{call.place} {call.name}" for call in calls()))))


def _device(job: Job, row: RowId, wide: bool) -> str:
    """Where a run computes. The truth is computed on the CPU, but for draws, which differ from device to device."""
    place = place_of(job.device, row.second_device, row.draws, job.draws_on)
    return CPU if wide and not (row.draws and is_gpu(place)) else place


def run_row(impl: ModuleType, check: Collected, rng: Rng, scratch: Path | None, printed: sandbox.Printed) -> Outcome:
    """One run of one row, from a clean global state."""
    reset_state()
    arguments: dict[str, Any] = deepcopy(check.arguments)  # a list that one run sorts is not the next run's
    wanted = names_of(check.function)
    if "impl" in wanted:
        arguments["impl"] = impl
    if "rng" in wanted:
        arguments["rng"] = rng
    if "scratch" in wanted and scratch is not None:
        arguments["scratch"] = _empty(scratch)
    return attempt(lambda: check.function(**arguments), printed)


def attempt(call: Any, printed: sandbox.Printed) -> Outcome:
    """Call, and say how it ended: with values, or with an exception of whatever kind."""
    printed.take()
    in_use = gpu.reset()
    start = time.perf_counter()
    try:
        try:
            value = call()
        finally:
            sandbox.stop_asking()
        peak = gpu.finish(in_use)
        seconds = time.perf_counter() - start
        return Outcome("values", dict(flatten(value)), seconds=seconds, printed=printed.take(), gpu_bytes=peak)
    except MemoryError:
        why = "it ran out of memory"
    except SystemExit as error:
        at = _trace(error.__traceback__).splitlines()[-2:-1]
        code = error.code if isinstance(error.code, int) else 1
        why = f"it ended the program (exit code {code}{f'; {at[0]}' if at else ''})"[:200]
    except BaseException as error:  # a student may raise anything
        if gpu.is_broken():
            os._exit(gpu.BROKEN)
        if "can't allocate memory" in _text(error) or gpu.is_full(error, _text(error)):
            why = "it ran out of memory"
        else:
            seconds = time.perf_counter() - start
            return Outcome("raised", raised=_raised(error), seconds=seconds, printed=printed.take())
    return Outcome("crashed", why=why, seconds=time.perf_counter() - start, printed=printed.take())


def reset_state() -> None:
    """Undo what an earlier row may have left behind: generators, default dtype and device, grad mode, threads."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    if torch.are_deterministic_algorithms_enabled():  # setting it is slow
        torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


def _load(job: Job, package: int, printed: sandbox.Printed) -> tuple[Outcome, dict[str, Any]]:
    """Import a package: how it went, and the tasks that it defines."""
    sandbox.start_clock(job.caps.check_cpu_seconds)
    reset_state()
    loaded = attempt(lambda: (loading.load(job.packages[package], job.module), None)[1], printed)
    if loaded.ended != "values":
        return loaded, {}
    return loaded, {task: vars(_module(job))[task] for task in job.tasks if task in vars(_module(job))}


def _module(job: Job) -> ModuleType:
    return sys.modules[f"{loading.PACKAGE}.{job.module}"]


def _empty(scratch: Path) -> Path:
    """A new folder for one run."""
    folder = scratch / str(len(os.listdir(scratch)))
    folder.mkdir()
    return folder


def _isolate(job: Job, given: ModuleType, own: Mapping[str, Any], task: str) -> None:
    """Let given stand in for every task of the module but one."""
    for name in job.tasks:
        setattr(_module(job), name, own.get(name) if name == task else getattr(given, name, own.get(name)))


def _raised(error: BaseException) -> Raised:
    bases = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    message = _text(error)
    if isinstance(error, SyntaxError):
        message = f"line {error.lineno}: {error.msg}"
    return Raised(type(error).__name__[:200], bases, message[:MAX_TEXT], _trace(error.__traceback__)[-MAX_TEXT:])


def _text(error: BaseException) -> str:
    """The message, of an exception whose own code may fail as well."""
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:
        return "(its message cannot be shown)"


def _trace(tb: TracebackType | None) -> str:
    """The student's own frames, outermost first: the last one is where to look."""
    frames = [frame for frame in traceback.extract_tb(tb) if frame.filename.startswith(f"{loading.PACKAGE}/")]
    told = [f"{Path(f.filename).name}, line {f.lineno}, in {f.name}\n    {f.line}" for f in frames[-FRAMES:]]
    return "\n".join([*dict.fromkeys(reversed(told))][::-1])  # where a function calls itself, once


def ended_by_clock(status: int) -> int:
    """The signal with which a worker that used up its CPU time ended: SIGPROF of a row, SIGXCPU of all; else 0."""
    number = os.WEXITSTATUS(status) if os.WIFEXITED(status) else os.WTERMSIG(status)
    return number if number in (signal.SIGPROF, signal.SIGXCPU) else 0
