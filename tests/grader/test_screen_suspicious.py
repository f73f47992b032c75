"""What a person should look at in the source text of a submission, and source texts made to keep the look busy."""

import ast
import time
from pathlib import Path

import pytest

from grader.course import Module, Task, load_course
from grader.names import MAX_LENGTH, MAX_ORIGINS, Names
from grader.screen import MAX_NOTES, Finding, screen

ROOT = Path(__file__).resolve().parents[2]
COURSE = load_course(ROOT)
MODULE = Module(
    week=1,
    title="Small",
    hours=1,
    tasks={"softmax": Task(1, [], [], "softmax")},
    forbidden=["torch.softmax", "Tensor.softmax", "einops.*"],
    name="attention",
)


def suspicious(source: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.call) for finding in screen(source, MODULE).suspicious]


# --- for a person to look at ---


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("import ctypes", "ctypes"),
        ("from ctypes.util import find_library", "ctypes"),
        ("import os.path as p", "os"),
        ("import gc, math", "gc"),
        ("import torch.library", "torch.library"),
        ("from torch.utils import _python_dispatch", "torch.utils._python_dispatch"),
        ("from sys import modules", "sys.modules"),
        ("import sys; sys.modules", "sys.modules"),
        ("import sys as s; s._getframe(1)", "sys._getframe"),
        ("import inspect; inspect.stack()", "inspect.stack"),
        ("import inspect; inspect.currentframe()", "inspect.currentframe"),
        ("import torch; torch._C._nn.linear", "torch._C"),
        ("import torch; getattr(torch, '_' + 'C')", "torch._C"),
        ("import torch; o = torch.ops", "torch.ops"),
        ("object.__subclasses__()", "__subclasses__"),
        ("f.__globals__['x']", "__globals__"),
        ("getattr(f, '__glob' 'als__')", "__globals__"),
        ("exec('1')", "exec"),
        ("f = eval", "eval"),
        ("compile('1', '', 'exec')", "compile"),
        ("__import__('os')", "__import__"),
        ("open('x')", "open"),
        ("import importlib", "importlib"),
        ("import subprocess", "subprocess"),
        ("import socket", "socket"),
        ("from threading import Thread", "threading"),
        ("import multiprocessing.pool", "multiprocessing"),
        ("import signal", "signal"),
        ("import pickle", "pickle"),
        ("import torch; torch.allclose = 1", "assignment to torch.allclose"),
        ("import torch; setattr(torch, 'allclose', 1)", "setattr"),
        ("import torch; getattr(torch, name)", "getattr"),
        ("import torch; torch.__dict__", "__dict__"),
        ("import torch.nn.functional as F; F.torch._C", "torch._C"),
        ("from torch.nn.functional import torch as t; t._C", "torch._C"),
        ("import torch; torch.threading.Thread(target=f)", "threading"),
        ("import torch; torch.sys.modules['x']", "sys.modules"),
        ("import torch; torch._refs.softmax(x, 0)", "torch._refs"),
        ("import torch; torch._native_multi_head_attention(x)", "torch._native_multi_head_attention"),
        ("from torch.utils._mode_utils import no_dispatch", "torch.utils._mode_utils"),
        ("import torch; torch.jit.CompilationUnit('')", "torch.jit.CompilationUnit"),
        ("import torch; reduce(getattr, ['nn'], torch)", "getattr"),
        ("error.__traceback__.tb_frame", "tb_frame"),
        ("generator.gi_code", "gi_code"),
        ("print.__self__.eval('1')", "__self__"),
        ("globals()['x']", "globals"),
        ("import torch; vars(torch)", "vars"),
        ("import grader", "grader"),
        ("from grader.watch import Watch", "grader"),
        ("import _pytest.reports", "_pytest"),
        ("from check_attention import check_softmax", "check_attention"),
        ("from given_parts import attention", "given_parts"),
        ("import marshal", "marshal"),
        ("import doctest", "doctest"),
        ("from bdb import Bdb", "bdb"),
        ("from types import FunctionType", "types.FunctionType"),
        ("import types; types.CodeType(1)", "types.CodeType"),
        ("x.__array_interface__", "__array_interface__"),
        ("x.__array_interface__ = {}", "__array_interface__"),
        ("class A: __array_struct__ = 1", "__array_struct__"),
        ("type.__setattr__(x, 'calls', 1)", "type.__setattr__"),
        ("type.__delattr__(x, 'calls')", "type.__delattr__"),
        ("object.__setattr__(x, 'calls', 1)", "object.__setattr__"),
    ],
)
def test_suspicious_code_is_shown_with_its_line(line: str, call: str) -> None:
    assert suspicious(f"x = 1\n{line}\n") == [(2, call)]


def test_suspicious_finding_quotes_the_source() -> None:
    assert screen("from gc import collect\n", MODULE).suspicious == [Finding(1, "gc", "from gc import collect", None)]


