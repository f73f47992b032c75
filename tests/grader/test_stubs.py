"""The stubs keep what a student needs to start and nothing of the answer."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from grader.course import Course, Feedback, Limits, Module, Task, load_course
from grader.errors import BadRequest

pytest.importorskip("libcst")
from grader.stubs import make_stub, write_stubs

ROOT = Path(__file__).resolve().parents[2]
COURSE = load_course(ROOT)

REFERENCE = '''"""Scales, for the tests of the stubs."""

import math
from collections.abc import (
    Callable,
    Iterable,
    Sequence,
)

import numpy as np
from numpy.typing import NDArray

from .shapes import area, perimeter

# Used in a signature, so it stays.
FACTOR = 2.0
LIMIT = math.sqrt(FACTOR)  # SECRET: used in bodies only


def _clip(x: float) -> float:
    """SECRET helper."""
    return min(x, LIMIT)


# What the next two have in common.


# About scale.
def scale(
    xs: Sequence[float],  # (n,)
    factor: float = FACTOR,
) -> "NDArray":  # SECRET: noqa
    """Each x times factor.

    Args:
        xs: (n,).
    """
    # SECRET comment
    out = np.array([_clip(x) * factor for x in xs])  # SECRET shape

    def secret_inner() -> None: ...

    return out
    # SECRET end


class Scale:
    """A scale that remembers."""

    count = 0  # SECRET counter
    factor: float  # SECRET remark
    apply: Callable[[float], float]

    # SECRET section

    def __init__(self, factor: float) -> None:
        self.factor = factor

    @property
    def double(self) -> float:
        """Twice the factor."""
        return 2 * self.factor

    def _secret(self) -> Iterable[float]:
        yield self.factor


if __name__ == "__main__":
    print(scale([1.0]), "SECRET")
# The end.
'''

STUB = '''"""Scales, for the tests of the stubs."""

from collections.abc import (
    Callable,
    Sequence,
)

from numpy.typing import NDArray

from .shapes import area, perimeter

# Used in a signature, so it stays.
FACTOR = 2.0

# What the next two have in common.


# About scale.
def scale(
    xs: Sequence[float],  # (n,)
    factor: float = FACTOR,
) -> "NDArray":
    """Each x times factor.

    Args:
        xs: (n,).
    """
    raise NotImplementedError("Task 3.1: scale")


class Scale:
    """A scale that remembers."""

    factor: float
    apply: Callable[[float], float]

    def __init__(self, factor: float) -> None:
        raise NotImplementedError("Task 3.2: Scale.__init__")

    @property
    def double(self) -> float:
        """Twice the factor."""
        raise NotImplementedError("Task 3.2: Scale.double")


# The end.
'''


def module_with(*tasks: str, name: str = "scales") -> Module:
    numbered = {task: Task(1.0, [], [], task, f"3.{index}") for index, task in enumerate(tasks, 1)}
    return Module(week=3, title="Scales", hours=1.0, tasks=numbered, name=name)


def stub_of(name: str) -> str:
    return make_stub(COURSE.source("reference", name), COURSE.module(name))


def ruff(*arguments: str, code: str) -> str:
    """What ruff says of the code as a file of assignments/; empty when it is content."""
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", "assignments/scales.py", "-"]
    done = subprocess.run(command, input=code, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def functions(code: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]


def signatures(code: str) -> set[tuple[str, str, str, str | None]]:
    return {
        (node.name, ast.unparse(node.args), ast.unparse(node.returns) if node.returns else "", ast.get_docstring(node))
        for node in functions(code)
    }


def body_lines(code: str) -> set[str]:
    """The stripped lines of every function body, comments too, without docstrings, if long enough to tell anything."""
    lines, found = code.splitlines(), set()
    for node in functions(code):
        start = (node.body[0].end_lineno or 0) if ast.get_docstring(node) else node.body[0].lineno - 1
        found |= {line.strip() for line in lines[start : node.end_lineno]}
    return {line for line in found if len(line) > 12}


@pytest.fixture
def course(tmp_path: Path) -> Course:
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "scales.py").write_text(REFERENCE, encoding="utf-8")
    return Course(tmp_path, "Scales", Limits(), Feedback(), {"scales": module_with("scale", "Scale")})


def test_stub_keeps_signatures_and_drops_bodies_helpers_and_imports() -> None:
    assert make_stub(REFERENCE, module_with("scale", "Scale")) == STUB


def test_stub_has_no_comment_from_a_body() -> None:
    assert "secret" not in make_stub(REFERENCE, module_with("scale", "Scale")).lower()


@pytest.mark.parametrize("arguments", [("format", "--check"), ("check",)])
def test_stub_pleases_ruff(arguments: tuple[str, ...]) -> None:
    pytest.importorskip("ruff")
    assert ruff(*arguments, code=REFERENCE) == ""
    assert ruff(*arguments, code=make_stub(REFERENCE, module_with("scale", "Scale"))) == ""
    for name in COURSE.modules:
        assert ruff(*arguments, code=stub_of(name)) == ""


@pytest.mark.parametrize("name", COURSE.modules)
def test_stub_keeps_every_signature_and_docstring(name: str) -> None:
    stub, reference = stub_of(name), COURSE.source("reference", name)
    assert signatures(stub) <= signatures(reference)
    assert ast.get_docstring(ast.parse(stub)) == ast.get_docstring(ast.parse(reference))


@pytest.mark.parametrize("name", COURSE.modules)
def test_stub_holds_no_line_of_a_reference_body(name: str) -> None:
    stub, secret = stub_of(name), body_lines(COURSE.source("reference", name))
    assert secret, "the test found no bodies"
    assert [line for line in secret if line in stub] == []


@pytest.mark.parametrize("name", COURSE.modules)
def test_stub_names_the_task_of_every_call(name: str) -> None:
    stub: dict[str, Any] = {"__name__": f"assignments.{name}", "__package__": "assignments"}
    exec(stub_of(name), stub)
    for task in COURSE.module(name).tasks.values():
        thing = stub[task.name]
        method = ".__init__" if inspect.isclass(thing) else ""
        required = [p for p in inspect.signature(thing).parameters.values() if p.default is p.empty]
        with pytest.raises(NotImplementedError, match=rf"^Task {task.number}: {task.name}{method}$"):
            thing(*[None] * len(required))


def test_stub_of_a_class_without_docstring_is_a_class() -> None:
    source = "class Bare:\n    def _secret(self) -> None: ...\n"
    assert make_stub(source, module_with("Bare")) == "class Bare:\n    pass\n"


def test_stub_keeps_future_import_and_constants_of_constants() -> None:
    source = (
        '"""Doc."""\n\nfrom __future__ import annotations\n\nimport math\n\n'
        "LOW = 1\nHIGH = LOW + math.e\nOTHER = 3\n\n\ndef f(x: float = HIGH) -> None:\n    {}\n"
    )
    stop = 'raise NotImplementedError("Task 3.1: f")'
    assert make_stub(source.format("return OTHER"), module_with("f")) == source.format(stop).replace("OTHER = 3\n", "")


def test_stub_refuses_a_missing_task() -> None:
    with pytest.raises(BadRequest, match=r"^reference/scales\.py has no 'scales', task 3\.2 of .* mean 'scale'\?$"):
        make_stub(REFERENCE, module_with("scale", "scales"))


def test_stub_refuses_a_signature_that_needs_a_helper() -> None:
    source = "class _Config: ...\n\n\ndef f(config: _Config) -> None: ...\n"
    with pytest.raises(BadRequest, match=r"^reference/scales\.py: a signature uses '_Config', which is no task"):
        make_stub(source, module_with("f"))


RECORD = """class _Config:
    \"\"\"What a run is made of.\"\"\"

    factor: float
    limit: float = 1.0  # of a scale
