"""A mismatch in words: what a good teaching assistant would say, from the facts alone."""

import re

import torch
from torch import Tensor

from .axes import Signature, axis_names
from .compare import Mismatch
from .expected import as_floats
from .outcome import Container, Foreign, Leaf, Raised, TensorLeaf
from .record import Picture
from .relations import relate

PICTURE_SIDE = 16


def explain(mismatch: Mismatch, signature: Signature) -> str:
    """One to four lines: what was expected, what came, where, and the relation that holds if there is one."""
    name = f"{mismatch.path}: " if mismatch.path else ""
    match mismatch.kind:
        case "ended":
            return f"It gave no result: {mismatch.got!s}."
        case "raised" | "exception" | "accepted":
            return _exception(mismatch)
        case "structure" | "type":
            return f"{name}expected {_kind(mismatch.expected)}, got {_kind(mismatch.got)}.{_advice(mismatch)}"
    one, other = mismatch.expected, mismatch.got
    if not (isinstance(one, TensorLeaf) and isinstance(other, TensorLeaf)):
        return f"{name}expected {_number(one)}, got {_number(other)}."
    axes = axis_names(signature, mismatch.path, one.values.ndim)
    match mismatch.kind:
        case "shape":
            text = f"{name}expected shape {shape(one.values, axes)}, got {tuple(other.values.shape)}."
        case "dtype":
            return f"{name}expected dtype {_dtype(one)}, got {_dtype(other)}."
        case "device":
            return f"{name}expected a tensor on {one.device}, got one on {other.device}."
        case _:
            text = name + _entries(mismatch, one.values, other.values, axes)
    return "\n".join(filter(None, [text, _relation(one, other, mismatch.allowed, axes)]))


def shape(values: Tensor, axes: list[str]) -> str:
    """(2, q_len 5, k_len 7): sizes with the names that are known."""
    parts = [f"{n}" if name.startswith("axis ") else f"{name} {n}" for n, name in zip(values.shape, axes, strict=True)]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def picture(mismatch: Mismatch, signature: Signature) -> Picture | None:
    """The part of a wrong tensor worth looking at: the last two axes around the first wrong entry."""
    one, other = mismatch.expected, mismatch.got
    if not (isinstance(one, TensorLeaf) and isinstance(other, TensorLeaf)) or one.values.ndim < 1:
        return None
    if mismatch.kind not in ("values", "finite", "shape") or not one.values.numel() or not other.values.numel():
        return None
    axes = axis_names(signature, mismatch.path, one.values.ndim)
    where = mismatch.wrong.nonzero()[0].tolist() if mismatch.wrong is not None else [0] * one.values.ndim
    lead = where[:-2] if one.values.ndim > 2 else []
    named = ", ".join(f"{name} {i}" for name, i in zip(axes, lead, strict=False))
    names = (axes[-2] if len(axes) > 1 else "", axes[-1])
    title = ", ".join(filter(None, [mismatch.path or "output", named]))
    return Picture(names, title, _grid(one.values, lead), _grid(other.values, lead))


def _grid(values: Tensor, lead: list[int]) -> list[list[float | str]]:
    for index in lead:
        if values.ndim > 2:
            values = values[min(index, values.shape[0] - 1)]
    while values.ndim > 2:
        values = values[0]
    plane = values.reshape(-1, values.shape[-1])[:PICTURE_SIDE, :PICTURE_SIDE].double()
    return [[float(f"{x:.6g}") if abs(x) < float("inf") else str(x) for x in row] for row in plane.tolist()]


