"""Forbidden operations are seen while they run, by whatever name, and blamed on the student's own lines only."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from grader.collect import Submission
from grader.course import Course
from grader.grade import grade
from grader.opening import open_session
from grader.options import Options
from grader.record import SubmissionRecord
from grader.screen import UNSHOWN, Screen, screen
from grader.session import Session
from grader.watch import Watch

HIDDEN_WAYS = {
    "built-up name": ('getattr(torch, "soft" + "max")(x, dim)', "torch.softmax"),
    "method by its dunder": ('x.__getattribute__("soft" + "max")(dim)', "torch.softmax"),
    "methodcaller": ('operator.methodcaller("soft" + "max", dim)(x)', "torch.softmax"),
    "eval": ('eval("torch." + "softmax(x, dim)", {"torch": torch, "x": x, "dim": dim})', "torch.softmax"),
    "relative": ("torch.nn.functional.softmin(-x, dim)", "torch.softmax"),
    "kernel": ("torch.ops.aten._softmax(x, dim, False)", "aten._softmax"),
    "script": ('torch.jit.CompilationUnit("def f(x, d: int):\\n  return x.softmax(d)\\n").f(x, dim)', "torch.softmax"),
    "module of torch": ('vars(torch.nn)["Soft" + "max"](dim)(x)', "torch.softmax"),
}
HEAD = "import operator\nimport torch\n\n\ndef softmax(x, dim):\n    return "
Graded = Callable[[str], SubmissionRecord]


@pytest.fixture
def graded(session: Session) -> Graded:
    return lambda source: grade(session, Submission("kim", {"attention.py": source}), "", Options())


def forbidden(record: SubmissionRecord) -> set[tuple[str, str]]:
    """(task, first line of the message) of what was found to be forbidden."""
    return {(c.task, c.message.splitlines()[0]) for c in record.checks if c.status == "forbidden"}


@pytest.mark.parametrize("way", HIDDEN_WAYS)
def test_call_is_seen_with_its_line(graded: Graded, way: str) -> None:
    expression, name = HIDDEN_WAYS[way]
    found = forbidden(graded(HEAD + expression + "\n"))
    assert len(found) == 1
    ((task, message),) = found
    assert task == "softmax"
    assert message.startswith("line 6: ")
    assert name in message


BLINDFOLDED = {
    "thread": 'operator.attrgetter("threading.Thread")(torch)(target=look).start()',
    "dispatch off": 'operator.attrgetter("_C._DisableTorchDispatch")(torch)()',
    "key off": 'operator.attrgetter("_C._dispatch_tls_set_dispatch_key_included")(torch)("PreDispatch", False)',
    "frame": "look()",
    "frame by its number": 'operator.attrgetter("_get" + "frame")(sys)()',
    "code from bytes": 'operator.attrgetter("loads")(marshal)(CODE)',
    "kernel of its own": 'operator.attrgetter("library.Library")(torch)("aten", "IMPL").impl("sin", max, "CPU")',
}


@pytest.mark.parametrize("way", BLINDFOLDED)
def test_what_could_blind_the_watch_is_noted_by_whatever_name(graded: Graded, way: str) -> None:
    source = (
        "import marshal\nimport operator\nimport sys\nimport torch\n\n"
        'CODE = b"\\xe9\\x01\\x00\\x00\\x00"\n\n'
        "def look():\n    try:\n        raise KeyError\n    except KeyError as error:\n"
        '        return operator.attrgetter("tb_" + "frame")(error.__traceback__)\n\n'
        f"def softmax(x, dim):\n    {BLINDFOLDED[way]}\n    return x\n"
    )
    assert [note for note in graded(source).notes if "seen while it ran" in note]


def test_check_without_hidden_rows_is_watched_too(graded: Graded, session: Session) -> None:
    """The built-in is called on another device alone, and no hidden row is there."""
    source = session.course.source("reference", "attention") + (
        "\nimport operator\n\nown = softmax\n\ndef softmax(x, dim):\n"
        '    return own(x, dim) if x.device.type == "cpu" else operator.attrgetter("soft" + "max")(torch)(x, dim)\n'
    )
    assert {task for task, _ in forbidden(graded(source))} == {"softmax"}


def test_line_of_a_call_beside_hidden_rows_is_for_the_instructor(graded: Graded, session: Session) -> None:
    """Which line is run could spell out the input."""
    source = session.course.source("reference", "attention") + (
        "\nimport operator\n\nown = softmax\n\ndef softmax(x, dim):\n"
        '    return operator.attrgetter("soft" + "max")(torch)(x, dim) if x.shape == (3, 2, 4, 6) else own(x, dim)\n'
    )
    record = graded(source)
    assert forbidden(record) == {
        (
            "softmax",
            "torch.softmax, seen while it ran with inputs that are not shown, "
            "is what this module has you build yourself.",
        )
    }
    assert f"line {source.count(chr(10))}: torch.softmax, {UNSHOWN}" in record.notes


TORCH_S_OWN = {
    "softmax": ("match torch:\n    case object(softmax=softmax):\n        pass\n", "torch.softmax"),
    "Linear": (
        "match nn:\n    case object(Linear=base):\n        pass\n\nclass Linear(base):\n    pass\n",
        "torch.nn.Linear",
    ),
}


@pytest.mark.parametrize("task", TORCH_S_OWN)
def test_task_that_is_torch_s_own_is_found_however_it_got_there(graded: Graded, task: str) -> None:
    text, call = TORCH_S_OWN[task]
    found = forbidden(graded(f"import torch\nfrom torch import nn\n\n{text}"))
    assert found == {(task, f"{call}, behind the name {task}, is what this module has you build yourself.")}


def test_second_chance_is_watched_too(session: Session) -> None:
    """A file that fails on purpose until given parts stand beside it may not call the built-in then."""
    source = session.course.source("reference", "attention") + (
        "\nimport operator\n\nown = softmax\n\n"
        "def scaled_dot_product_attention(q, k, v, mask=None):\n"
        "    if softmax is own:\n"
        '        raise ValueError("not now")\n'
        '    return operator.attrgetter("nn.functional.scaled_dot_product_attention")(torch)(q, k, v, mask)\n'
    )
    found = forbidden(grade(session, Submission("kim", {"attention.py": source}), "", Options()))
    assert {task for task, _ in found} == {"scaled_dot_product_attention"}


def test_helper_is_blamed_on_the_tasks_that_reach_it(graded: Graded) -> None:
    source = (
        'import torch\n\ndef hidden(x, dim):\n    return getattr(torch, "_soft" + "max")(x, dim, False)\n\n'
        "def softmax(x, dim):\n    return hidden(x, dim)\n"
    )
    ((task, message),) = forbidden(graded(source))
    assert (task, message.partition(",")[0]) == ("softmax", "line 4: aten._softmax")


def test_backward_pass_and_allowed_relatives_are_nobodys(graded: Graded) -> None:
    record = graded(HEAD + "torch.exp(x - x.logsumexp(dim, keepdim=True))\n")
    assert forbidden(record) == set()
    assert {c.status for c in record.checks if c.task == "softmax" and "gradient" in c.name} == {"passed"}


def test_allowed_forbidden_calls_are_not_watched(session: Session) -> None:
    source = Submission("kim", {"attention.py": HEAD + "torch.ops.aten._softmax(x, dim, False)\n"})
    assert forbidden(grade(session, source, "", Options(ban=False))) == set()


def test_worker_that_ends_before_the_watch_has_reported_is_a_note(graded: Graded) -> None:
    source = "import os\nimport torch\n\ndef merge_heads(x):\n    os._exit(0)\n"
    assert "its calls were not watched to the end: the process ended before the last check" in graded(source).notes


@pytest.mark.parametrize(
    "call", ["", "2", "2 ", "x torch.exp", "2 <b>", "2 torch.exp\n", "99999999 torch.a", "2 torch.\u0662", "2 os.x"]
)
def test_account_of_what_is_not_forbidden_is_left_out(course: Course, call: str) -> None:
    assert Screen().with_calls([call], course.module("attention")).forbidden == []


def test_kernel_is_not_told_beside_its_function(session: Session) -> None:
    look = screen("import torch\n\ndef softmax(x, dim):\n    return x\n", session.module)
    both = look.with_calls(["4 torch.softmax", "4 aten._softmax", "1 aten._softmax"], session.module)
    assert [(f.line, f.call, f.task) for f in both.forbidden] == [
        (1, "aten._softmax", None),
        (4, "torch.softmax", "softmax"),
    ]


@pytest.mark.parametrize(
    ("module", "call", "name"),
    [
        ("attention", "F.linear(x, x)", "torch.nn.functional.linear"),
        ("attention", "nn.MultiheadAttention(2, 1)(x, x, x)", "torch.nn.functional.linear"),
        ("attention", "F.scaled_dot_product_attention(x, x, x)", "torch.nn.functional.scaled_dot_product_attention"),
        ("block", "F.layer_norm(x, (2,))", "torch.layer_norm"),
        ("block", "F.rms_norm(x, (2,))", "torch.rms_norm"),
        ("block", "nn.Dropout(0.5)(x)", "torch.dropout"),
        ("block", "F.silu(x)", "torch.nn.functional.silu"),
        ("gpt", "F.embedding(i, x)", "torch.embedding"),
        ("gpt", "F.embedding_bag(i[None], x)", "torch.embedding_bag"),
        ("training", "F.cross_entropy(x, i)", "torch.nn.functional.log_softmax"),
        ("training", "x.logsumexp(0)", "torch.logsumexp"),
        ("training", "torch.special.log_softmax(x, 0)", "torch.nn.functional.log_softmax"),
    ],
)
def test_what_each_module_forbids_is_heard(course: Course, module: str, call: str, name: str) -> None:
    watch = Watch(course.module(module).all_forbidden, "assignments/kim.py")
    imports = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
    text = imports + "x, i = torch.ones(2, 2), torch.ones(2).long()\n"
    with watch.on():
        exec(compile(text + call, "assignments/kim.py", "exec"), {})
    assert (5, name) in {(each.place, each.name) for each in watch.calls()}


def test_what_is_not_forbidden_and_what_ran_before_is_not_heard(course: Course) -> None:
    watch = Watch(course.module("attention").all_forbidden, "assignments/kim.py")
    text = "import torch\nx = torch.ones(2, 2)\ny = (x @ x).exp().sum() + torch.einsum('ij,jk->', x, x)\n"
    exec(compile("import torch\ntorch.ones(2, 2).softmax(0)\n", "assignments/kim.py", "exec"), {})
    with watch.on():
        exec(compile(text, "assignments/kim.py", "exec"), {})
    assert watch.calls() == frozenset()


def test_other_modules_are_watched_too(course: Course) -> None:
    """torch's first watched call imports hundreds of modules; where no check of the module did, a worker could not."""
    module = course.module("block")
    with open_session(course, module, seed=5) as block:
        source = course.source("tests/styles/block", "algebra")
        right = grade(block, Submission("kim", {"block.py": source}), "", Options())
        wrong = grade(
            block,
            Submission("lee", {"block.py": source.replace("torch.special.ndtr(wide)", "vars(F)['gelu'](wide) / wide")}),
            "",
            Options(),
        )
    assert (right.score, right.notes) == (100, [])
    assert {task for task, _ in forbidden(wrong)} == {"gelu"}