def test_own_functions_of_those_names_are_not_suspicious() -> None:
    source = "import math, osmium\ndef open(x): ...\ndef f(eval):\n    open(1)\n    eval(2)\n"
    assert suspicious(source + "    self.compile = getattr(self, n)\n") == []


@pytest.mark.parametrize(
    "folder", ["reference", "assignments", "assignments/given", "tests/styles", "tests/submissions"]
)
def test_honest_files_are_not_noted(folder: str) -> None:
    for module in COURSE.modules:
        files = [*(ROOT / folder).glob(f"{module}.py"), *(ROOT / folder / module).rglob("*.py")]
        assert files
        for file in files:
            noted = screen(file.read_text(encoding="utf-8"), COURSE.module(module)).suspicious
            assert noted == [], file


def test_frozen_dataclass_may_fill_itself() -> None:
    source = "class A:\n    def __post_init__(self):\n        object.__setattr__(self, 'x', 1)\n        "
    assert suspicious(source + "super().__setattr__('y', 2)\n") == []
    assert suspicious("object.__setattr__(self, 'x', 1)\n") == [(1, "object.__setattr__")]


def test_own_function_named_like_a_check_is_not_noted() -> None:
    assert suspicious("from .shapes import check_shape\ndef check_x(x): ...\ncheck_x(check_shape)\n") == []


# --- hostile text ---


@pytest.mark.parametrize(
    "source",
    [
        "a = b\nb = a\na.softmax(b)\n",
        "global x\nx.y\n",
        "def f():\n    nonlocal x\n    x = 1\nx\n",
        "def f():\n    global f\n    f\n",
        "getattr()\ngetattr(1)\nsetattr(*x)\nvars()\n",
        "".join(f"x{i + 1} = x{i}\n" for i in range(2000)) + "x2000.softmax(1)\n",
        "x = " + " + ".join(["1"] * 500),
        "x = " + "[" * 90 + "]" * 90,
        "match x:\n    case {'a': [1, *y], **z} | w: z\n",
        "def f[T: int](x: T) -> T: ...\n",
    ],
)
def test_odd_text_is_looked_at_without_an_error(source: str) -> None:
    assert screen(source, MODULE) == screen(source, MODULE)


@pytest.mark.parametrize(
    "source",
    [
        "import torch as x\n" + "if a: x = x.y\n" * 5000,
        "import torch as x\n" + "".join(f"if a: x{i % 7} = x{(i + 1) % 7}.a{i % 50}\n" for i in range(5000)),
        "import torch\n" + "".join(f"def f{i + 1}(): f{i}(); torch.softmax\n" for i in range(3000)),
        ("y = x" + ".softmax" * 900 + "\n") * 10,
        "if 0:\n" + "".join(f" from a{i} import *\n" for i in range(5000)) + "q\n" * 30000,
    ],
)
def test_time_grows_with_the_length_only(source: str) -> None:
    start = time.process_time()
    screen(source, MODULE)
    assert time.process_time() - start < 5  # well below 1 s here; quadratic work would take minutes


def many_origins(words: int) -> str:
    """A name w that may be any of twenty things, after a chain of aliases of this many words."""
    roots = "".join(f"import torch.m{i} as y{i}\n" for i in range(20)) + "z0 = y0\n"
    roots += "".join(f"if y0: z0 = y{i}\n" for i in range(20))
    chain = "".join(f"z{i + 1} = z{i}.{'.a' * 11}\n".replace("..", ".") for i in range(words // 11))
    return roots + chain + f"w = z{words // 11}\n" + "".join(f"if y0: w = z{i}\n" for i in range(words // 11))


@pytest.mark.parametrize(
    "source", [many_origins(440), "import torch\nx0 = torch\nx1 = x0." + "b" * 100_000 + "\nw = x1\n"]
)
def test_dotted_name_that_aliases_add_up_to_stays_short(source: str) -> None:
    tree = ast.parse(source + "w.softmax\n")
    names = Names(tree)
    origins = [names.origins(read, at.scope) for read, at in names.reads]
    assert max(len(origin) for found in origins for origin in found) <= MAX_LENGTH
    assert max(map(len, origins)) <= MAX_ORIGINS


def test_what_a_long_chain_reaches_is_still_seen() -> None:
    chain = "import torch\nz0 = torch\n" + "".join(f"z{i + 1} = z{i}.nn.functional.torch\n" for i in range(40))
    assert suspicious(chain + "z40._C\n") == [(43, "torch._C")]
    look = screen(chain + "def softmax(x, dim): return z40.softmax(x, dim)\n", MODULE)
    assert [finding.call for finding in look.forbidden] == ["torch.softmax"]


def test_notes_of_one_file_are_few() -> None:
    assert (
        len(screen("import torch\n" + "".join(f"torch.a{i} = 1\n" for i in range(3000)), MODULE).suspicious)
        == MAX_NOTES
    )
    assert len(screen(many_origins(0) + "w.a = 1\n", MODULE).suspicious) == 1
