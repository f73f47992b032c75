"""Where the time of a run goes, step by step, for `grade --profile`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step of a run, all threads together."""

    name: str
    times: int
    wall_seconds: float
    cpu_seconds: float


class Timings:
    """Adds up how often each step was taken and what it cost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[str, Step] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what runs inside, in this thread. Steps are not nested."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - wall, time.thread_time() - cpu)

    def add(self, name: str, wall_seconds: float, cpu_seconds: float) -> None:
        with self._lock:
            old = self._steps.get(name, Step(name, 0, 0.0, 0.0))
            self._steps[name] = Step(
                name, old.times + 1, old.wall_seconds + wall_seconds, old.cpu_seconds + cpu_seconds
            )

    def steps(self) -> list[Step]:
        """In the order in which they were first taken."""
        with self._lock:
            return list(self._steps.values())