"""


def test_stub_keeps_a_record_that_a_signature_needs() -> None:
    source = f"{RECORD}\n\ndef scale(x: _Config) -> float:\n    return x.factor\n"
    assert RECORD in make_stub(source, module_with("scale"))
    assert "_Config" not in make_stub(source.replace("x: _Config", "x"), module_with("scale"))


def test_stub_refuses_a_record_with_code_in_it() -> None:
    source = f"{RECORD}\n    def secret(self): ...\n\ndef scale(x: _Config) -> float:\n    return x.factor\n"
    with pytest.raises(BadRequest, match="a signature uses '_Config', which is no task"):
        make_stub(source, module_with("scale"))


def test_stub_is_written_and_then_up_to_date(course: Course) -> None:
    assert write_stubs(course, check=False) == ["assignments/scales.py"]
    assert (course.root / "assignments" / "scales.py").read_text(encoding="utf-8") == STUB
    assert write_stubs(course, check=True) == []
    assert write_stubs(course, check=False) == ["assignments/scales.py"]
    assert (course.root / "assignments" / "scales.py").read_text(encoding="utf-8") == STUB


def test_stub_check_names_missing_and_differing_files_and_writes_nothing(course: Course) -> None:
    assert write_stubs(course, check=True) == ["assignments/scales.py"]
    assert not (course.root / "assignments").exists()
    write_stubs(course, check=False)
    path = course.root / "assignments" / "scales.py"
    path.write_text("edited by hand\n", encoding="utf-8")
    assert write_stubs(course, check=True) == ["assignments/scales.py"]
    assert path.read_text(encoding="utf-8") == "edited by hand\n"


def test_stub_of_a_module_without_reference_is_refused(course: Course) -> None:
    (course.root / "reference" / "scales.py").unlink()
    with pytest.raises(BadRequest, match=r"lists the module 'scales', but there is no reference/scales\.py"):
        write_stubs(course, check=False)


def test_stub_without_libcst_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    monkeypatch.delitem(sys.modules, "grader.stubs")
    with pytest.raises(BadRequest, match=r"needs libcst; run: pip install -e '\.\[author\]'$"):
        import_module("grader.stubs")


def test_stub_files_of_the_repository_are_up_to_date() -> None:
    assert write_stubs(COURSE, check=True) == []
