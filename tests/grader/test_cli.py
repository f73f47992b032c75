"""The command line: exit codes, one clear line for bad input, plain text where there is no terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def grader(*arguments: object, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "grader", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "80", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=120, check=False)


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    (tmp_path / "class").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["grade", "atention", "x", "-o", "out"], "There is no module 'atention'. Did you mean 'attention'?"),
        (["grade", "attention", "nowhere", "-o", "out"], "There is no 'nowhere'."),
        (["grade", "attention", "class", "-o", "out"], "'class' is an empty folder"),
        (
            ["grade", "attention", "class", "-o", "out", "--upstream", "mine"],
            "--upstream must be given or own, got 'mine'.",
        ),
        (
            ["grade", "attention", "class", "-o", "out", "--device", "tpu"],
            "--device must be one of cpu, cuda, cuda-tf32, second, got 'tpu'.",
        ),
        (["check", "attention", "--impl", "nowhere.py"], "There is no 'nowhere.py'."),
        (["demo", "attention", "--impl", "nowhere.py"], "There is no 'nowhere.py'."),
    ],
)
def test_bad_request_is_one_line_and_exit_code_two(class_folder: Path, arguments: list[str], says: str) -> None:
    done = grader(*arguments, cwd=class_folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("grader: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in class_folder.iterdir()) == ["class"]


def test_unknown_key_in_course_toml_is_told_with_the_nearest(tmp_path: Path) -> None:
    text = (ROOT / "course.toml").read_text(encoding="utf-8").replace("hours = 7", "ours = 7")
    (tmp_path / "course.toml").write_text(text, encoding="utf-8")
    done = grader("check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "grader: course.toml [modules.attention]: unknown key 'ours'. Did you mean 'hours'?\n"


def test_unknown_option_is_refused_without_a_traceback() -> None:
    done = grader("grade", "attention", "x", "-o", "y", "--jbos", "2")
    assert done.returncode == 2
    assert "No such option: --jbos" in done.stderr
    assert "Traceback" not in done.stderr


def test_grade_of_a_class_writes_its_files_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ann.py").write_text((ROOT / "reference" / "attention.py").read_text(encoding="utf-8"))
    (tmp_path / "class" / "bob.py").write_text("def softmax(x, dim:\n")
    (tmp_path / "class" / "eve.zip").write_bytes(b"PK no zip at all")
    done = grader("grade", "attention", tmp_path / "class", "-o", tmp_path / "out", "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert "The class page:" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "[3/3]" in done.stderr
    assert (tmp_path / "out" / "grades.csv").read_text().splitlines() == [
        "submission,module,score,max_score,status",
        "ann,attention,100,100,graded",
        "bob,attention,0,100,not_importable",
        "eve,attention,0,100,unreadable",
    ]
    record = json.loads((tmp_path / "out" / "ann" / "attention.json").read_text())
    assert (record["schema"], record["seed"], record["score"], record["device"]) == (1, 5, 100, "cpu")
    assert (tmp_path / "out" / "index.html").is_file()
    assert (tmp_path / "out" / "ann" / "attention.html").is_file()


def test_check_of_a_stub_is_a_list_of_what_is_to_do(folder: Path) -> None:
    done = grader("check", "attention", cwd=folder)
    assert done.returncode == 1
    assert "1.1 softmax  0 of 12" in done.stdout
    assert "to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "attention: 0 of 100 points"


def test_check_names_a_known_mistake(tmp_path: Path) -> None:
    source = (ROOT / "reference" / "attention.py").read_text(encoding="utf-8")
    (tmp_path / "attention.py").write_text(source.replace("key[None, :] <= query", "key[None, :] < query"))
    done = grader("check", "attention", "--impl", tmp_path)
    assert done.returncode == 1
    assert "This is exactly the output of a known mistake:" in done.stdout
    assert "1.4 attention_weights  22 of 22" in done.stdout


def test_check_as_json_is_the_record(tmp_path: Path) -> None:
    done = grader("check", "attention", "--impl", ROOT / "reference" / "attention.py", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["score"] == 100


def test_doctor_names_versions_and_isolation() -> None:
    done = grader("doctor")
    assert done.returncode == 0, done.stdout
    for word in ("python", "torch", "device", "memory", "isolation"):
        assert f"ok  {word}" in done.stdout


def test_stubs_are_up_to_date() -> None:
    done = grader("stubs", "--check")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow  # `make lint` does the same
def test_every_mutant_applies() -> None:
    done = grader("mutants")
    assert done.returncode == 0
    assert "mutants apply" in done.stdout


def test_demo_of_a_stub_says_what_is_to_do(tmp_path: Path) -> None:
    done = grader("demo", "attention", "-o", tmp_path)
    assert done.returncode == 2
    todo = "Task 1.4: attention_weights"
    assert done.stderr == f"grader: The demo needs the whole module, and this is still to do: {todo}.\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "--watch", "--json"], "--watch and --json do not go together."),
        (["check", "--watch", "--pdb"], "--watch and --pdb do not go together."),
        (["check", "attention", "--watch", "--impl", "nowhere.py"], "There is no 'nowhere.py'."),
        (["hint", "attention", "sofmax"], "attention has no task 'sofmax'. Did you mean 'softmax'?"),
    ],
)
def test_request_that_cannot_be_met_is_one_line(folder: Path, arguments: list[str], says: str) -> None:
    done = grader(*arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("grader: ")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["grade", "attention", "class", "-o", "out"], "To check your own file: grader check MODULE"),
        (["report", "out"], "To check your own file: grader check MODULE"),
        (["stubs"], "To begin a module anew: cp assignments/stubs/MODULE.py assignments/"),
        (["release"], "Your course gives out the next week's kit; README.md says how to update to it."),
        (["handouts"], "The site lies in it already: open site/index.html"),
        (["mutants"], "To see whether this kit is whole: .venv/bin/python -m pytest tests/test_kit.py"),
        (["adequacy"], "To see whether this kit is whole: .venv/bin/python -m pytest tests/test_kit.py"),
    ],
)
def test_kit_says_what_it_is_not_for(tmp_path: Path, arguments: list[str], instead: str) -> None:
    (tmp_path / "course.toml").write_bytes((ROOT / "course.toml").read_bytes())
    (tmp_path / "kit.json").write_text("{}")
    without = "import sys; sys.modules |= dict.fromkeys(('libcst', 'latex2mathml', 'ziamath', 'mdit_py_plugins'))"
    code = f"{without}; from grader.__main__ import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"grader: `grader {arguments[0]}` is for those who run the course: {tmp_path} is a kit, without the model "
        f"answers. {instead}\n"
    )


def test_files_that_hide_modules_of_python_do_not_reach_the_grader(folder: Path) -> None:
    for name in ("random", "torch", "typer"):
        (folder / f"{name}.py").write_text("raise SystemExit('not the real one')\n")
    done = grader("status", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Next: 1.1 softmax" in done.stdout


def test_check_tells_advice_and_keeps_what_was_reached(folder: Path) -> None:
    source = (folder / "reference" / "attention.py").read_text(encoding="utf-8")
    path = folder / "assignments" / "attention.py"
    path.write_text(f"{source}\ntorch.manual_seed(3)\n")
    done = grader("check", "attention", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "note:  attention.py:" in done.stdout
    assert "torch.manual_seed seeds torch for the whole program" in done.stdout
    assert "100 of 100" in grader("status", cwd=folder).stdout
    path.write_text(source)
    assert "changed since: grader check attention" in grader("status", cwd=folder).stdout
    hint = grader("hint", "attention", "softmax", cwd=folder)
    assert hint.stdout.startswith("1.1 softmax is right. Its background:\n")


def test_a_system_without_fork_is_told_where_to_work() -> None:
    code = "import os, sys; del os.fork; from grader.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("grader: a check runs in a process forked for it, which Windows cannot do.")
