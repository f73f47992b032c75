"""Names and arguments beside those that were asked for: the sentence shows both."""

import pytest

from grader.course import Course, Module
from grader.definitions import header, origin, places, sentence
from grader.interface import differences
from grader.pristine import specification

STUB_LINE = "    raise NotImplementedError\n"


@pytest.fixture(scope="module")
def asked(course: Course, attention: Module) -> str:
    return specification(course, attention)


def said(source: str, asked: str, module: Module, task: str) -> str:
    rest = "".join(f"{name} = None\n" for name in module.tasks if name != task)
    return differences(source + rest, asked, module).get(task, "")


def test_reference_has_no_differences(course: Course, attention: Module, asked: str) -> None:
    assert differences(asked, asked, attention) == {}
    assert differences(course.source("assignments", "attention"), asked, attention) == {}


@pytest.mark.parametrize(
    ("source", "task", "text"),
    [
        (
            "def softmax(x, axis):\n    return x\n",
            "softmax",
            "Asked for: softmax(x, dim). Your file has: softmax(x, axis).",
        ),
        (
            "def softmax(x):\n    return x\n",
            "softmax",
            "Asked for: softmax(x, dim). Your file has: softmax(x).",
        ),
        (
            "def causal_mask(q_len, k_len, device=None):\n    return x\n",
            "causal_mask",
            "Asked for: causal_mask(q_len, k_len=None, device=None). "
            "Your file has: causal_mask(q_len, k_len, device=None).",
        ),
        (
            "def split_heads(x, n_heads, d_model):\n    return x\n",
            "split_heads",
            "Asked for: split_heads(x, n_heads). Your file has: split_heads(x, n_heads, d_model).",
        ),
        (
            "class Linear(nn.Module):\n    def __init__(self, d_in, d_out):\n        pass\n    forward = None\n",
            "Linear",
            "Asked for: Linear(d_in, d_out, bias=True). Your file has: Linear(d_in, d_out).",
        ),
        (
            "class Linear(nn.Module):\n    def __init__(self, d_in, d_out, bias=True):\n        pass\n"
            "    def call(self, x):\n        pass\n",
            "Linear",
            "Linear has no method forward; asked for: forward(x).",
        ),
        (
            "def Linear(d_in, d_out, bias=True):\n    pass\n",
            "Linear",
            "Linear: a class was asked for, your file has a function.",
        ),
        (
            "class SoftMax:\n    pass\n",
            "softmax",
            "There is no softmax in your file, but a SoftMax: rename it to softmax.",
        ),
        (
            "class A:\n    def softmax(x, dim):\n        pass\n",
            "softmax",
            "softmax is defined inside A (line 2): take it out, to the start of the line.",
        ),
        (
            "x = 1\ndef other(): pass\n",
            "softmax",
            "There is no softmax in your file; it must be defined at the top level.",
        ),
    ],
)
def test_difference_shows_both_sides(source: str, task: str, text: str, asked: str, attention: Module) -> None:
    assert said(source, asked, attention, task) == text


@pytest.mark.parametrize(
    "source",
    [
        "def softmax(x, dim, eps=0.0): pass\n",
        "def softmax(*args, **kwargs): pass\n",
        "def softmax(x: Float, /, dim: int = -1): pass\n",
        "def make(): pass\nsoftmax = make()\n",
    ],
)
def test_what_every_call_fits_is_no_difference(source: str, asked: str, attention: Module) -> None:
    assert said(source, asked, attention, "softmax") == ""


def test_inherited_methods_are_left_alone(asked: str, attention: Module) -> None:
    source = "class Base: pass\nclass Linear(Base):\n    pass\n"
    assert said(source, asked, attention, "Linear") == ""


def test_header_sentence_and_origin_of_a_task(asked: str) -> None:
    place = places(asked)["softmax"]
    assert header(place.node) == "softmax(x, dim)"
    assert sentence(place).startswith("exp(x) / sum(exp(x)) along `dim`")
    assert origin(place).startswith("Source: Goodfellow et al. 2016")


def test_text_that_does_not_parse_has_no_places() -> None:
    assert places("def f(:") == {}
