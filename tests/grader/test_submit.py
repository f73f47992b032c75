"""`grader submit` packs the right files, checks the packed copy, and leaves nothing out in silence."""

import json
import shutil
from pathlib import Path

import pytest

from grader.archive import unzip_files
from grader.collect import collect
from grader.course import Course, Module, load_course
from grader.errors import BadRequest
from grader.progress import note_hint
from grader.submit import choose, lost_imports, submit
from grader.terminal import handed_in


@pytest.fixture
def folder(tmp_path: Path, reference: str) -> Path:
    place = tmp_path / "assignments"
    place.mkdir()
    (place / "attention.py").write_text(reference, encoding="utf-8")
    return place


def test_packed_copy_is_checked_and_its_hashes_are_recorded(
    kit: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = load_course(kit)
    module = course.module("attention")
    (folder / "helper.py").write_text("x = 1\n")
    raw = (folder / "attention.py").read_bytes()
    (folder / "attention.py").write_bytes(b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"))
    done = submit(course, module, folder, tmp_path / "out")
    inside = unzip_files(done.path.read_bytes())
    assert sorted(inside) == ["attention.py", "submission.json"]
    assert inside["attention.py"] == raw
    note = json.loads(inside["submission.json"])
    assert set(note["files"]) == {"attention.py"}
    assert note["public_checks"] == {"score": 100, "max_score": 100, "status": "graded"}
    assert done.left_out == {"helper.py": "it is no file of the course"}
    [again] = collect(done.path, "attention")
    assert not again.problem
    handed_in(done, module)
    said = capsys.readouterr().out
    assert "left out: helper.py: it is no file of the course" in said
    assert "The packed copy, checked in a clean place: 100 of 100 points." in said
    assert "Nothing was sent." in said


@pytest.mark.parametrize(
    ("setting", "noted", "said"),
    [
        ("free", {"graded": False}, ""),
        (
            "reported",
            {"graded": False, "taken": 5},
            "Hints taken, as your course asks to know: 5. They cost no points.\n",
        ),
    ],
)
def test_hand_in_carries_the_hints_where_the_course_asks(
    kit: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, noted: object, said: str
) -> None:
    own = shutil.copytree(kit, tmp_path / "kit")
    text = (own / "course.toml").read_text(encoding="utf-8").replace('hints = "free"', f'hints = "{setting}"')
    (own / "course.toml").write_text(text, encoding="utf-8")
    note_hint(own, "attention.softmax", "softmax_no_max", 3)
    note_hint(own, "attention.Linear", "", 2)
    course = load_course(own)
    done = submit(course, course.module("attention"), folder, tmp_path / "out")
    assert json.loads(unzip_files(done.path.read_bytes())["submission.json"])["hints"] == noted
    handed_in(done, course.module("attention"))
    assert ("Hints taken" in (shown := capsys.readouterr().out)) == bool(said)
    assert said in shown


def test_file_that_does_not_parse_is_refused_but_can_be_packed(kit: Path, folder: Path, tmp_path: Path) -> None:
    course = load_course(kit)
    module = course.module("attention")
    (folder / "attention.py").write_text("def softmax(x, dim:\n")
    with pytest.raises(BadRequest, match=r"Nothing was packed: attention.py does not parse: line 1") as caught:
        submit(course, module, folder, tmp_path)
    assert "With --anyway it is packed as it is." in str(caught.value)
    assert not (tmp_path / "attention.zip").exists()
    assert submit(course, module, folder, tmp_path, anyway=True).path.is_file()


def test_empty_stub_is_refused_but_can_be_packed(kit: Path, folder: Path, tmp_path: Path) -> None:
    course = load_course(kit)
    module = course.module("attention")
    shutil.copyfile(kit / "assignments" / "stubs" / "attention.py", folder / "attention.py")
    with pytest.raises(
        BadRequest, match=r"Nothing was packed: attention.py is still the stub as it was shipped. Was your"
    ):
        submit(course, module, folder, tmp_path)
    assert submit(course, module, folder, tmp_path, anyway=True).path.is_file()


@pytest.mark.parametrize(
    "line",
    ["from .helper import x", "from . import helper", "from assignments.helper import x", "import helper"],
)
def test_import_of_a_file_that_stays_behind_is_found(course: Course, folder: Path, line: str) -> None:
    (folder / "helper.py").write_text("x = 1\n")
    assert lost_imports(course, f"import torch\n{line}\n", folder) == [(2, "helper")]


@pytest.mark.parametrize("line", ["import torch.nn", "from torch import nn", "from .attention import softmax", "def ("])
def test_other_imports_are_fine(course: Course, folder: Path, line: str) -> None:
    assert lost_imports(course, line, folder) == []


def test_import_of_a_file_that_stays_behind_is_refused(course: Course, attention: Module, folder: Path) -> None:
    source = (folder / "attention.py").read_text(encoding="utf-8")
    (folder / "attention.py").write_text(f"from .helper import x\n{source}", encoding="utf-8")
    with pytest.raises(BadRequest, match=r"attention.py, line 1 imports helper, which is no file of the course"):
        submit(course, attention, folder, folder / "out")
    assert not (folder / "out").exists()


def test_no_file_is_said_with_what_is_there(course: Course, attention: Module, tmp_path: Path) -> None:
    (tmp_path / "Attention (1).py").write_text("x = 1\n")
    with pytest.raises(BadRequest, match=r"holds no attention.py \(found: Attention \(1\).py\)\. Rename your file"):
        choose(course, attention, tmp_path)
