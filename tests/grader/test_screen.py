"""What the source text of a submission shows without being run."""

import ast
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from grader.course import Module, Task, load_course
from grader.names import MAX_DEPTH, Names
from grader.screen import Finding, screen

ROOT = Path(__file__).resolve().parents[2]
ATTENTION = load_course(ROOT).module("attention")
# softmax and Linear are built; `weights` uses softmax, `heads` uses weights and Linear.
MODULE = Module(
    week=1,
    title="Small",
    hours=1,
    tasks={name: Task(1, [], [], name) for name in ("softmax", "Linear", "weights", "heads")},
    forbidden=[
        *("torch.softmax", "torch.nn.functional.softmax", "torch.nn.Softmax", "torch.nn.Linear"),
        *("Tensor.softmax", "Tensor.log_softmax", "einops.*"),
    ],
    name="attention",
)
HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def forbidden(source: str) -> list[tuple[str, str, str | None]]:
    return [(finding.call, finding.used, finding.task) for finding in screen(source, MODULE).forbidden]


def weights(body: str) -> str:
    return f"{HEAD}\ndef weights(q, k):\n    x = q @ k\n    {body}\n"


# --- does it parse ---


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\ny = (1,\n", "line 2: '(' was never closed\n    y = (1,"),
        ("def f():\nx = 1\n", "line 2: expected an indented block after function definition on line 1\n    x = 1"),
        (
            "if 1:\n\tx = 1\n        y = 2\n",
            "line 3: tabs and spaces are mixed in the indentation; use four spaces a level\n    y = 2",
        ),
        (
            "if 1:\n    x = 1\n  y = 2\n",
            "line 3: the indentation of this line matches no line above it; use four spaces a level\n    y = 2",
        ),
        ("x = 1\0", "it has NUL bytes in it; save it as UTF-8"),
        ("x = '\ud800'", "it has characters that are not Unicode in it; save it as UTF-8"),
        ("x = " + "-" * 100_000 + "1", "an expression in it is nested too deeply"),
        ("x = " + "a." * 100_000 + "b", "an expression in it is nested too deeply"),
        ("x = 1\n\x1b[2J\u202e = 2", "line 2: invalid non-printable character U+001B\n    = 2"),
    ],
)
def test_syntax_error_quotes_its_line(source: str, says: str) -> None:
    look = screen(source, MODULE)
    assert look.syntax_error == f"attention.py does not parse: {says}"
    assert (look.missing, look.forbidden, look.suspicious) == ([], [], [])


def test_long_line_of_a_syntax_error_is_cut() -> None:
    assert len(screen("x = (" + "1, " * 1000, MODULE).syntax_error.split("\n")[1]) == 104


