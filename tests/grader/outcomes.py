"""Outcomes made by hand, for the tests of what compares and explains them."""

import math

import torch
from torch import Tensor

from grader.axes import Signature
from grader.collecting import RowId
from grader.compare import Mismatch, compare
from grader.expected import Expected, Truth, as_floats
from grader.outcome import Outcome, Raised, flatten
from grader.rng import Rng

ROW = RowId("check_toy[1]", "check_toy", "toy", 1, False, "Toy.", "", "")
SIGNATURE = Signature({"q": "... q_len head_dim", "mask": "... q_len k_len"}, "... q_len k_len")
NAN, INF = math.nan, math.inf
X = Rng(1).randn(2, 3, 5)
MASK = torch.ones(3, 3, dtype=torch.bool).tril()


def values(value: object) -> Outcome:
    return value if isinstance(value, Outcome) else Outcome("values", dict(flatten(value)))


def raised(kind: str, message: str, *bases: str, trace: str = "") -> Outcome:
    return Outcome("raised", raised=Raised(kind, [*(bases or (kind,)), "Exception"], message, trace))


def mismatch(right: object, got: object, allowed: float = 1e-6) -> Mismatch:
    native = values(right)
    floats = {path: as_floats(leaf) for path, leaf in native.leaves.items()}
    truths = {path: Truth(true, allowed / 4, 0.0) for path, true in floats.items() if true is not None}
    found = compare(Expected(ROW, 0, native, truths), values(got), ["q", "k", "k_len"])
    assert found is not None
    return found


def changed(*where: int, to: float) -> Tensor:
    x = X.clone()
    x[where] = to
    return x
