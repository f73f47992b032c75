"""Comparing two outcomes: structure, type, dtype, device, shape, finite, values, in this order.

The first difference in that order is the verdict, since the later ones mean little before the earlier ones hold.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from .expected import Expected, Truth, as_floats, half_epsilon
from .listing import Sides, sides
from .outcome import Container, Foreign, Leaf, Outcome, Raised, TensorLeaf


@dataclass(frozen=True)
class Mismatch:
    """The first thing that differs. `kind` is one of KINDS; `wrong` marks the entries that are off.

    `sides` are the lists that it stands in, where these hold nothing but plain values.
    """

    kind: str
    path: str
    expected: Leaf | Raised
    got: Leaf | Raised
    wrong: Tensor | None = None
    allowed: float = 0.0
    sides: Sides | None = None


ONE_DEVICE = "to be on the same device"  # in what torch says of an operation with inputs on two
KINDS = (
    "ended",
    "raised",
    "accepted",
    "exception",
    "structure",
    "type",
    "dtype",
    "device",
    "shape",
    "finite",
    "values",
)


def compare(expected: Expected, outcome: Outcome, arguments: Collection[str] = ()) -> Mismatch | None:
    """None when the outcome is right, else what differs first.

    Args:
        arguments: names of the interface's arguments. An expected exception must name one that the reference names.
    """
    native = expected.native
    if outcome.ended in ("timeout", "crashed"):
        return Mismatch("ended", "", None, outcome.why)
    if native.raised and outcome.raised:
        right = _same_exception(native.raised, outcome.raised, arguments)
        return None if right else Mismatch("exception", "", native.raised, outcome.raised)
    if outcome.raised:
        return Mismatch("raised", "", None, outcome.raised)
    if native.raised:
        return Mismatch("accepted", "", native.raised, next(iter(outcome.leaves.values()), None))
    mismatch = compare_leaves(native.leaves, expected.truths, outcome.leaves)
    return mismatch and replace(mismatch, sides=sides(native.leaves, outcome.leaves, mismatch.path))


def compare_leaves(native: Mapping[str, Leaf], truths: Mapping[str, Truth], got: Mapping[str, Leaf]) -> Mismatch | None:
    """The first difference over all leaves, the graver kinds first."""
    found: list[Mismatch] = []
    for path, leaf in native.items():
        if path not in got:
            return found[0] if found else Mismatch("structure", path, leaf, None)
        mismatch = _leaf(path, leaf, truths.get(path), got[path])
        if mismatch:
            found.append(mismatch)
    return min(found, key=lambda m: KINDS.index(m.kind), default=None)


def _leaf(path: str, expected: Leaf, truth: Truth | None, got: Leaf) -> Mismatch | None:
    if isinstance(expected, TensorLeaf) and isinstance(got, TensorLeaf):
        return _tensor(path, expected, truth, got)
    if isinstance(expected, Container) and isinstance(got, Container):
        same = expected.kind == got.kind and set(expected.keys) == set(got.keys)
        return None if same else Mismatch("structure", path, expected, got)
    if type(expected) is not type(got) or isinstance(got, Foreign):
        return Mismatch("type", path, expected, got)
    if truth is not None:
        return _floats(path, expected, truth, got)
    return None if expected == got else Mismatch("values", path, expected, got)


def _tensor(path: str, expected: TensorLeaf, truth: Truth | None, got: TensorLeaf) -> Mismatch | None:
    for kind, one, other in (
        ("dtype", expected.values.dtype, got.values.dtype),
        ("device", expected.device or got.device, got.device),
        ("shape", expected.values.shape, got.values.shape),
    ):
        if one != other:
            return Mismatch(kind, path, expected, got)
    if truth is not None:
        return _floats(path, expected, truth, got)
    wrong = expected.values != got.values
    return Mismatch("values", path, expected, got, wrong) if wrong.any() else None


def _floats(path: str, expected: Leaf, truth: Truth, got: Leaf) -> Mismatch | None:
    native, values = as_floats(expected), as_floats(got)
    assert native is not None
    assert values is not None
    off = (values - truth.values).abs()
    if (off <= truth.allowed).all() and native.isfinite().all():
        return None
    same_pattern = (native.isfinite() & values.isfinite()) | (native == values) | (native.isnan() & values.isnan())
    if not same_pattern.all():
        return Mismatch("finite", path, expected, got, ~same_pattern)
    wrong = (off > truth.allowed) & values.isfinite()
    return Mismatch("values", path, expected, got, wrong, truth.allowed) if wrong.any() else None


def _same_exception(expected: Raised, got: Raised, arguments: Collection[str]) -> bool:
    """Equal by type, and the message names an argument that the reference's names too."""
    words = set(re.findall(r"\w+", expected.message)) & set(arguments)
    return expected.bases[0] in got.bases and (not words or bool(words & set(re.findall(r"\w+", got.message))))


def same_output(one: Outcome, other: Outcome, expected: Expected) -> bool:
    """Whether two wrong outcomes are the same up to the rounding errors of both: how a known mistake is recognised."""
    if one.ended != other.ended:
        return False
    if one.raised and other.raised:
        return one.raised.bases[:1] == other.raised.bases[:1] and _gist(one.raised) == _gist(other.raised)
    if one.ended != "values":
        return True
    return compare_leaves(one.leaves, _truths_of(one, expected), other.leaves) is None


def _gist(raised: Raised) -> str:
    """The message; of two devices in one operation what torch always says, whichever the operation was."""
    return ONE_DEVICE if ONE_DEVICE in raised.message else raised.message


def scale_of(outcome: Outcome) -> float:
    """One scale for all leaves of a wrong outcome: a gradient that is zero but for rounding has none of its own."""
    floats = [values for leaf in outcome.leaves.values() if (values := as_floats(leaf)) is not None]
    return max((float(v[v.isfinite()].abs().max()) for v in floats if v.isfinite().any()), default=0.0)


def rounding(leaf: Leaf, values: Tensor, scale: float, reference: Truth | None) -> Truth:
    """A leaf of a wrong outcome taken as the truth. Its rounding error is about the reference's, at its own scale, and
    so is the error of what is held against it: hence the factor two."""
    floor = half_epsilon(leaf) * scale
    relative = reference.estimate / reference.floor if reference and reference.floor else 1.0
    return Truth(values, 2 * relative * floor, 2 * floor)


def _truths_of(outcome: Outcome, expected: Expected) -> dict[str, Truth]:
    scale = scale_of(outcome)
    floats = {path: values for path, leaf in outcome.leaves.items() if (values := as_floats(leaf)) is not None}
    return {
        path: rounding(outcome.leaves[path], values, scale, expected.truths.get(path))
        for path, values in floats.items()
    }
