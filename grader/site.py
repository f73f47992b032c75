"""The static site of the course: a page a handout, and a front page with the calendar and the points of course.toml.

It needs no network, when it is built or when it is read, and holds no script. The same sources give the same bytes.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from posixpath import normpath

from .course import Course, Module
from .errors import BadRequest
from .html import render
from .markdown import Document, Heading
from .markdown import render as read_markdown

INDEX = "index"
STYLES = ("style.css", "handout.css")
FONT = ("ziamath", "fonts/STIXTwoMath-Regular.ttf")  # a package that holds it: browsers bring none for formulas


@dataclass(frozen=True)
class Page:
    """One page of the site; `module` is None for the front page and for pages such as the rules."""

    name: str
    label: str
    document: Document
    module: Module | None = None


def build_site(course: Course, out: Path) -> list[Path]:
    """Write the site into `out` and return its pages, the front page first.

    Raises:
        BadRequest: a handout cannot be read or names a picture that is not there, or a package is missing.
    """
    pages = list(_pages(course))
    out.mkdir(parents=True, exist_ok=True)
    _write_style(out)
    for page in pages:
        _copy_pictures(course, page, out)
    written = []
    for i, page in enumerate(pages):
        around = {"before": pages[i - 1] if i else None, "after": pages[i + 1] if i + 1 < len(pages) else None}
        template = "front.html" if page.name == INDEX else "handout.html"
        contents = _contents(page, course)
        html = render(template, course=course, pages=pages, page=page, contents=contents, day=_day, **around)
        written.append(out / f"{page.name}.html")
        written[-1].write_text(html, encoding="utf-8")
    return written


def _pages(course: Course) -> Iterator[Page]:
    """The front page, a page for each module that has a handout, then the others in the folder."""
    folder = course.root / "handouts"
    names = {path.stem for path in folder.glob("*.md")}
    if INDEX not in names:
        raise BadRequest(f"{folder / INDEX}.md, the front page of the course, is missing.")
    yield Page(INDEX, "Course", _document(folder, INDEX))
    for name, module in course.modules.items():
        if name in names:
            yield Page(name, f"{module.week} {module.title}", _document(folder, name), module)
    for name in sorted(names - {INDEX, *course.modules}):
        document = _document(folder, name)
        yield Page(name, document.title, document)


def _document(folder: Path, name: str) -> Document:
    path = folder / f"{name}.md"
    try:
        return read_markdown(path.read_text(encoding="utf-8"))
    except BadRequest as error:
        raise BadRequest(f"{path}: {error}") from error


def _contents(page: Page, course: Course) -> list[Heading]:
    """What stands on the page; the front page begins with what is drawn from course.toml."""
    drawn = {"calendar": "Calendar", "grades": "Grades" if course.policy else "", "points": "Tasks and points"}
    first = [Heading(2, anchor, "", text) for anchor, text in drawn.items() if text and page.name == INDEX]
    return first + page.document.headings


def _copy_pictures(course: Course, page: Page, out: Path) -> None:
    for name in page.document.pictures:
        source = course.root / "handouts" / name
        if normpath(name).startswith(("..", "/")) or not source.is_file():
            raise BadRequest(f"handouts/{page.name}.md: there is no picture handouts/{name}.")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / name)


def _write_style(out: Path) -> None:
    """One style sheet, the look of the reports and what handouts add to it, and the font of the formulas."""
    templates = Path(__file__).parent / "templates"
    style = "\n".join((templates / name).read_text(encoding="utf-8") for name in STYLES)
    (out / "style.css").write_text(style, encoding="utf-8")
    package = find_spec(FONT[0])
    if package is None or package.origin is None:
        raise BadRequest(f"Building the handouts needs {FONT[0]}; run: pip install -e '.[docs]'")
    shutil.copyfile(Path(package.origin).parent / FONT[1], out / "math.ttf")


def _day(text: str) -> str:
    """2026-10-01 as Thu 1 Oct, whatever the locale."""
    day = date.fromisoformat(text)
    weekday = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[day.weekday()]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[day.month - 1]
    return f"{weekday} {day.day} {month}"