@pytest.mark.parametrize("what", ["Watch(['torch.exp', 'aten.exp'], 'x.py').on()", "present()"])
def test_seeing_kernels_and_taking_a_gradient_does_not_import_torch_s_compiler(what: str) -> None:
    """It would take a second of every start and 80 MB of every worker."""
    code = f"""
import sys, torch
from grader.checks import gradients
from grader.second_device import present
from grader.watch import Watch
with {what}:
    x = torch.ones(3, requires_grad=True)
    gradients(x.exp(), torch.ones(3), x=x)
print(sorted({{'torch._dynamo', 'sympy'}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "how",
    [
        "timeit.timeit('import sqlite3', number=1)",
        "importlib.import_module('sqlite3')",
        "xml.__path__.append(FOLDER); from xml import dbapi2",
        "sys.path.append(FOLDER); import dbapi2",
    ],
)
def test_import_of_a_forbidden_package_is_noted_whoever_asks_for_it(how: str) -> None:
    code = (
        "import importlib, sys, sysconfig, timeit, xml\nfrom grader import guard, watch\n"
        "guard.INSTALLED = {sysconfig.get_path('stdlib')}\n"
        "FOLDER = sysconfig.get_path('stdlib') + '/sqlite3'\n"
        "noted = set()\n"
        "guard.stand(['sqlite3.*', 'torch.softmax'], lambda name, frame: noted.add(name), watch.LIBRARIES)\n"
        f"try:\n    {how}\nexcept ImportError:\n    pass\n"
        "print(noted)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'sqlite3.*'}"


def test_package_that_came_in_while_it_ran_counts_for_its_task_and_else_is_noted(course: Course) -> None:
    tokenizer = course.module("tokenizer")
    source = "import timeit\n\n\ndef train_bpe(text, vocab_size):\n    return timeit.timeit\n"
    found = screen(source, tokenizer).with_calls(["5 tiktoken.*", "3 tiktoken.*", "3 somebody.*"], tokenizer)
    assert [(f.line, f.task, f.used) for f in found.forbidden if f.task] == [
        (5, "train_bpe", "tiktoken.*, seen while it ran,")
    ]
    assert [(f.line, f.used) for f in found.suspicious if "seen" in f.used] == [(3, "tiktoken.*, seen while it ran")]
