"""What the doctor finds, and what it says to do."""

import sys
from pathlib import Path

import pytest

from grader import doctor
from grader.doctor import Finding, examine


@pytest.fixture
def findings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    (folder / "assignments" / "random.py").write_text("")
    monkeypatch.chdir(folder)
    return {finding.what: finding for finding in examine()}


@pytest.mark.slow
def test_doctor_measures_and_says_what_to_do(findings: dict[str, Finding]) -> None:
    for what in ("course", "python", "torch", "jinja2", "torch starts", "device", "threads", "memory", "disk"):
        assert findings[what].found
    assert "(wanted >=2.6" in findings["torch"].found or "(wanted <3" in findings["torch"].found
    assert findings["saves"].found.startswith("noticed after ")
    assert findings["isolation"].found.startswith("measured: level ")
    hidden = findings["file names"]
    assert not hidden.fine
    assert hidden.found == "assignments/random.py hides Python's own random from every file beside it: rename it."


def test_broken_torch_is_told_and_does_not_break_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TORCH", "raise ImportError('libtorch.so: cannot open shared object file')")
    (found,) = doctor._torch()
    assert (found.what, found.fine) == ("torch starts", False)
    assert found.found == "ImportError: libtorch.so: cannot open shared object file"
    assert found.advice.startswith("Install it anew")


def test_torch_that_never_starts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TORCH", "import time; time.sleep(60)")
    monkeypatch.setattr(doctor, "TORCH_SECONDS", 1)
    (found,) = doctor._torch()
    assert found.found == "not within 1 seconds"


def test_saves_that_are_not_noticed_lead_to_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NOTICE_SECONDS", 0)
    found = doctor._saves(tmp_path)
    assert not found.fine
    assert found.advice == "Use grader check --watch --poll."
    assert list(tmp_path.iterdir()) == []


def test_without_a_course_the_doctor_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("grader.course.__file__", str(tmp_path / "a" / "b" / "c.py"))
    course, found = doctor._course()
    assert course is None
    assert found.advice == "Go to the folder that holds course.toml."
    assert doctor._isolation(None).found.endswith("(not measured: there is no course here)")


def test_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    assert doctor._python().advice == "Use 3.11 or newer."