@pytest.mark.parametrize("source", ["", "\r\r\n\f", "x = '\\d'\n1 is 1\n", "assert (1, 2)\n", "return 1\nbreak\n"])
def test_text_that_parses_gives_no_error_and_no_warning(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert screen(source, MODULE).syntax_error == ""


# --- what is missing ---


@pytest.mark.parametrize(
    "source",
    [
        "def softmax(): ...\nclass Linear: ...\nweights = heads = 1",
        "from .a import softmax, b as Linear\nimport weights\nasync def heads(): ...",
        "try:\n    (softmax, Linear), weights = f()\nfinally:\n    heads: int = 1",
        "if x:\n    def softmax(): ...\nfor Linear in y: ...\nwith z as weights: ...\nheads += 1",
        "weights, *heads = 1, 2\nsoftmax = Linear = 1\ndef f():\n    global softmax\n    softmax = 1",
    ],
)
def test_any_top_level_binding_defines_a_task(source: str) -> None:
    assert screen(source, MODULE).missing == []


def test_task_that_only_raises_is_unwritten() -> None:
    stop = 'raise NotImplementedError("Task 1.1: softmax")'
    source = f"""\
def softmax(x):
    \"\"\"Sums to one.\"\"\"
    {stop}
def weights(q):
    raise NotImplementedError
def heads(x):
    if x < 0:
        {stop}
    return x
class Linear:
    \"\"\"A matrix.\"\"\"
    size: int
    def __init__(self):
        {stop}
    def forward(self, x):
        {stop}
class Half:
    def __init__(self):
        self.x = 1
    def forward(self, x):
        {stop}
class Fields:
    size: int
"""
    assert screen(source, MODULE).unwritten == {"softmax", "weights", "Linear"}


@pytest.mark.parametrize("module", list(load_course(ROOT).modules))
def test_every_task_of_a_stub_is_unwritten(module: str) -> None:
    week = load_course(ROOT).module(module)
    source = (ROOT / "assignments" / f"{module}.py").read_text(encoding="utf-8")
    assert screen(source, week).unwritten == set(week.tasks)
    assert not screen((ROOT / "reference" / f"{module}.py").read_text(encoding="utf-8"), week).unwritten


def test_missing_tasks_are_listed_in_order() -> None:
    source = "class A:\n    def softmax(self): ...\ndef f():\n    Linear = 1\n    def heads(): ...\nweights: int\n"
    assert screen(source, MODULE).missing == ["softmax", "Linear", "weights", "heads"]


# --- forbidden calls ---


@pytest.mark.parametrize("folder", ["reference", "assignments"])
def test_our_own_files_are_clean(folder: str) -> None:
    look = screen((ROOT / folder / "attention.py").read_text(encoding="utf-8"), ATTENTION)
    assert (look.syntax_error, look.missing, look.forbidden, look.suspicious) == ("", [], [], [])


def test_finding_has_line_call_text_and_task() -> None:
    found = Finding(6, "torch.nn.functional.softmax", "F.softmax", "weights")
    assert screen(HEAD + "\ndef weights(q, k):\n    return F.softmax(q @ k, -1)\n", MODULE).forbidden == [found]


@pytest.mark.parametrize(
    ("body", "call", "used"),
    [
        ("return torch.softmax(x, -1)", "torch.softmax", "torch.softmax"),
        ("import einops as e; return e.reduce(x, 'b t -> b', 'sum')", "einops.*", "e.reduce"),
        ("from einops.layers.torch import Rearrange; return Rearrange('b t -> t b')(x)", "einops.*", "Rearrange"),
        ("return nn.functional.softmax(x, -1)", "torch.nn.functional.softmax", "nn.functional.softmax"),
        ("import torch as t; return t.softmax(x, -1)", "torch.softmax", "t.softmax"),
        ("from torch import softmax as s; return s(x, -1)", "torch.softmax", "s"),
        ("from torch.nn import functional as G; return G.softmax(x)", "torch.nn.functional.softmax", "G.softmax"),
        ("import torch.nn.functional; return torch.softmax(x, -1)", "torch.softmax", "torch.softmax"),
        ("sm = torch.softmax; return sm(x, -1)", "torch.softmax", "sm"),
        ("a, b = F, 1; return a.softmax(x, -1)", "torch.nn.functional.softmax", "a.softmax"),
        ("a = b = torch; return b.nn.functional.softmax(x)", "torch.nn.functional.softmax", "b.nn.functional.softmax"),
        ("return getattr(F, 'softmax')(x, -1)", "torch.nn.functional.softmax", "getattr(F, 'softmax')"),
        ("s = getattr(torch, 'soft' + f'max'); return s(x, -1)", "torch.softmax", "s"),
        ("n = getattr(torch, 'nn'); return getattr(n, 'Softmax')(-1)(x)", "torch.nn.Softmax", "getattr(n, 'Softmax')"),
        ("n = getattr(getattr(torch, 'nn'), 'Softmax'); return n(-1)(x)", "torch.nn.Softmax", "n"),
        ("return (s := torch.softmax)(x, -1)", "torch.softmax", "torch.softmax"),
        ("return [torch.softmax][0](x, -1)", "torch.softmax", "torch.softmax"),
        ("return (lambda f=torch.softmax: f(x, -1))()", "torch.softmax", "torch.softmax"),
        ("return torch.nn.Softmax(-1)(x)", "torch.nn.Softmax", "torch.nn.Softmax"),
        ("return x.softmax(-1)", "Tensor.softmax", "x.softmax"),
        ("return (q @ k).log_softmax(-1).exp()", "Tensor.log_softmax", "(q @ k).log_softmax"),
        ("return torch.Tensor.softmax(x, -1)", "Tensor.softmax", "torch.Tensor.softmax"),
        ("from torch import Tensor as T; return T.softmax(x, -1)", "Tensor.softmax", "T.softmax"),
        ("return getattr(x, 'softmax')(-1)", "Tensor.softmax", "getattr(x, 'softmax')"),
        ("f = x.softmax; return f(-1)", "Tensor.softmax", "x.softmax"),
        ("return type(x).softmax(x, -1)", "Tensor.softmax", "type(x).softmax"),
    ],
)  # fmt: skip
def test_forbidden_call_is_found_behind_any_name(body: str, call: str, used: str) -> None:
    assert forbidden(weights(body)) == [(call, used, "weights")]


@pytest.mark.parametrize(
    "body",
    [
        "return softmax(x, -1)",
        "softmax = x.exp(); return softmax / softmax.sum(-1)",
        "def softmax(y): return y.exp()\n    return softmax(x)",
        "return Ops.softmax(x)",
        "ops = Ops(); return ops.softmax(x)",
        "import numpy as np; return np.softmax(x)",
        "sm = torch.softmax\n    sm = torch.exp\n    return sm(x)",
        "assert not isinstance(q, nn.Linear); layer: nn.Linear; return x",
        "x.softmax = 1; return [softmax for softmax in x]",
        "return 'torch.softmax(x)'  # torch.softmax(x)",
    ],
)
def test_own_names_are_no_findings(body: str) -> None:
    own = "\ndef softmax(x, dim): ...\nclass Ops:\n    def softmax(self, x): return self.softmax(x) + softmax(x, 1)\n"
    assert forbidden(weights(body) + own) == []


def test_annotation_is_no_use() -> None:
    assert forbidden(HEAD + "def weights(q: nn.Linear, *k: nn.Linear) -> nn.Linear: ...\nheads: nn.Linear\n") == []


def test_later_definition_replaces_an_import() -> None:
    source = "from torch import softmax\ndef weights(x): return softmax(x)\ndef softmax(x): return x\n"
    assert forbidden(source) == []


def test_import_in_a_branch_may_still_hold() -> None:
    source = "def softmax(x): ...\ntry:\n    from torch import softmax\nexcept ImportError: ...\n"
    source += "def weights(x): return softmax(x)\n"
    assert ("torch.softmax", "softmax", "weights") in forbidden(source)


@pytest.mark.parametrize(
    ("imported", "name"),
    [
        ("from torch.nn.modules.linear import Linear as L", "L"),
        ("from torch.nn import modules", "modules.Linear"),
        ("import torch.nn.modules.transformer as t", "t.Linear"),
    ],
)
def test_forbidden_class_is_found_in_whatever_module_of_torch(imported: str, name: str) -> None:
    assert forbidden(f"{imported}\n\nclass Linear({name}):\n    pass\n") == [("torch.nn.Linear", name, "Linear")]


def test_names_are_followed_through_more_functions_than_anybody_nests() -> None:
    """Deeper ones count as their own surroundings, so that a file cannot make every name a long way to look up."""
    depth = 4 * MAX_DEPTH
    source = f"import torch\n\nweights = {'lambda: ' * depth}torch.softmax\n"
    assert forbidden(source) == [("torch.softmax", "torch.softmax", "weights")]
    assert len(Names(ast.parse(source)).scopes) == 1 + MAX_DEPTH


def test_star_import_gives_names_that_the_file_does_not_define() -> None:
    source = "from torch import *\nfrom torch.nn import *\ndef weights(x): return softmax(x, -1)\n"
    assert forbidden(source) == [("torch.softmax", "softmax", "weights")]
    assert forbidden(source + "def softmax(x, dim): ...\n") == []


def test_base_class_counts_and_own_class_of_that_name_does_not() -> None:
    source = (
        HEAD + "class Linear(nn.Linear): ...\nclass heads(nn.Module):\n    def __init__(self): self.q = Linear(1, 2)\n"
    )
    assert forbidden(source) == [("torch.nn.Linear", "nn.Linear", "Linear")]


@pytest.mark.parametrize(
    ("line", "used"),
    [
        ("softmax = torch.softmax", "softmax = torch.softmax"),
        ("from torch import softmax", "from torch import softmax"),
        ("softmax = lambda x, dim: torch.softmax(x, dim)", "torch.softmax"),
        ("import functools; softmax = functools.partial(torch.softmax, dim=-1)", "torch.softmax"),
    ],
)
def test_task_that_only_renames_is_found(line: str, used: str) -> None:
    assert forbidden(f"import torch\n{line}\n") == [("torch.softmax", used, "softmax")]


@pytest.mark.parametrize(
    "helper",
    [
        "def helper(x): return torch.softmax(x, -1)",
        "def inner(x): return torch.softmax(x, -1)\nhelper = inner",
        "helper = lambda x: torch.softmax(x, -1)",
        "class helper:\n    act = torch.softmax",
        "helper = {}\nhelper['a'] = torch.softmax",
        "def helper(x): ...\nhelper.f = torch.softmax",
    ],
)
def test_helper_counts_for_each_task_that_reaches_it(helper: str) -> None:
    source = (
        HEAD + helper + "\ndef between(x): return helper(x)\ndef weights(x): return between(x)\ndef heads(x): helper\n"
    )
    assert forbidden(source) == [("torch.softmax", "torch.softmax", task) for task in ("weights", "heads")]


def test_task_does_not_answer_for_the_tasks_it_calls() -> None:
    source = HEAD + "def softmax(x): return torch.softmax(x, 0)\ndef weights(x): return softmax(x)\n"
    assert forbidden(source) == [("torch.softmax", "torch.softmax", "softmax")]


def test_code_that_no_task_reaches_counts_for_none() -> None:
    source = HEAD + "def test_it(): torch.softmax(1, 0)\nif __name__ == '__main__':\n    print(F.softmax(1, 0))\n"
    assert forbidden(source) == [
        ("torch.softmax", "torch.softmax", None),
        ("torch.nn.functional.softmax", "F.softmax", None),
    ]


def test_alias_made_by_global_is_followed() -> None:
    source = HEAD + "def setup():\n    global sm\n    sm = torch.softmax\ndef weights(x): return sm(x)\n"
    assert forbidden(source) == [("torch.softmax", "sm", "weights")]


def test_name_inside_a_function_does_not_leak() -> None:
    assert forbidden(HEAD + "def f():\n    sm = torch.softmax\ndef weights(x, sm): return sm(x)\n") == []


def test_tensor_held_by_self_is_a_tensor() -> None:
    source = "class heads:\n    def f(self): return self.x.softmax(-1) + self.softmax(2)\n"
    assert forbidden(source) == [("Tensor.softmax", "self.x.softmax", "heads")]
    assert forbidden("def softmax(self): return self.softmax(-1)\n") == [("Tensor.softmax", "self.softmax", "softmax")]


OWN_HEAD = "\nclass Head:\n    def softmax(self, x): ...\n"


@pytest.mark.parametrize(
    "body",
    [
        "for head in q: x = head.softmax(x)",
        "return k.heads[0].softmax(x)",
        "return [head.softmax(x) for head in q.heads]",
        "both = [Head()] * 2; return both[0].softmax(x)",
        "all = nn.ModuleList([Head()]); return all[0].softmax(x)",
        "return getattr(k, 'softmax')(x)",
    ],
)
def test_method_that_a_class_of_the_file_has_may_be_called_on_what_may_be_its_object(body: str) -> None:
    assert forbidden(weights(body) + OWN_HEAD) == []
    assert forbidden(weights(body)) != []


def test_attribute_that_a_class_gives_itself_is_its_own_too() -> None:
    own = "class Head:\n    def __init__(self): self.softmax = 1\n"
    assert forbidden(own + "def weights(head, x): return head.softmax(x)\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "return x.softmax(-1)",
        "return (2 * (q @ k) / 3).softmax(-1)",
        "y = x.mT[0].clone(); return y.softmax(-1)",
        "return torch.exp(q).softmax(-1)",
        "return F.relu(q).softmax(-1)",
        "return type(x).softmax(x, -1)",
        "def f(y: torch.Tensor | None): return y.softmax(-1)",
        "from torch import Tensor\n    def f(y: Float[Tensor, 'a b']): return y.softmax(-1)",
    ],
)
def test_own_method_does_not_excuse_a_call_on_a_tensor(body: str) -> None:
    assert [call for call, _, _ in forbidden(weights(body) + OWN_HEAD)] == ["Tensor.softmax"]


