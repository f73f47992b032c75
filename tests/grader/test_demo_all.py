"""Demos on one person's files: what is not right is named, and with `all` the given part is used where there is one."""

import re
from pathlib import Path

import pytest
from toy import HALF, MEAN, RIGHT, SPREAD, write_course

from grader.course import Course
from grader.demo import run_all, run_demo
from grader.errors import BadRequest

DEMO = """
def run(impl, out, say):
    say(f"{impl.__name__} shows {impl.NAME(8.0, 4.0)}")
    (out / "NAME.png").write_bytes(b"")
    return [out / "NAME.png"]
"""


@pytest.fixture
def course(tmp_path: Path) -> Course:
    demos = tmp_path / "handouts" / "demos"
    demos.mkdir(parents=True)
    for name in ("half", "mean", "spread"):
        text = DEMO.replace("NAME", name)
        (demos / f"{name}.py").write_text(text.replace("(8.0, 4.0)", "(8.0)") if name == "half" else text)
    return write_course(tmp_path)


def own(course: Course, **changed: str) -> Path:
    """A folder with the three files, right but for those that are changed."""
    folder = course.root / "own"
    folder.mkdir()
    for name, text in {**RIGHT, **{f"{name}.py": text for name, text in changed.items()}}.items():
        (folder / name).write_text(text)
    return folder


def run(course: Course, folder: Path, shown: tuple[str, ...] = ("half", "mean", "spread")) -> list[str]:
    lines: list[str] = []
    pictures = run_all(course, folder, course.root / "out", lines.append)
    assert tuple(picture.stem for picture in pictures) == shown
    return lines


@pytest.mark.slow
def test_whole_chain_runs_on_the_persons_own_files(course: Course) -> None:
    assert run(course, own(course)) == [
        "half: your own",
        "mean: your own",
        "spread: your own",
        "\n1. Half",
        "assignments.half shows 4.0",
        "\n2. Mean",
        "assignments.mean shows 6.0",
        "\n3. Spread",
        "assignments.spread shows 2.0",
    ]


def test_wrong_module_is_named_and_does_not_spoil_the_rest(course: Course) -> None:
    lines = run(course, own(course, half=HALF.replace("/ 2", "/ 3"), mean=MEAN.replace("return", "retrun")))
    assert lines[0] == "half: the given one, since half.py is not right yet in half"
    assert lines[1].startswith("mean: the given one, since mean.py cannot be imported: ")
    assert lines[-1] == "assignments.spread shows 2.0"


def test_newest_module_of_a_kit_is_left_out_where_it_is_not_written(course: Course) -> None:
    folder = own(course, spread=re.sub(r"return .*", "raise NotImplementedError", SPREAD))
    (folder / "half.py").unlink()
    (course.root / "assignments" / "given" / "spread.py").unlink()
    lines = run(course, folder, shown=("half", "mean"))
    assert lines[0] == "half: the given one, since half.py is not there"
    assert lines[2] == "spread: not shown, since spread.py is not written yet and there is no given one here"


def test_nothing_to_show_is_told_with_what_to_do(course: Course) -> None:
    (course.root / "assignments" / "given" / "half.py").unlink()
    (own(course) / "half.py").unlink()
    with pytest.raises(BadRequest, match=r"^There is nothing to show yet\. Next: grader check half$"):
        run(course, course.root / "own")
    with pytest.raises(BadRequest, match=r"takes the folder of your files; .*mean\.py is none\.$"):
        run(course, course.root / "own" / "mean.py")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def half(x:\n", "The demo ended at half.py, line 1: SyntaxError: '(' was never closed"),
        ("def half(x):\n    return x / y\n", "The demo ended at half.py, line 2: NameError: name 'y' is"),
        ("", "The demo cannot go on with what half.py gives it: AttributeError: module 'assignments.half' has no"),
    ],
)
def test_demo_that_a_mistake_ends_names_the_line(course: Course, source: str, says: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{re.escape(says)}.*\. Next: grader check half$"):
        run_demo(course, course.module("half"), own(course, half=source), course.root / "out", print)
