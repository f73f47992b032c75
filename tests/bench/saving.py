"""From a save to its verdict: `grader check --watch`, started once, against plain pytest from cold."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .classes import grader

NEEDED = ("reference", "assignments", "handouts", "tests/checks", "tests/mutants")
RIGHT, WRONG = "wide - wide.amax(dim=dim, keepdim=True)", "wide"
PAUSE = 1.0  # seconds after a verdict; meanwhile the other tasks are checked


def make_course(root: Path, folder: Path) -> Path:
    """A course folder with the finished module in it; the file that a student would edit."""
    for name in NEEDED:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "course.toml", folder)
    file = folder / "assignments" / "attention.py"
    file.write_text(_source(folder), encoding="utf-8")
    return file


def verdicts(root: Path, folder: Path, count: int) -> tuple[float, list[float]]:
    """Seconds to the first verdict from cold, then from each of `count` saves to its verdict.

    Every second save has a mistake, so half of the verdicts come with a diagnosis. The task is the first one.
    """
    file = make_course(root, folder)
    start = time.perf_counter()
    with _loop(folder) as said:
        _wait(said, " points")
        cold = time.perf_counter() - start
        found = []
        for number in range(count + 1):
            time.sleep(PAUSE)
            source = _source(folder).replace(RIGHT, WRONG if number % 2 else RIGHT)
            start = time.perf_counter()
            file.write_text(f"{source}\n# save {number}\n", encoding="utf-8")
            _wait(said, " after the save)")
            found.append(time.perf_counter() - start)
        return cold, found[1:]  # the first one runs what later ones find in memory


def _source(folder: Path) -> str:
    return (folder / "reference" / "attention.py").read_text(encoding="utf-8")


@contextmanager
def _loop(folder: Path) -> Iterator[IO[str]]:
    command = [*grader(), "check", "attention", "--watch"]
    process = subprocess.Popen(command, cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait(said: IO[str], words: str) -> None:
    for line in said:
        if words in line:
            return
    raise SystemExit(f"grader check --watch ended before it said '{words.strip()}'")