def _entries(mismatch: Mismatch, one: Tensor, other: Tensor, axes: list[str]) -> str:
    wrong = mismatch.wrong
    assert wrong is not None
    count, total = int(wrong.sum()), wrong.numel()
    first = tuple(wrong.nonzero()[0].tolist())
    at = f" at [{', '.join(f'{name} {i}' for name, i in zip(axes, first, strict=True))}]" if first else ""
    if mismatch.kind == "finite":
        nan, inf = int(other.isnan().sum()), int(other.isinf().sum())
        what = " and ".join(f"{n} {word}" for n, word in ((nan, "NaN"), (inf, "inf")) if n) or "finite numbers"
        return f"{what} among {total} entries; the first{at}: expected {one[first]:.4g}, got {other[first]:.4g}."
    text = f"all {total}" if count == total > 1 else f"{count} of {total}"
    line = f"{text} entries differ; the first{at}: expected {_value(one[first])}, got {_value(other[first])}"
    if mismatch.allowed:
        off = float((other.double() - one.double()).abs()[wrong].max())
        line += f" (up to {off:.2g} off where {mismatch.allowed:.1g} is allowed)"
    return line + "."


def _relation(one: TensorLeaf, other: TensorLeaf, allowed: float, axes: list[str]) -> str | None:
    a, b = as_floats(one), as_floats(other)
    if a is not None and b is not None:
        scale = float(a[a.isfinite()].abs().max()) if a.isfinite().any() else 0.0
        return relate(a, b, max(allowed, 1e-5 * scale), axes)
    if one.values.dtype == other.values.dtype == torch.bool and one.values.shape == other.values.shape:
        return _bools(one.values, other.values) or relate(one.values.double(), other.values.double(), 0.0, axes)
    return relate(one.values.double(), other.values.double(), 0.0, axes)


def _bools(one: Tensor, other: Tensor) -> str | None:
    if torch.equal(one, ~other):
        return "True and False are exchanged everywhere."
    if (one <= other).all():
        return f"Yours is True at {int((one < other).sum())} places too many, and wherever it should be."
    if (one >= other).all():
        return f"Yours is False at {int((one > other).sum())} places too many, and wherever it should be."
    return None


def _exception(mismatch: Mismatch) -> str:
    expected, got = mismatch.expected, mismatch.got
    if isinstance(expected, Raised) and isinstance(got, Raised):
        if expected.bases[0] in got.bases:
            return (
                f"Expected a {expected.bases[0]} that names the argument, such as: {expected.message}\n"
                f"Got a {got.kind} that does not: {got.message}"
            )
        return f"Expected {_a(expected.bases[0])} such as: {expected.message}\nGot {got.kind}: {got.message}"
    if isinstance(expected, Raised):
        wanted = f"Expected {_a(expected.bases[0])}, such as: {expected.message}"
        return f"{wanted}\nYours accepted it and returned {_kind(got)}."
    assert isinstance(got, Raised)
    if got.kind == "MissingTask":
        return f"{got.message} in your file."
    return "\n".join(filter(None, [f"{got.kind}: {got.message}", got.trace]))


def _advice(mismatch: Mismatch) -> str:
    if isinstance(mismatch.got, Container) and isinstance(mismatch.expected, TensorLeaf):
        return " Return the tensor alone."
    if mismatch.got is None and mismatch.path.startswith("gradient of"):
        return " No gradient arrives there: look for detach, .data, torch.no_grad or a tensor made anew."
    if mismatch.got is None and isinstance(mismatch.expected, TensorLeaf):
        return " Is a return missing?"
    return ""


def _kind(leaf: Leaf | Raised) -> str:
    match leaf:
        case TensorLeaf(values):
            return f"a tensor of shape {tuple(values.shape)}"
        case Container("dict", keys):
            return f"a dict with {', '.join(keys) or 'nothing'}"
        case Container(_, keys):
            return f"a list or tuple of {len(keys)}"
        case Foreign(kind):
            return f"a {re.sub(r'^torch[.]nn[.]parameter[.]', '', kind)}"
        case None:
            return "None"
    return f"{type(leaf).__name__} {leaf!r}"[:200]


def _number(leaf: Leaf | Raised) -> str:
    return f"{leaf:.6g}" if isinstance(leaf, float) else f"{leaf!r}"[:200]


def _value(entry: Tensor) -> str:
    value = entry.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _dtype(leaf: TensorLeaf) -> str:
    return str(leaf.values.dtype).removeprefix("torch.")


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"
