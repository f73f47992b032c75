"""Mutants are read strictly and change exactly one symbol."""

import re
from pathlib import Path

import pytest

from grader.course import Module, Task, load_course
from grader.errors import BadRequest
from grader.mutants import Mutant, apply, load_mutants

SOURCE = '''"""A small module."""

import functools


def half(x):
    """x / 2."""
    return x / 2


@functools.cache
def twice(x):
    y = 2 * x
    return y


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def forward(self, x):
        return self.factor * x
'''
GOOD = """
[[mutant]]
name = "third"
symbol = "half"
says = "x is divided by three."
hints = ["Look at the divisor.", "x / 2."]
edits = [["return x / 2", "return x / 3"]]
"""
MODULE = Module(
    week=1,
    title="Toy",
    hours=1,
    name="toy",
    tasks={name: Task(points=1, uses=[], name=name) for name in ("half", "twice", "Scale")},
)
ROOT = Path(__file__).resolve().parents[2]


def read(folder: Path, text: str) -> list[Mutant]:
    path = folder / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return load_mutants(path, MODULE)


def mutant(symbol: str, *edits: tuple[str, str], body: str | None = None) -> Mutant:
    return Mutant("oops", symbol.partition(".")[0], symbol, "It is wrong.", ["place", "code"], list(edits), body)


