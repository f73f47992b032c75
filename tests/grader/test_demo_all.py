"""`grader demo all`: every demo on one person's files; what is not right is named, and the given part is used."""

from pathlib import Path

import pytest
from toy import HALF, MEAN, RIGHT, write_course

from grader.course import Course
from grader.demo import run_all

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


def run(course: Course, **changed: str) -> list[str]:
    own = course.root / "own"
    own.mkdir()
    for name, text in {**RIGHT, **{f"{name}.py": text for name, text in changed.items()}}.items():
        (own / name).write_text(text)
    lines: list[str] = []
    pictures = run_all(course, own, course.root / "out", lines.append)
    assert [picture.name for picture in pictures] == ["half.png", "mean.png", "spread.png"]
    return lines


@pytest.mark.slow
def test_whole_chain_runs_on_the_persons_own_files(course: Course) -> None:
    assert run(course) == [
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
    lines = run(course, half=HALF.replace("/ 2", "/ 3"), mean=MEAN.replace("return", "retrun"))
    assert lines[0] == "half: the given one, since half.py is not right yet in half"
    assert lines[1].startswith("mean: the given one, since mean.py cannot be imported: ")
    assert lines[-1] == "assignments.spread shows 2.0"
