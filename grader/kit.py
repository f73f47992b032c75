"""What lies in a student's kit of one week: path → contents. How it is proved and written stands in release.py."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .archive import Files, write_files
from .assemble import GIVEN_FOLDER
from .course import MANIFEST, Course, Module, load_course
from .errors import BadRequest, GraderFault
from .frozen import sha256
from .pristine import STUBS
from .site import build_site
from .wheel import build_wheel
from .workflow import workflow

TEMPLATES = "kit"  # the folder of a checkout whose files are copied as they are, but for the marks in them
SITE = "site"
HANDOUTS = (".md", ".svg", ".png", ".html", ".css")  # of handouts/; its demos are Python
NOT_FOR_STUDENTS = ("private", "public")  # of course.toml
HEADER = re.compile(r"(?m)^\[([\w.]+)\]")  # of a table of TOML


def modules_until(course: Course, week: int | None) -> list[Module]:
    """The modules of a kit, all of them by default.

    Raises:
        BadRequest: no module is as early as that.
    """
    found = [module for module in course.modules.values() if week is None or module.week <= week]
    if not found:
        first = min(module.week for module in course.modules.values())
        raise BadRequest(f"--week {week}: the first module of course.toml is of week {first}.")
    return found


def kit_files(course: Course, modules: list[Module], frozen: Mapping[str, tuple[bytes, bytes]]) -> Files:
    """Everything in the kit.

    Args:
        frozen: module → its tensors and their JSON, as freeze.py writes them.
    """
    root, last = course.root, max(module.week for module in modules)
    name, wheel = build_wheel(root)
    files: Files = {f"wheels/{name}": wheel, "course.toml": cut_course(root, modules).encode()}
    for place in sorted((root / TEMPLATES).rglob("*")):
        if place.is_file() and "__pycache__" not in place.parts:
            text = _filled(place.read_text(encoding="utf-8"), course, modules, name)
            files[place.relative_to(root / TEMPLATES).as_posix()] = text.encode()
    files[".github/workflows/classroom.yml"] = workflow(modules).encode()
    files |= _copies(root, ["LICENSE", "constraints.txt", "assignments/__init__.py", f"{GIVEN_FOLDER}/__init__.py"])
    for module in modules:
        stub = (root / "assignments" / f"{module.name}.py").read_bytes()
        files |= {f"assignments/{module.name}.py": stub, f"{STUBS}/{module.name}.py": stub}
        files |= _copies(root, [place.relative_to(root).as_posix() for place in course.check_files(module.name)])
        if module.week < last:
            files |= _copies(root, [f"{GIVEN_FOLDER}/{module.name}.py"])
        tensors, beside = frozen[module.name]
        files |= {f"tests/expected/{module.name}.safetensors": tensors, f"tests/expected/{module.name}.json": beside}
    files |= _handouts(course, modules)
    files |= _site(files)
    files[MANIFEST] = _manifest(files, last, root)
    return files


def cut_course(root: Path, modules: list[Module]) -> str:
    """course.toml without the later modules and without what is not for students, its comments kept."""
    text = (root / "course.toml").read_text(encoding="utf-8")
    kept = {module.name for module in modules}
    cut = "".join(part for part in _tables(text) if _stays(part, kept))
    cut = re.sub(r"(?ms)^(private|public)\s*=\s*\[.*?^\]\n", "", cut)
    wanted = {key: value for key, value in tomllib.loads(text).items() if key not in NOT_FOR_STUDENTS}
    wanted["modules"] = {name: table for name, table in wanted["modules"].items() if name in kept}
    if tomllib.loads(cut) != wanted:
        raise GraderFault("course.toml cannot be cut for a kit; give each table a header of its own, [like.this]")
    return cut.rstrip("\n") + "\n"


def _tables(text: str) -> list[str]:
    """The text before the first table, then each table with the comment above it."""
    tables, comment = [""], ""
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            comment += line
            continue
        if HEADER.match(line):
            tables.append("")
        tables[-1] += comment + line
        comment = ""
    tables[-1] += comment
    return tables


def _stays(part: str, kept: set[str]) -> bool:
    header = HEADER.search(part)
    words = header[1].split(".") if header else []
    if words[:1] == ["modules"]:
        return words[1] in kept
    return not words or words[0] not in NOT_FOR_STUDENTS


def _filled(text: str, course: Course, modules: list[Module], wheel: str) -> str:
    """A template with the marks {{ title }}, {{ week }}, {{ first }}, {{ wheel }} and {{ modules }} filled in."""
    rows = [f"| {m.week} | {m.title} | `assignments/{m.name}.py` | `handouts/{m.name}.md` |" for m in modules]
    marks = {
        "title": course.title or "The course",
        "week": str(max(module.week for module in modules)),
        "first": modules[-1].name,
        "wheel": wheel,
        "modules": "\n".join(["| week | module | you fill in | read first |", "|---|---|---|---|", *rows]),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda mark: marks.get(mark[1], mark[0]), text)


def _copies(root: Path, paths: list[str]) -> Files:
    return {path: (root / path).read_bytes() for path in paths}


def _handouts(course: Course, modules: list[Module]) -> Files:
    """The pages, figures and demos of these modules, and what belongs to no module."""
    later = course.modules.keys() - {module.name for module in modules}
    folder = course.root / "handouts"
    places = [place for place in sorted(folder.rglob("*")) if place.is_file() and "__pycache__" not in place.parts]
    of_students = [place for place in places if place.suffix in HANDOUTS or place.parent.name == "demos"]
    chosen = [place for place in of_students if re.split(r"[-._]", place.name)[0] not in later]
    return _copies(course.root, [place.relative_to(course.root).as_posix() for place in chosen])


def _site(files: Files) -> Files:
    """The handouts as a site, built from the kit's own files: later modules are not in it."""
    with TemporaryDirectory(prefix="site-") as name:
        kit = Path(name)
        write_files(kit, files)
        build_site(load_course(kit), kit / SITE)
        places = [place for place in sorted((kit / SITE).rglob("*")) if place.is_file()]
        return {place.relative_to(kit).as_posix(): place.read_bytes() for place in places}


def _manifest(files: Files, week: int, root: Path) -> bytes:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    hashes = {path: sha256(contents) for path, contents in sorted(files.items())}
    said: dict[str, Any] = {"format": 1, "version": project["version"], "week": week, "files": hashes}
    return (json.dumps(said, indent=1) + "\n").encode()
