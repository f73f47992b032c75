"""The site of the course: every link leads somewhere, nothing comes from elsewhere, it says what course.toml says."""

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from grader.cli import app
from grader.course import Course, load_course
from grader.errors import BadRequest
from grader.site import build_site

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "link", "img", "br", "hr", "wbr"}
LOADS = {"link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src"}
COURSE = """
title = "Toy <course>"
[policy]
functionality = 60
clarity = 40
[modules.toy]
week = 1
title = "Toys & co"
hours = 2.5
start = "2026-10-01"
due = "2026-10-15"
[modules.toy.tasks]
half = { points = 2, uses = [] }
[modules.later]
week = 4
title = "Later"
hours = 1
upstream = ["toy"]
tasks.last = { points = 1.5, uses = [] }
"""


@dataclass
class Seen(HTMLParser):
    """What stands on a page. A tag that is not closed, or closed twice, is a failure."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    alternatives: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if tag == "a" else []
        self.loads += [known[LOADS[tag]]] if tag in LOADS and LOADS[tag] in known else []
        self.levels += [int(tag[1])] if tag in {"h1", "h2", "h3", "h4"} else []
        self.alternatives += [known.get("alt", "")] if tag == "img" else []
        assert not any(name.startswith("on") or name == "style" for name in known)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def look(page: Path) -> Seen:
    seen = Seen()
    seen.feed(page.read_text(encoding="utf-8"))
    seen.close()
    assert seen.open == []
    return seen


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Seen]:
    """The real site."""
    return {page: look(page) for page in build_site(load_course(ROOT), tmp_path_factory.mktemp("site"))}


def toy(folder: Path, text: str = COURSE, index: str = "# The course\n", **handouts: str) -> Course:
    (folder / "handouts").mkdir()
    (folder / "course.toml").write_text(text, encoding="utf-8")
    for name, page in {"index": index, **handouts}.items():
        (folder / "handouts" / f"{name}.md").write_text(page, encoding="utf-8")
    return load_course(folder)


# --- the real site ---


def test_every_module_and_the_rules_have_a_page(pages: dict[Path, Seen]) -> None:
    modules = list(load_course(ROOT).modules)
    assert [page.stem for page in pages] == ["index", *modules, "rules"]


def test_every_link_leads_to_something_that_is_there(pages: dict[Path, Seen]) -> None:
    for page, seen in pages.items():
        for link in [*seen.links, *seen.loads]:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{page.name}: {link}"
                assert parts.netloc, f"{page.name}: {link}"
                continue
            target = page.parent / unquote(parts.path) if parts.path else page
            assert target.is_file(), f"{page.name}: {link}"
            if parts.fragment:
                assert parts.fragment in pages[target].ids, f"{page.name}: {link}"


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(pages: dict[Path, Seen]) -> None:
    for page, seen in pages.items():
        assert [load for load in seen.loads if urlsplit(load).scheme or load.startswith("//")] == []
        assert "<script" not in page.read_text(encoding="utf-8")
    style = next(iter(pages)).with_name("style.css").read_text(encoding="utf-8")
    assert "@import" not in style
    assert "http" not in style.replace('a[href^="http"]', "")


def test_pages_can_be_walked_by_their_headings_and_pictures_read_aloud(pages: dict[Path, Seen]) -> None:
    for page, seen in pages.items():
        assert seen.levels.count(1) == 1, page.name
        assert seen.levels[0] == 1, page.name
        assert all(later <= earlier + 1 for earlier, later in pairwise(seen.levels)), page.name
        assert all(len(text) > 40 for text in seen.alternatives), page.name
        assert [name for name, count in Counter(seen.ids).items() if count > 1] == []


def test_keyboard_can_skip_to_the_text_and_scroll_what_is_wide(pages: dict[Path, Seen]) -> None:
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert '<header class="top" id="text" tabindex="-1">' in html  # else Enter moves the view, not the focus
        for opening in re.findall(r'<\w+ class="(?:scroll|math block)"[^>]*>', html):
            assert 'tabindex="0"' in opening
            assert "aria-label=" in opening


def test_every_task_has_a_section_named_after_it_and_a_link_from_the_front_page(pages: dict[Path, Seen]) -> None:
    by_name = {page.stem: seen for page, seen in pages.items()}
    for module in load_course(ROOT).modules.values():
        for task in module.tasks:
            assert task in by_name[module.name].ids
            assert f"{module.name}.html#{task}" in by_name["index"].links


def test_every_formula_and_example_was_set(pages: dict[Path, Seen]) -> None:
    for page in pages:
        source = (ROOT / "handouts" / f"{page.stem}.md").read_text(encoding="utf-8")
        html = page.read_text(encoding="utf-8")
        assert ("<math " in html) == ("$" in source)
        assert html.count('<span class="gp">&gt;&gt;&gt; </span>') == source.count("\n>>> ")


def test_lines_of_the_other_pages_are_no_longer_than_the_code() -> None:
    for path in (ROOT / "handouts").glob("*.md"):
        assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


# --- the front page ---


def words(seen: Seen) -> str:
    return " ".join(seen.text.split())


def test_front_page_says_what_the_course_file_says(tmp_path: Path) -> None:
    course = toy(tmp_path, toy="# Toys\n\n## Tasks\n\n### 1.1 half\n2 points · 5 minutes · calls nothing\n")
    front, module = (look(page) for page in build_site(course, tmp_path / "site"))
    for part in (
        "Starts",
        "Thu 1 Oct",
        "Thu 15 Oct",
        "Toys & co",
        "Toy <course>",
        "60 % functionality",
        "40 % clarity",
    ):
        assert part in words(front)
    assert "Each day that a module is late takes 100 % of its grade." in words(front)
    assert "Week 1 · 2.5 hours · 2 points · due Thu 15 Oct" in words(module)
    assert front.links.count("toy.html#half") == 1


def test_module_without_a_handout_is_named_without_a_link(tmp_path: Path) -> None:
    front = look(build_site(toy(tmp_path), tmp_path / "site")[0])
    assert "Later" in words(front)
    assert front.links == ["#text", "index.html", "#calendar", "#grades", "#points"]


def test_front_page_leaves_out_what_the_course_file_leaves_out(tmp_path: Path) -> None:
    left = [line for line in COURSE.splitlines() if not line.startswith(("start", "due", "[policy", "func", "clar"))]
    front = look(build_site(toy(tmp_path, "\n".join(left)), tmp_path / "site")[0])
    assert "Starts" not in front.text
    assert "Grades" not in front.text


def test_late_days_are_told(tmp_path: Path) -> None:
    policy = "clarity = 40\nlate_days = 5\nlate_days_a_module = 2\nlate_percent = 10"
    front = look(build_site(toy(tmp_path, COURSE.replace("clarity = 40", policy)), tmp_path / "site")[0])
    assert "You may hand in late on 5 days over the whole course, on at most 2 for one module, without" in words(front)
    assert "Each day after that takes 10 % of the module's grade." in words(front)


# --- building ---


def test_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    course = load_course(ROOT)
    build_site(course, tmp_path / "one")
    build_site(course, tmp_path / "two")
    names = sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {"index.html", "style.css", "math.ttf", "figures/attention-masks.svg"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_front_page_that_is_missing_is_named(tmp_path: Path) -> None:
    course = toy(tmp_path)
    (tmp_path / "handouts" / "index.md").unlink()
    with pytest.raises(BadRequest, match=r"index\.md, the front page of the course, is missing\.$"):
        build_site(course, tmp_path / "site")


def test_page_that_cannot_be_set_is_named(tmp_path: Path) -> None:
    course = toy(tmp_path, toy="no title\n")
    with pytest.raises(BadRequest, match=r"toy\.md: the first line must be the title, '# …'$"):
        build_site(course, tmp_path / "site")


@pytest.mark.parametrize("picture", ["figures/none.svg", "../course.toml", "/course.toml"])
def test_picture_that_is_not_in_the_folder_is_named(tmp_path: Path, picture: str) -> None:
    course = toy(tmp_path, index=f"# T\n\n![A picture]({picture})\n")
    with pytest.raises(BadRequest, match=r"^handouts/index\.md: there is no picture handouts/"):
        build_site(course, tmp_path / "site")


def test_command_names_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["handouts"])
    assert (result.exit_code, result.output) == (0, "wrote site/index.html\n")
