"""`grader submit`: the files to hand in, packed, and the packed copy checked in a clean place."""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .archive import zip_files
from .collect import Submission, collect
from .course import Course, Module
from .errors import BadRequest, GraderFault
from .frozen import sha256
from .grade import grade, versions
from .opening import open_session
from .options import Options
from .own_file import is_stub
from .progress import read_progress
from .record import SubmissionRecord, write_bytes
from .screen import screen
from .unzip import shown

SCHEMA = 1
NOTE = "submission.json"
NOTHING = "Nothing was packed: {}\nWith --anyway it is packed as it is."


@dataclass(frozen=True)
class HandIn:
    """What was packed, what was not and why, and the verdict on the packed copy."""

    path: Path
    files: dict[str, str]  # name → source
    left_out: dict[str, str]  # name → why
    record: SubmissionRecord
    hints: int | None  # taken in this module; None where the course does not ask


def submit(course: Course, module: Module, folder: Path, out: Path, anyway: bool = False) -> HandIn:
    """Pack a module, with the earlier ones of the student's own that it builds on, and check what was packed.

    Args:
        folder: where the student's files are.
        anyway: pack a file that cannot be imported, too.
    Raises:
        BadRequest: there is no such file, it is the empty stub, it needs what is not handed in, or cannot be imported.
    """
    found, left_out = choose(course, module, folder)
    wrong = screen(found.files[f"{module.name}.py"], module).syntax_error
    if is_stub(course, f"{module.name}.py", found.files[f"{module.name}.py"]):
        wrong = f"{module.name}.py is still the stub as it was shipped. Was your work saved, and in this folder?"
    if wrong and not anyway:
        raise BadRequest(NOTHING.format(wrong))
    for name, source in found.files.items():
        for line, wanted in lost_imports(course, source, folder):
            raise BadRequest(
                f"{name}, line {line} imports {wanted}, which is no file of the course and would not be there when it "
                f"is graded. Move what you need from it into {module.name}.py."
            )
    packed = {name: source.encode() for name, source in sorted(found.files.items())}
    with TemporaryDirectory(prefix="hand-in-") as clean:
        copy = Path(clean) / f"{module.name}.zip"
        copy.write_bytes(zip_files(packed))
        [again] = collect(copy, module.name, module.upstream)
        if again.files != found.files:
            raise GraderFault(f"the packed copy of {', '.join(found.files)} does not read as what was packed")
        with open_session(course, module, 0) as session:
            record = grade(session, again, again.digest, Options())
    if record.problem and not anyway:
        raise BadRequest(NOTHING.format(record.problem))
    asked = course.feedback.hints == "reported"
    hints = read_progress(course.root).module_hints(module) if asked else None
    place = out / f"{module.name}.zip"
    write_bytes(place, zip_files(packed | {NOTE: _note(module, packed, record, hints)}))
    return HandIn(place, found.files, left_out, record, hints)


def choose(course: Course, module: Module, folder: Path) -> tuple[Submission, dict[str, str]]:
    """The files to pack, and the others of the folder with the reason why they stay."""
    if folder.is_dir() and not (folder / f"{module.name}.py").exists():
        there = ", ".join(shown(place.name) for place in sorted(folder.glob("*.py"))) or "no .py file"
        raise BadRequest(f"{folder} holds no {module.name}.py (found: {there}). Rename your file to {module.name}.py.")
    found = collect(folder, module.name, module.upstream)
    if len(found) != 1 or found[0].problem:
        why = found[0].problem if len(found) == 1 else f"it holds {len(found)} files that could be meant"
        raise BadRequest(f"{folder}: {why}.")
    left_out = dict(found[0].left_out)
    files = dict(found[0].files)
    for name in [name for name in files if name != f"{module.name}.py"]:
        if is_stub(course, name, files[name]):
            left_out[name] = "it is still the stub as it was shipped"
            del files[name]
    if folder.is_dir():
        for place in sorted(folder.glob("*.py")):
            if place.name not in files | left_out and place.name != "__init__.py":
                ours = place.stem in course.modules
                left_out[place.name] = f"{module.name} does not build on it" if ours else "it is no file of the course"
    return Submission(found[0].name, files), left_out


def lost_imports(course: Course, source: str, folder: Path) -> list[tuple[int, str]]:
    """(line, name) of each import of a neighbour that will not be there when the file is graded."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # the check of the packed copy says it better
    lost = []
    for node in nodes:
        for wanted in _imported(node):
            name = wanted.lstrip(".")
            beside = folder.is_dir() and (folder / f"{name}.py").is_file()
            if (wanted.startswith(".") or beside) and name not in course.modules:
                lost.append((getattr(node, "lineno", 1), name))
    return lost


def _imported(node: ast.AST) -> list[str]:
    """The first names that an import asks for, with a dot where it means a neighbour."""
    match node:
        case ast.Import(names=names):
            return [alias.name.split(".")[0] for alias in names]
        case ast.ImportFrom(module=None, names=names, level=level) if level:
            return [f".{alias.name}" for alias in names]
        case ast.ImportFrom(module=str(dotted), level=level):
            first, _, rest = dotted.partition(".")
            if first == "assignments" and rest:
                return [f".{rest.split('.')[0]}"]
            return [f".{first}" if level else first]
    return []


def _note(module: Module, packed: Mapping[str, bytes], record: SubmissionRecord, hints: int | None) -> bytes:
    """What was packed, with what, and what the public checks said; the same bytes for the same files."""
    said = {
        "schema": SCHEMA,
        "module": module.name,
        "files": {name: sha256(contents) for name, contents in packed.items()},
        "versions": versions(),
        "public_checks": {"score": record.score, "max_score": record.max_score, "status": record.status},
        "hints": {"graded": False, **({} if hints is None else {"taken": hints})},
    }
    return (json.dumps(said, indent=1) + "\n").encode()