def run(source: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(source, names)
    return names


# loading


def test_no_file_is_no_mutants(tmp_path):
    assert load_mutants(tmp_path / "toy.toml", MODULE) == []


def test_load_reads_every_key(tmp_path):
    expected = Mutant(
        "third",
        "half",
        "half",
        "x is divided by three.",
        ["Look at the divisor.", "x / 2."],
        [("return x / 2", "return x / 3")],
        None,
    )
    assert read(tmp_path, GOOD) == [expected]


def test_the_task_of_a_method_is_its_class(tmp_path):
    (found,) = read(tmp_path, GOOD.replace('symbol = "half"', 'symbol = "Scale.forward"'))
    assert (found.task, found.symbol) == ("Scale", "Scale.forward")


def test_load_takes_a_body_for_edits(tmp_path):
    (found,) = read(tmp_path, re.sub("edits = .*", 'body = "def half(x): return x"', GOOD))
    assert (found.body, found.edits) == ("def half(x): return x", [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("says", "sais", "mutant 'third': unknown key 'sais'. Did you mean 'says'?"),
        ('says = "x is divided by three."', "", "mutant 'third': the key 'says' is missing."),
        ('name = "third"', "", "mutant number 1: the key 'name' is missing."),
        ('"third"', '"Third one"', "mutant 'Third one': the name must be in snake_case."),
        ('"half"', '"Scall.forward"', "mutant 'third': 'Scall' is not a task of toy. Did you mean 'Scale'?"),
        ('"x is divided by three."', "3", "mutant 'third': 'says' must be a text, got 3."),
        ('"x is divided by three."', '" "', "mutant 'third': 'says' must be a text, got ' '."),
        (', "x / 2."]', "]", "mutant 'third': 'hints' must be two texts, the place and nearly the code."),
        ('"x / 2."]', '""]', "mutant 'third': 'hints' must be two texts, the place and nearly the code."),
        ("edits = ", 'body = "def half(x): ..."\nedits = ', "mutant 'third': give either 'edits' or 'body'."),
        ('edits = [["return x / 2", "return x / 3"]]', "", "mutant 'third': give either 'edits' or 'body'."),
        ('["return x / 2", "return x / 3"]', "", "mutant 'third': 'edits' must be pairs of texts, [old, new]."),
        (
            '"return x / 2", "return x / 3"',
            '"return x / 2"',
            "mutant 'third': 'edits' must be pairs of texts, [old, new].",
        ),
        ('"return x / 2", ', '"", ', "mutant 'third': 'edits' must be pairs of texts, [old, new]."),
        ("[[mutant]]", "[[mutants]]", "it holds [[mutant]] tables and nothing else."),
        ("[[mutant]]", "[mutant]", "it holds [[mutant]] tables and nothing else."),
    ],
)
def test_load_names_file_and_mutant(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(BadRequest) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert str(caught.value) == f"{tmp_path / 'toy.toml'}: {message}"


def test_load_names_a_file_that_does_not_parse(tmp_path):
    with pytest.raises(BadRequest, match=r"toy\.toml: .+\(at line 2, column \d+\)$"):
        read(tmp_path, GOOD.replace("]]", "]", 1))


def test_load_refuses_a_name_twice(tmp_path):
    with pytest.raises(BadRequest, match=r"toy\.toml: mutant 'third': the name is taken by an earlier mutant\.$"):
        read(tmp_path, GOOD + GOOD)


# applying


def test_apply_edits_only_within_the_symbol():
    changed = apply(mutant("half", ("return x / 2", "return x / 3")), SOURCE)
    assert changed == SOURCE.replace("return x / 2", "return x / 3")


def test_apply_makes_edits_in_order():
    changed = apply(mutant("twice", ("2 * x", "3 * x"), ("= 3", "= 5")), SOURCE)
    assert run(changed)["twice"](1) == 5


def test_apply_reaches_decorators():
    changed = apply(mutant("twice", ("@functools.cache\n", "")), SOURCE)
    assert not hasattr(run(changed)["twice"], "cache_info")


def test_apply_edits_a_method_and_leaves_its_neighbours():
    changed = apply(mutant("Scale.forward", ("self.factor", "2")), SOURCE)
    assert changed == SOURCE.replace("return self.factor * x", "return 2 * x")


def test_apply_edits_a_class_across_methods():
    changed = apply(mutant("Scale", ("self.factor =", "self.f ="), ("return self.factor", "return self.f")), SOURCE)
    assert vars(run(changed)["Scale"](3)) == {"f": 3}


def test_apply_takes_a_body_at_any_indentation():
    body = """
        def forward(self, x):
            if x:
                return x

            return 0
    """
    changed = apply(mutant("Scale.forward", body=body), SOURCE)
    assert run(changed)["Scale"](3).forward(7) == 7


def test_apply_counts_lines_as_python_does():
    changed = apply(mutant("half", ("return x / 2", "return x / 4")), 'SEPARATOR = "\x0c"\n' + SOURCE)
    assert run(changed)["half"](8) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (mutant("half", ("x / 7", "x")), "edit 1, 'x / 7', is found 0 times in half, expected once."),
        (mutant("half", ("x", "y")), "edit 1, 'x', is found 3 times in half, expected once."),
        (
            mutant("Scale.forward", ("self, x", "self, y"), ("def", "def "), ("e", "")),
            "edit 3, 'e', is found 4 times in Scale.forward, expected once.",
        ),
        (mutant("half", ("return x / 2", "return (")), "the changed source does not compile: "),
        (mutant("half", ("return x / 2", "break")), "the changed source does not compile: 'break' outside loop"),
        (mutant("half", ("return x / 2", "return x / 2  # half")), "it does not change half."),
        (mutant("half", body="def half(x):\n    'x / 2.'\n    return x / 2"), "it does not change half."),
        (mutant("half", body="def half(x):\nreturn x"), "its body does not compile: "),
        (mutant("half", body="def third(x): return x"), "its body must define half and nothing else."),
        (mutant("half", body="import math\ndef half(x): return x"), "its body must define half and nothing else."),
        (mutant("third", body="def third(x): return x"), "third is defined 0 times, expected once."),
        (mutant("Scale.back", ("x", "y")), "Scale.back is defined 0 times, expected once."),
    ],
)
def test_apply_names_the_mutant_and_the_edit(broken, message):
    with pytest.raises(BadRequest, match=re.escape(f"mutant 'oops': {message}")):
        apply(broken, SOURCE)


# the mutants of the course


@pytest.mark.slow  # `make lint` does the same
def test_every_mutant_of_the_course_applies():
    course = load_course(ROOT)
    for module in course.modules.values():
        source = course.source("reference", module.name)
        mutants = load_mutants(ROOT / "tests" / "mutants" / f"{module.name}.toml", module)
        assert len({apply(found, source) for found in mutants}) == len(mutants)
        assert len({(found.task, found.says) for found in mutants}) == len(mutants)
