"""The handouts: their examples run, and what they say about tasks, points and time is what course.toml says."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HANDOUTS = ROOT / "handouts"
MODULES: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "course.toml").read_text(encoding="utf-8"))["modules"]
PAGES = {name: (HANDOUTS / f"{name}.md").read_text(encoding="utf-8") for name in MODULES}
HEADING = re.compile(r"^### (\d+)\.(\d+) (\w+)\n(\d+) points · (\d+) minutes · calls (.+)$", re.MULTILINE)

each_module = pytest.mark.parametrize("module", sorted(MODULES))


@each_module
def test_doctest_of_the_handout_passes(module: str) -> None:
    command = [sys.executable, "-m", "doctest", str(HANDOUTS / f"{module}.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ">>> " in PAGES[module]


@each_module
def test_sections_are_the_tasks_in_their_order(module: str) -> None:
    week = MODULES[module]["week"]
    expected = [(str(week), str(i), name) for i, name in enumerate(MODULES[module]["tasks"], start=1)]
    assert [match.groups()[:3] for match in HEADING.finditer(PAGES[module])] == expected


@each_module
def test_points_and_calls_are_those_of_the_course(module: str) -> None:
    tasks = MODULES[module]["tasks"]
    number = {name: f"{MODULES[module]['week']}.{i}" for i, name in enumerate(tasks, start=1)}
    said = {name: (int(points), calls) for _, _, name, points, _, calls in HEADING.findall(PAGES[module])}
    for name, task in tasks.items():
        calls = ", ".join(number[used] for used in tasks if used in task["uses"]) or "nothing"
        assert said[name] == (task["points"], calls)
    assert f"{sum(task['points'] for task in tasks.values())} points" in PAGES[module]


@each_module
def test_minutes_sum_to_the_hours_of_the_course(module: str) -> None:
    tasks = sum(int(minutes) for *_, minutes, _ in HEADING.findall(PAGES[module]))
    reading = re.search(r"pencil takes (\d+) minutes, the\s+demo and the last questions (\d+)", PAGES[module])
    assert reading is not None
    total = tasks + sum(map(int, reading.groups()))
    assert 6 * 60 <= total <= 8 * 60
    assert total == 60 * MODULES[module]["hours"]


@each_module
def test_figures_exist_and_have_a_text_alternative(module: str) -> None:
    figures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", PAGES[module])
    assert figures
    for text, path in figures:
        assert (HANDOUTS / path).is_file()
        assert len(text) > 40


@each_module
def test_figures_are_drawn_alike_every_time(module: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location(f"figures_{module}", HANDOUTS / "figures" / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    for one, other in zip(figures.draw(first), figures.draw(second), strict=True):
        assert one.read_bytes() == other.read_bytes()
        committed = (HANDOUTS / "figures" / one.name).read_text(encoding="utf-8")
        assert words(committed) == words(one.read_text(encoding="utf-8"))


def words(svg: str) -> list[str]:
    """The texts of a figure: matplotlib draws letters as outlines and leaves the text in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg)


@each_module
def test_lines_are_no_longer_than_the_code(module: str) -> None:
    assert [line for line in PAGES[module].splitlines() if len(line) > 120] == []
