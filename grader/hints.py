"""Hints in four levels, asked for one at a time: concept, place, formula, nearly code.

The diagnosis chooses them. A mistake that nobody has catalogued gets what can be shown about the output and the section
of the handout; a task that is right gets its background.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from .course import Course, Module
from .definitions import header, origin, places, sentence
from .handout import Section, nearest, readable, section
from .pristine import specification
from .record import CheckRecord, SubmissionRecord, failing

LEVELS = ("concept", "place", "formula", "nearly code")
SYMPTOMS = 3  # at most, of the handout's table
FRAME = re.compile(r"^(\w+\.py), line (\d+), in ", re.MULTILINE)


@dataclass(frozen=True)
class Hint:
    """One answer to "help me": its level in words, and some lines."""

    level: str
    lines: list[str]

    @property
    def title(self) -> str:
        return "nearly the code" if self.level == LEVELS[-1] else f"the {self.level}"


@dataclass(frozen=True)
class Asked:
    """What a hint is about: a task, its verdicts, and the file they are of."""

    course: Course
    module: Module
    task: str
    checks: tuple[CheckRecord, ...]
    path: Path
    source: str


def mistake(checks: tuple[CheckRecord, ...]) -> str:
    """The name of the recognised mistake, `todo` where nothing is written, empty where nobody has catalogued it."""
    names = [check.diagnosis.mutant for check in checks if check.diagnosis]
    if names:
        return names[0].replace(" or ", ",")
    return "todo" if checks and all(check.status == "missing" for check in checks) else ""


def hints(asked: Asked) -> list[Hint]:
    """Every hint there is, the vaguest first; a task that is right has one, its background."""
    about = section(asked.course, asked.module, asked.task)
    lost = failing(asked.checks)
    if not lost:
        return [Hint("background", [*about.notes, *_formula(asked), f"More: {about.link}"])]
    texts = {
        "concept": _concept(about, lost),
        "place": _where(asked, about, lost),
        "formula": _formula(asked),
        "nearly code": _nearly(asked, about, lost),
    }
    return [Hint(level, texts[level]) for level in LEVELS]


def line_of(asked: Asked) -> int:
    """The line to look at in the first check that fails: of the task in its traceback, else where the task begins."""
    place = places(asked.source).get(asked.task)
    lost = failing(asked.checks)
    if lost and lost[0].status == "error":
        frames = [int(line) for file, line in FRAME.findall(lost[0].message) if file == asked.path.name]
        own = [line for line in frames if place and place.head <= line <= (place.node.end_lineno or line)]
        if own or frames:
            return (own or frames)[-1]
    return place.head if place else 1


def links(asked: Asked) -> tuple[str, str]:
    """Where to look in the file and in the handout, as most terminals can open it."""
    path = asked.path
    shown = path.relative_to(asked.course.root) if path.is_relative_to(asked.course.root) else path
    return f"{shown}:{line_of(asked)}", section(asked.course, asked.module, asked.task).link


def where_to_look(
    course: Course, module: Module, record: SubmissionRecord, path: Path, source: str
) -> dict[str, tuple[str, str]]:
    """Task → its links, for each that is begun and not right."""
    file = path / f"{module.name}.py" if path.is_dir() else path
    found = {}
    for task in module.tasks:
        checks = tuple(check for check in record.checks if check.task == task)
        if {check.status for check in checks} - {"passed", "missing", "blocked"}:
            found[task] = links(Asked(course, module, task, checks, file, source))
    return found


def _beginning(asked: Asked) -> str:
    place = places(asked.source).get(asked.task)
    return f"Your {asked.task} begins at {asked.path.name}:{place.head}." if place else ""


def _concept(about: Section, lost: list[CheckRecord]) -> list[str]:
    """What the handout says nearest to the mistake; of a task not yet written, all it says."""
    if lost[0].status == "missing":
        notes = about.notes
    else:
        known = lost[0].diagnosis
        words = " ".join([lost[0].sentence, *([known.says, *known.hints] if known else [])])
        notes = nearest(about.notes, words)
    return [*notes, f"More: {about.link}"]


def _where(asked: Asked, about: Section, lost: list[CheckRecord]) -> list[str]:
    first = lost[0]
    at = f"{asked.path.name}:{line_of(asked)}"
    if first.diagnosis and first.diagnosis.hints:
        return list(filter(None, [first.diagnosis.hints[0], _beginning(asked)]))
    uses = asked.module.tasks[asked.task].uses
    calls = f"It is built from {', '.join(uses)}." if uses else "It calls no other task."
    if first.status == "missing":
        return [f"Write it at {at}, in place of the line that raises NotImplementedError. {calls}"]
    if first.cause:  # without the given one nobody can say that nothing is wrong here as well
        return [f"Look at {first.cause} first: it fails, and {asked.task} builds on it. Then see what is left here."]
    shown = [line for line in first.message.splitlines() if line.strip()][1:2]
    told = [f"{symptom}: look at {look}" for symptom, look in about.symptoms]
    seen = nearest(told, f"{first.sentence} {first.message}", SYMPTOMS)
    return [
        f"Nobody has catalogued this mistake. Look at {at}. {calls}",
        *shown,
        *(["The handout's symptoms for this task:", *seen] if seen else []),
    ]


def _formula(asked: Asked) -> list[str]:
    place = places(specification(asked.course, asked.module)).get(asked.task)
    if place is None:
        return []
    return list(filter(None, [readable(f"{header(place.node)}: {sentence(place)}"), origin(place)]))


def _nearly(asked: Asked, about: Section, lost: list[CheckRecord]) -> list[str]:
    known = next((check.diagnosis for check in lost if check.diagnosis and check.diagnosis.hints), None)
    if known:
        return [known.hints[-1]]
    if lost[0].status == "missing":
        why = "There is no code to give away for a task that is not begun"
    else:
        why = "There is no closer hint for a mistake that nobody has catalogued"
    handout = f"handouts/{asked.module.name}.md"
    return [f"{why}. Do the worked example of {handout} with your own function and compare line by line."]
