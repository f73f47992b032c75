"""`grader grade all` and `grader report`: several modules in one folder of results."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from toy import HALF, RIGHT, write_course


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_course(tmp_path)
    for student, files in {"ann": RIGHT, "bob": {"half.py": HALF.replace("/ 2", "/ 3")}}.items():
        for name, text in files.items():
            file = tmp_path / "class" / student / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return tmp_path


def grader(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "grader", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)


def grades(folder: Path) -> list[tuple[str, str, str, str]]:
    with (folder / "out" / "grades.csv").open(encoding="utf-8", newline="") as file:
        return [(r["submission"], r["module"], r["score"], r["status"]) for r in csv.DictReader(file)]


ALL = [
    ("ann", "half", "100", "graded"),
    ("ann", "mean", "100", "graded"),
    ("ann", "spread", "100", "graded"),
    ("bob", "half", "0", "graded"),
    ("bob", "mean", "0", "unreadable"),
    ("bob", "spread", "0", "unreadable"),
]


def test_all_modules_are_graded_into_one_report(folder: Path) -> None:
    done = grader(folder, "grade", "all", "class", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert grades(folder) == ALL
    assert "Spread" in (folder / "out" / "index.html").read_text(encoding="utf-8")
    again = grader(folder, "grade", "all", "class", "-o", "out")
    assert "6 graded before and unchanged, 0 to grade" in again.stderr


@pytest.mark.slow
def test_a_second_module_joins_the_first_and_reports_can_be_drawn_anew(folder: Path) -> None:
    assert grader(folder, "grade", "half", "class", "-o", "out").returncode == 0
    assert grader(folder, "grade", "mean", "class", "-o", "out").returncode == 0
    assert grades(folder) == [row for row in ALL if row[1] != "spread"]
    before = {file: file.read_bytes() for file in (folder / "out").rglob("*") if file.suffix in (".html", ".csv")}
    for file in before:
        file.unlink()
    assert grader(folder, "report", "out").returncode == 0
    assert {file: file.read_bytes() for file in before} == before


def test_what_cannot_be_told_apart_or_found_is_refused(folder: Path) -> None:
    (folder / "class" / "kim.py").write_text(HALF)
    done = grader(folder, "grade", "all", "class", "-o", "out")
    assert done.returncode == 2
    assert "Of which module is kim.py? For several modules give each student a folder or a .zip." in done.stderr
    done = grader(folder, "report", "out")
    assert done.returncode == 2
    assert "There are no records in out; `grader grade MODULE CLASS -o out` writes them." in done.stderr
