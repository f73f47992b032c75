"""Running the rows of a job in workers, with every deadline held from outside."""

import os
import re
import signal
import socket
import time
from dataclasses import dataclass, field, replace

from . import wire
from .gpu import BROKEN as GPU_BROKEN
from .outcome import LENGTHS, MAX_JOB, BadFrame, Outcome, decode, lengths
from .sandbox import OutOfTime
from .timings import Timings
from .worker import Job, Run, ended_by_clock, message_of
from .zygotes import Zygote

TIMEOUTS_ALLOWED = 2
USED_UP = "it was not run, because the submission has used up its time"
ALL_TOO_LONG = "the checks together took more time than a submission has"
FRAME = re.compile(r"^\w+\.py, line \d+, in \w+", re.MULTILINE)
NOT_RUN = "it was not run, because an earlier check did not end"


@dataclass(frozen=True)
class Results:
    """What a job came to: how the import went, and for each run of the job in order its outcomes, one a mode."""

    loaded: Outcome
    outcomes: list[list[Outcome]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)  # what the watch saw, as `line name`
    cpu_seconds: float = 0.0  # of all workers that it took
    wall_seconds: float = 0.0
    unwatched: bool = False  # a worker ended before the watch had looked at what it ran


def run_job(
    zygote: Zygote, job: Job, timeouts_allowed: int = TIMEOUTS_ALLOWED, timings: Timings | None = None
) -> Results:
    """Run every row of a job. After a crash or a time-out a fresh worker goes on with the next row.

    A time-out ends its task: the task's other rows count as time-outs without being run. Two of them end the job.
    """
    outcomes: dict[int, list[Outcome]] = {}
    calls: list[str] = []
    unwatched, cpu, wall = False, 0.0, 0.0
    left = list(range(len(job.runs)))
    timeouts = 0
    while left:
        computing, waiting = job.caps.submission_cpu_seconds - cpu, job.caps.submission_wall_seconds - wall
        if min(computing, waiting) <= 0:
            outcomes |= {i: [Outcome("timeout", why=USED_UP)] for i in left}
            break
        caps = replace(job.caps, submission_cpu_seconds=computing, submission_wall_seconds=waiting)
        part = _one_worker(zygote, replace(job, runs=[job.runs[i] for i in left], caps=caps), timings or Timings())
        cpu, wall = cpu + part.cpu_seconds, wall + part.wall_seconds
        if part.loaded.ended != "values":
            return Results(part.loaded, cpu_seconds=cpu, wall_seconds=wall)
        calls += part.calls
        unwatched |= part.unwatched
        outcomes |= zip(left, part.outcomes, strict=False)
        last, left = left[len(part.outcomes) - 1], left[len(part.outcomes) :]
        if outcomes[last][-1].ended == "timeout":
            timeouts += 1
            stopped = [i for i in left if timeouts >= timeouts_allowed or _same_task(job.runs[i], job.runs[last])]
            outcomes |= {i: [Outcome("timeout", why=NOT_RUN)] for i in stopped}
            left = [i for i in left if i not in outcomes]
    return Results(Outcome("values"), [outcomes[i] for i in range(len(job.runs))], calls, cpu, wall, unwatched)


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
            wire.send_json(sock, message_of(job))
            loaded = frames.next()
            for run in job.runs if loaded.ended == "values" else ():
                outcomes.append([])
                for _ in run.modes:
                    outcomes[-1].append(frames.next())
            watched = frames.next() if job.watched and outcomes else None
        except OutOfTime as stopped:
            fate = Outcome("timeout", why=_too_long(job, str(stopped)))
        except wire.Late:
            fate = Outcome("timeout", why=frames.late())
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
        return Results(fate, cpu_seconds=cpu, wall_seconds=seconds)
    if fate is not None and len(outcomes[-1]) < len(job.runs[len(outcomes) - 1].modes):  # else the watch ended so
        outcomes[-1].append(fate)
    calls = [leaf for leaf in watched.leaves.values() if isinstance(leaf, str)] if watched else []
    return Results(loaded, outcomes, calls, cpu, seconds, unwatched=bool(job.watched) and watched is None)


class _Frames:
    """The frames of one worker, each with its deadline, all together with a limit."""

    def __init__(self, sock: socket.socket, job: Job) -> None:
        self._stream, self._seconds = wire.Stream(sock), job.caps.check_wall_seconds
        self._end = time.monotonic() + job.caps.submission_wall_seconds
        self._room = MAX_JOB * len(job.packages)
        sock.settimeout(self._seconds)

    def next(self) -> Outcome:
        deadline = min(time.monotonic() + self._seconds, self._end)
        header, payload = lengths(self._stream.take(LENGTHS.size, deadline))
        self._room -= header + payload
        if self._room < 0:
            raise BadFrame(f"more than {MAX_JOB >> 20} MiB in all")
        outcome = decode(self._stream.take(header, deadline), self._stream.take(payload, deadline))
        if outcome.raised and outcome.raised.kind == OutOfTime.__name__:
            raise OutOfTime(outcome.raised.trace)
        return outcome

    def late(self) -> str:
        """Why a frame that was waited for did not come in time."""
        if time.monotonic() >= self._end:
            return ALL_TOO_LONG
        return f"it did not end within {self._seconds:g} seconds"


def _too_long(job: Job, trace: str = "") -> str:
    """That a row used up its time, and where it was, if it could say so itself."""
    frames = FRAME.findall(trace)
    return f"it did not end within {job.caps.check_cpu_seconds:g} seconds of computing" + (
        f"; it was at {frames[-1]}" if frames else ""
    )


def _died(status: int, job: Job, fate: Outcome) -> Outcome:
    """Why a worker is gone, from its wait status."""
    if clock := ended_by_clock(status):
        if clock == signal.SIGXCPU:
            return Outcome("timeout", why=ALL_TOO_LONG)
        return Outcome("timeout", why=_too_long(job))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        return Outcome("crashed", why=f"the process was ended by {signal.Signals(os.WTERMSIG(status)).name}")
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == GPU_BROKEN:
        return Outcome("crashed", why="the GPU stopped it with an error; an index out of range is the usual cause")
    if os.WIFEXITED(status):
        return Outcome("crashed", why=f"it ended the process (exit code {os.WEXITSTATUS(status)})")
    return Outcome("crashed", why=f"the process ended or sent something unreadable ({fate.why})")