def test_call_over_several_lines_is_quoted_by_its_end() -> None:
    source = "def weights(q, k):\n    return (\n        q @ k\n    ).softmax(-1)\n"
    assert forbidden(source) == [("Tensor.softmax", "…).softmax", "weights")]


def test_repeats_are_cut_per_task() -> None:
    source = HEAD + "".join(
        f"def {task}(x):\n{'    torch.softmax(x, 0)' + chr(10)}" * 30 for task in ("softmax", "weights")
    )
    tasks = [finding.task for finding in screen(source, MODULE).forbidden]
    assert tasks == ["softmax"] * 10 + ["weights"] * 10


def test_task_may_forbid_what_others_may_call() -> None:
    weights = Task(1, [], ["torch.exp", "aten.exp*"], "weights")
    module = replace(MODULE, tasks={**MODULE.tasks, "weights": weights})
    source = (
        "import torch\n\ndef softmax(x, dim):\n    return torch.exp(x)\n\ndef weights(q, k):\n    return torch.exp(q)\n"
    )
    look = screen(source, module)
    assert [(finding.line, finding.call, finding.task) for finding in look.forbidden] == [(7, "torch.exp", "weights")]
    seen = screen("def softmax(x, dim):\n    ...\n\ndef weights(q, k):\n    ...\n", module)
    found = seen.with_calls(["2 aten.exp", "5 aten.exp"], module).forbidden
    assert [(finding.line, finding.call, finding.task) for finding in found] == [(5, "aten.exp", "weights")]
    assert module.all_forbidden[-2:] == ["torch.exp", "aten.exp*"]
