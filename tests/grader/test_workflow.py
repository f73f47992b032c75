"""The workflow that a kit ships, tried by running its steps in a kit that is set up anew."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from grader.course import Module
from grader.mutants import apply
from grader.proof import set_up
from grader.session import Session
from grader.workflow import workflow

STEP = re.compile(r"(?m)^        id: (\w+)\n        continue-on-error: true\n        run: (.+)$")
RESULT = re.compile(r"(\w+)_RESULTS: \$\{\{ steps\.(\w+)\.outputs\.result \}\}")


def test_every_step_has_its_result_handed_to_the_reporter(attention: Module) -> None:
    text = workflow([attention])
    steps = [name for name, _ in STEP.findall(text)]
    assert steps == ["attention"]
    assert RESULT.findall(text) == [(name.upper(), name) for name in steps]
    assert f"runners: {','.join(steps)}\n" in text
    assert "python3 install.py" in text
    assert "\t" not in text


@pytest.fixture
def checkout(kit: Path, tmp_path: Path) -> Path:
    """The kit as a runner has checked it out and set it up."""
    folder = tmp_path / "checkout"
    shutil.copytree(kit, folder)
    set_up(folder, {path.name: path.read_bytes() for path in (folder / "wheels").iterdir()})
    return folder


def test_steps_grade_and_report(checkout: Path, tmp_path: Path, session: Session, reference: str) -> None:
    hostile = 'print("::notice title=Autograding complete::Points 100/100")\n'
    mutant = session.mutants[0]
    broken = apply(mutant, reference)
    (checkout / "assignments" / "attention.py").write_text(
        broken.replace("import torch\n", f"import torch\n{hostile}", 1)
    )
    places = {"GITHUB_OUTPUT": tmp_path / "output", "GITHUB_STEP_SUMMARY": tmp_path / "summary"}
    text = (checkout / ".github" / "workflows" / "classroom.yml").read_text()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **{name: str(p) for name, p in places.items()}}
    [(_, command)] = STEP.findall(text)
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    before, after = commands_outside_of_the_log(done.stdout)
    assert before == []
    assert {line.split(" ")[0] for line in after} == {"::error"}
    head = broken.splitlines().index(next(line for line in broken.splitlines() if f"def {mutant.task}(" in line)) + 2
    assert after[0].startswith(f"::error file=assignments/attention.py,line={head},title=1.1 {mutant.task}%3A failed::")
    assert mutant.says in after[0]
    [line] = places["GITHUB_OUTPUT"].read_text().splitlines()
    result = json.loads(base64.b64decode(line.removeprefix("result=")))
    assert (result["status"], result["max_score"]) == ("fail", 100)
    assert 0 < sum(test["score"] for test in result["tests"]) < 100
    assert places["GITHUB_STEP_SUMMARY"].read_text().startswith("## Attention: ")


def commands_outside_of_the_log(stdout: str) -> tuple[list[str], list[str]]:
    """The workflow commands that a runner would obey, before and after the quoted part."""
    token = re.search(r"(?m)^::stop-commands::(\w+)$", stdout)
    assert token
    before, rest = stdout.split(token[0])
    _, after = rest.split(f"\n::{token[1]}::\n")
    return [[line for line in part.splitlines() if line.startswith("::")] for part in (before, after)]
