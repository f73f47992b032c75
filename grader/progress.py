"""What a student has reached, in progress.txt beside course.toml: a line a fact, so that two machines can be merged.

A fact is replaced by a later one about the same task. Lines may come in any order and more than once, and lines that
are no facts (what git leaves around a conflict) are passed over: whatever a merge makes of two such files can be read.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .course import Module
from .record import SubmissionRecord, write_whole

FILE = "progress.txt"
HEAD = (
    "# What you have reached: a line a task. Keep it with your work; merging two of these keeps every line of both.\n"
)
UNKNOWN = "-"  # a mistake that is not in the catalogue
POINTS = re.compile(r"(\S+Z) points ([\w.]+) (\d+(?:\.\d+)?)/(\d+(?:\.\d+)?) ([0-9a-f]{8})")
HINTS = re.compile(r"(\S+Z) hints ([\w.]+) ([\w,-]+) (\d)")


@dataclass(frozen=True)
class Reached:
    """The points of one task, when they were last seen, and the file that gave them."""

    when: str
    points: float
    max_points: float
    digest: str


@dataclass(frozen=True)
class Taken:
    """How many hints were asked for about one mistake in one task."""

    when: str
    count: int


@dataclass(frozen=True)
class Progress:
    """Every fact by its subject: `module.task`, and for hints the mistake too."""

    points: dict[str, Reached]
    hints: dict[tuple[str, str], Taken]

    def module_points(self, module: Module) -> float:
        found = (self.points.get(f"{module.name}.{task}") for task in module.tasks)
        return sum(reached.points for reached in found if reached)

    def module_hints(self, module: Module) -> int:
        """All hints taken in a module: with `hints = "reported"` a hand-in carries the number."""
        return sum(taken.count for (task, _), taken in self.hints.items() if task.startswith(f"{module.name}."))


def read_progress(root: Path) -> Progress:
    """The facts of ROOT/progress.txt, the latest about each subject; of hints the most that were taken."""
    points: dict[str, Reached] = {}
    hints: dict[tuple[str, str], Taken] = {}
    path = root / FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        if found := POINTS.fullmatch(line.strip()):
            when, task, got, most, digest = found.groups()
            if task not in points or points[task].when <= when:
                points[task] = Reached(when, float(got), float(most), digest)
        elif found := HINTS.fullmatch(line.strip()):
            when, task, mistake, count = found.groups()
            if (task, mistake) not in hints or hints[task, mistake].count < int(count):
                hints[task, mistake] = Taken(when, int(count))
    return Progress(points, hints)


def note_points(root: Path, module: Module, record: SubmissionRecord) -> None:
    """Keep what a check of the whole module has found. A task without points is no news until it has had some."""
    progress = read_progress(root)
    points = dict(progress.points)
    for task in module.tasks.values():
        key = f"{module.name}.{task.name}"
        got = round(sum(check.points for check in record.checks if check.task == task.name), 4)
        old = points.get(key)
        if old is None and got == 0:
            continue
        if old is None or (old.points, old.digest) != (got, record.digest[:8]):
            points[key] = Reached(_now(), got, task.points, record.digest[:8])
    if points != progress.points:
        _write(root, replace(progress, points=points))


def note_hint(root: Path, task: str, mistake: str, count: int) -> None:
    """Keep how many hints were asked for; `task` is module.task."""
    progress = read_progress(root)
    hints = {**progress.hints, (task, mistake or UNKNOWN): Taken(_now(), count)}
    _write(root, replace(progress, hints=hints))


def _write(root: Path, progress: Progress) -> None:
    lines = [f"{r.when} points {task} {r.points:g}/{r.max_points:g} {r.digest}" for task, r in progress.points.items()]
    lines += [f"{t.when} hints {task} {mistake} {t.count}" for (task, mistake), t in progress.hints.items()]
    lines.sort(key=lambda line: line.split(" ")[1:3])
    write_whole(root / FILE, HEAD + "".join(f"{line}\n" for line in lines))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
