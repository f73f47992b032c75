"""A kit holds what it should and nothing that it should not, the same bytes each time."""

import ast
import importlib
import json
import runpy
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from grader.archive import Files, unzip_files, zip_files
from grader.course import Course
from grader.errors import BadRequest
from grader.kit import cut_course, kit_files, modules_until
from grader.leaks import Secret, find_leaks, refuse_leaks, secrets
from grader.release import release, write_kit
from grader.wheel import build_wheel

ROOT = Path(__file__).resolve().parents[2]
NO_TENSORS = (b"", b"{}")


@pytest.fixture(scope="module")
def files(course: Course) -> Files:
    modules = modules_until(course, 1)
    return kit_files(course, modules, {module.name: NO_TENSORS for module in modules})


@pytest.fixture(scope="module")
def known(course: Course) -> list[Secret]:
    return secrets(replace(course, private=("Ada Example",)), modules_until(course, 1))


def test_kit_of_a_week_holds_its_stubs_and_given_of_earlier_weeks_only(files: Files) -> None:
    assert files["assignments/attention.py"] == (ROOT / "assignments" / "attention.py").read_bytes()
    assert files["assignments/stubs/attention.py"] == files["assignments/attention.py"]
    assert [path for path in files if path.startswith("assignments/given/")] == ["assignments/given/__init__.py"]
    assert "handouts/attention.md" in files
    assert "handouts/demos/attention.py" in files
    assert "tests/checks/check_attention.py" in files
    assert not [path for path in files if "hidden" in path or "mutants" in path or path.startswith("reference")]


def test_kit_is_the_same_bytes_each_time(course: Course, files: Files) -> None:
    modules = modules_until(course, 1)
    again = kit_files(course, modules, {module.name: NO_TENSORS for module in modules})
    assert zip_files(again) == zip_files(dict(reversed(files.items())))


def test_marks_of_the_templates_are_filled_in(files: Files) -> None:
    readme = files["README.md"].decode()
    assert "grader check attention" in readme
    assert "| 1 | Attention | `assignments/attention.py` | `handouts/attention.md` |" in readme
    assert files["requirements.txt"].decode().splitlines()[1].endswith("-py3-none-any.whl[demo]")
    for path in ("README.md", "requirements.txt", "AGENTS.md", "install.py"):
        assert "{{" not in files[path].decode()


def test_manifest_has_the_hash_of_every_file(files: Files) -> None:
    manifest = json.loads(files["kit.json"])
    assert set(manifest["files"]) == set(files) - {"kit.json"}
    assert manifest["week"] == 1


def test_course_is_cut_to_the_modules_and_without_what_is_hidden(tmp_path: Path, course: Course) -> None:
    text = (ROOT / "course.toml").read_text(encoding="utf-8")
    text = 'private = [\n    "Ada Example",\n]\n' + text + '\n# of later\n[modules.later]\nweek = 9\ntitle = "Later"\n'
    (tmp_path / "course.toml").write_text(text, encoding="utf-8")
    cut = cut_course(tmp_path, [course.module("attention")])
    data = tomllib.loads(cut)
    assert set(data) == {"title", "limits", "feedback", "policy", "modules"}
    assert data["feedback"]["hints"] == "free"
    assert set(data["modules"]) == {"attention"}
    assert "Ada Example" not in cut
    assert "later" not in cut
    assert "manual_seed" not in cut
    assert "# one row of a check" in cut


def test_week_before_the_first_is_refused(course: Course) -> None:
    with pytest.raises(BadRequest, match=r"--week 0: the first module of course.toml is of week 1\."):
        modules_until(course, 0)


@pytest.mark.slow
@pytest.mark.parametrize("week", [1, 6])
def test_nothing_secret_is_in_a_kit(course: Course, week: int) -> None:
    modules = modules_until(course, week)
    files = kit_files(course, modules, {module.name: NO_TENSORS for module in modules})
    assert find_leaks(secrets(course, modules), files) == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        (
            "handouts/attention.md",
            "  exps = torch.exp(wide-wide.amax( dim=dim,keepdim=True))",
            "reference/attention.py",
        ),
        (
            "notes.json",
            '{"a": ["exps = torch.exp(wide - wide.amax(dim=dim, keepdim=True))"]}',
            "reference/attention.py",
        ),
        ("tests/checks/hidden_attention.toml", "", "tests/checks/hidden_attention.toml itself"),
        ("tests/mutants/attention.toml", "", "tests/mutants/attention.toml itself"),
        ("reference/attention.py", "", "reference/attention.py itself"),
        ("a.txt", "check_softmax_values = [{ shape = [3, 2, 4, 6], dim = 2 }, { shape = [7], dim = 0 }]", "hidden_att"),
        ("a.html", "<b>exps</b> = torch.<i>exp</i>(wide - wide.amax(dim=dim, keepdim=True))", "reference/attention.py"),
        ("a.txt", "check_softmax_values[hidden-1]", "names a hidden row"),
        ("a.txt", "exps = torch.exp(wide - wide.max())", "the mutant softmax_global_max"),
        ("a.txt", "asked by Ada Example", "a private word of course.toml"),
        ("a.txt", f"made in {ROOT}", "the folder of the checkout"),
    ],
)
def test_planted_secret_is_found(known: list[Secret], files: Files, path: str, text: str, says: str) -> None:
    with pytest.raises(BadRequest, match="This kit would give away: ") as caught:
        refuse_leaks(known, {**files, path: text.encode()})
    assert says in str(caught.value)
    assert "Nothing was written" in str(caught.value)


