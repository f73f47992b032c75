"""What a module's handout says of one task: its notes, and the symptoms that lead to it."""

import re
from dataclasses import dataclass

from .course import Course, Module

SYMPTOMS = "what goes wrong"  # begins the title of the table of symptoms
SIGNS = {"^\\top": "\u1d40", "\\cdot": "\u00b7", "\\times": "\u00d7", "\\,": " "}


@dataclass(frozen=True)
class Section:
    """The section of a task. Where the handout has none, the link is to the page and there are no notes."""

    link: str  # handouts/attention.md:140, which most terminals open at the line
    notes: list[str]
    symptoms: list[tuple[str, str]]  # what you see, where to look


def section(course: Course, module: Module, task: str) -> Section:
    """What the handout says of a task; empty where there is no handout."""
    name = f"handouts/{module.name}.md"
    path = course.root / name
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    number = module.tasks[task].number
    start = next((i for i, line in enumerate(lines) if re.match(rf"#+ {re.escape(number)}\b", line)), None)
    link = name if start is None else f"{name}:{start + 1}"
    notes = [] if start is None else _notes(lines[start + 1 :])
    return Section(link, notes, [(seen, look) for seen, look in _symptoms(lines) if _names(look, number)])


def nearest(notes: list[str], words: str, most: int = 2) -> list[str]:
    """The notes that share the most words with a text, in their own order; all of them where none does."""
    wanted = _words(words)
    found = {note: len(_words(note) & wanted) for note in notes}
    best = sorted((note for note in notes if found[note]), key=lambda note: -found[note])[:most]
    return [note for note in notes if note in best] or notes


def _notes(lines: list[str]) -> list[str]:
    """The list items up to the next heading, each on one line."""
    notes: list[str] = []
    for line in lines:
        if line.startswith("#"):
            break
        if line.startswith("- "):
            notes.append(line[2:])
        elif notes and line.startswith("  "):
            notes[-1] += f" {line.strip()}"
    return [readable(note) for note in notes]


def readable(text: str) -> str:
    r"""A line of Markdown without its marks: *so*, `so` and $\sqrt{d}$ as a terminal can show them."""
    text = re.sub(r"\$([^$]+)\$", lambda found: _formula(found[1]), text)
    return re.sub(r"(?<![\w*])\*(?!\s)([^*]+)(?<!\s)\*(?![\w*])|`([^`]+)`", lambda found: found[1] or found[2], text)


def _formula(text: str) -> str:
    text = re.sub(r"\\sqrt\s*(?:\{([^}]*)\}|(\w))", lambda found: f"sqrt({found[1] or found[2]})", text)
    text = re.sub(r"\\(?:mathrm|text|operatorname)\{([^}]*)\}", r"\1", text)
    for written, shown in SIGNS.items():
        text = text.replace(written, shown)
    return re.sub(r"\\([A-Za-z]+)", r"\1", text)


def _symptoms(lines: list[str]) -> list[tuple[str, str]]:
    """The rows of the table of symptoms."""
    start = next((i for i, line in enumerate(lines) if line.lower().lstrip("# ").startswith(SYMPTOMS)), len(lines))
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith("#"):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2:
            rows.append((readable(cells[0]), readable(cells[1])))
    return rows[2:]  # after the head and the rule below it


def _names(text: str, number: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text) is not None


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z_]{4,}", text.lower()) if word not in ("with", "that", "this", "from")}