def test_secret_inside_the_wheel_is_found(known: list[Secret], files: Files) -> None:
    [wheel] = [path for path in files if path.endswith(".whl")]
    inside = unzip_files(files[wheel])
    inside["grader/notes.py"] = (ROOT / "reference" / "attention.py").read_bytes()
    with pytest.raises(BadRequest, match=r"\.whl/grader/notes.py holds reference/attention.py"):
        refuse_leaks(known, {**files, wheel: zip_files(inside)})


def test_wheel_says_what_pip_needs(tmp_path: Path) -> None:
    name, wheel = build_wheel(ROOT)
    inside = unzip_files(wheel)
    stem = name.removesuffix("-py3-none-any.whl")
    metadata = inside[f"{stem}.dist-info/METADATA"].decode()
    assert "Requires-Dist: torch>=2.6,<3\n" in metadata
    assert "grader = grader.__main__:main" in inside[f"{stem}.dist-info/entry_points.txt"].decode()
    assert "grader/templates/style.css" in inside
    assert not [path for path in inside if "__pycache__" in path]
    assert build_wheel(ROOT) == (name, wheel)
    record = inside[f"{stem}.dist-info/RECORD"].decode().splitlines()
    assert len(record) == len(inside)


def test_kit_is_written_as_folder_and_zip_and_replaces_only_a_kit(tmp_path: Path) -> None:
    files = {"kit.json": b"{}", "a/b.txt": b"text"}
    folder, archive = write_kit({**files, "old.txt": b""}, tmp_path)
    write_kit(files, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "kit.json"]
    assert unzip_files(archive.read_bytes()) == {"student/kit.json": b"{}", "student/a/b.txt": b"text"}
    (folder / "kit.json").unlink()
    with pytest.raises(BadRequest, match="exists and is no kit of ours"):
        write_kit(files, tmp_path)
    assert (folder / "a" / "b.txt").is_file()


@pytest.fixture
def older(tmp_path: Path, files: Files) -> Path:
    """A kit in use: a student's file, one of ours that was changed, one that a new kit no longer has."""
    write_kit({**files, "tests/expected/old.json": b"old"}, tmp_path)
    old = tmp_path / "mine"
    (tmp_path / "student").rename(old)
    manifest = json.loads((old / "kit.json").read_text())
    manifest["files"]["tests/expected/old.json"] = "0"
    (old / "kit.json").write_text(json.dumps(manifest))
    (old / "assignments" / "attention.py").write_text("my = 'work'\n")
    (old / "README.md").write_text("my notes\n")
    return old


def test_update_touches_no_file_of_the_student(tmp_path: Path, files: Files, older: Path) -> None:
    new = {**files, "handouts/block.md": b"new", "assignments/block.py": b"stub"}
    manifest = json.loads(files["kit.json"])
    manifest["files"] |= {"handouts/block.md": "1", "assignments/block.py": "2"}
    folder, _ = write_kit({**new, "kit.json": json.dumps(manifest).encode()}, tmp_path)
    call = "import runpy, sys; m = runpy.run_path(sys.argv[1]); m['update'](m['Path'](sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", call, folder / "install.py", older],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (older / "assignments" / "attention.py").read_text() == "my = 'work'\n"
    assert (older / "assignments" / "block.py").read_text() == "stub"
    assert (older / "README.md").read_bytes() == files["README.md"]
    assert (older / "README.md.yours").read_text() == "my notes\n"
    assert (older / "handouts" / "block.md").read_text() == "new"
    assert not (older / "tests" / "expected" / "old.json").exists()
    assert "kept your README.md as README.md.yours" in done.stdout


def test_install_says_where_to_go_on(tmp_path: Path) -> None:
    new, old = tmp_path / "week 3", tmp_path / "my kit"
    new.mkdir()
    old.mkdir()
    said = runpy.run_path(str(ROOT / "kit" / "install.py"))["next_step"]
    assert said(new, new) == ".venv/bin/grader check"
    assert said(old, new) == "cd '../my kit' && .venv/bin/grader check"


@pytest.mark.slow
def test_release_proves_its_kit_and_gives_the_same_bytes_again(course: Course, tmp_path: Path) -> None:
    said: list[str] = []
    _, archive = release(course, 1, tmp_path, said.append, seeds=[0])
    first = archive.read_bytes()
    assert "attention: the stub scores 0, the reference 100" in said
    assert "the kit's own tests pass in a fresh environment" in said
    release(course, 1, tmp_path, said.append, seeds=[0])
    assert archive.read_bytes() == first


@pytest.mark.slow
def test_release_writes_nothing_when_a_secret_is_planted(course: Course, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"This kit would give away: .*a private word of course.toml"):
        release(replace(course, private=("Build a language model",)), 1, tmp_path, lambda line: None, seeds=[0])
    assert not list(tmp_path.iterdir())


def test_what_a_student_runs_needs_no_package_of_an_author() -> None:
    """A release is proved beside every package of this environment, so only this sees an import that a kit lacks."""
    commands = "ask, debug, demo, doctor, frozen, github, loop, opening, own_file, progress, status, submit"
    code = (
        "import sys\n"
        "for name in ('latex2mathml', 'mdit_py_plugins', 'ziamath', 'libcst', 'matplotlib', 'datasets', 'xdist'):\n"
        "    sys.modules[name] = None\n"
        f"from grader import {commands}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kit_s_own_tests_import_what_the_grader_has() -> None:
    """The kit's files are run in the kit only, long after a name here has changed."""
    for file in (ROOT / "kit").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("grader"):
                module = importlib.import_module(node.module or "")
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], file
