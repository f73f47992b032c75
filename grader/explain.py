"""A mismatch in words: what a good teaching assistant would say, from the facts alone."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .axes import Signature, axis_names
from .compare import ONE_DEVICE, Mismatch
from .device import PLACES, SECOND
from .expected import as_floats
from .listing import shown, tell
from .outcome import Container, Foreign, Leaf, Raised, TensorLeaf
from .record import Picture
from .relations import NO_SIZES, relate, relate_shift
from .text import one_line

PICTURE_SIDE = 16
MAX_KEYS, MAX_KEY = 20, 40  # of a dict, and the characters of one
AFTER = " after the call"
IN_PLACE = "Something is changed in place (+=, a method ending in _, x[...] = ...): make a new tensor instead."
LEFT_BEHIND = (
    "One tensor is where the inputs are, another was left on the CPU. Make new tensors with device=x.device, and "
    "register with the module (nn.Parameter, register_buffer) what has to move with it."
)
NOT_HERE = (
    "The checks run in a sandbox: it starts no program, opens no connection, changes no file's mode or owner, and "
    "writes nowhere but below the paths that a check hands over."
)
TO_NUMPY = "numpy reads the CPU's memory only: stay with torch's functions, which work where the tensor is."
DRAWN_ELSEWHERE = "A generator draws on its own device: make what is drawn there, device=generator.device."
BY_HAND = 'A device is named by hand (.cuda(), device="cuda") that may not be there: use that of the inputs, x.device.'
TOLD_OF = {  # words of torch's messages → what they mean for a student
    "used in an in-place operation": IN_PLACE,
    "modified by an inplace operation": IN_PLACE,
    ONE_DEVICE: LEFT_BEHIND,
    "on the same device as the indexed tensor": LEFT_BEHIND,
    "device type tensor to numpy": TO_NUMPY,
    "device type for generator": DRAWN_ELSEWHERE,
    "not compiled with CUDA": BY_HAND,
    "no NVIDIA driver": BY_HAND,
    "No CUDA GPUs": BY_HAND,
    "Operation not permitted": NOT_HERE,
    "Permission denied": NOT_HERE,
}
ENDED_BY = {  # exceptions of what has no place in a check
    "BdbQuit": "Nobody can type here: breakpoint() ends the check. Take it out, or use grader check MODULE --pdb.",
    "EOFError": "Nobody can type here: input() finds nothing. Take it out.",
}
PLACES_IN_WORDS = {SECOND: "another device (a stand-in for a GPU)"}


def explain(mismatch: Mismatch, signature: Signature, related: bool = True, sizes: Mapping[str, int] = NO_SIZES) -> str:
    """One to four lines: what was expected, what came, where, and with `related` the relation that holds if any.

    Args:
        sizes: the sizes of the inputs that have a name.
    """
    if mismatch.sides:
        path, *lists = mismatch.sides
        return f"{_name(path)}{tell(*lists)}."
    name = _name(mismatch.path)
    match mismatch.kind:
        case "ended":
            why = str(mismatch.got)
            return f"{why[:1].upper()}{why[1:]}."
        case "raised" | "exception" | "accepted":
            return _exception(mismatch)
        case "structure" | "type":
            return f"{name}{_difference(mismatch.expected, mismatch.got)}.{_advice(mismatch)}"
    one, other = mismatch.expected, mismatch.got
    if not (isinstance(one, TensorLeaf) and isinstance(other, TensorLeaf)):
        quoted = not (_is_plain(one) and _is_plain(other))
        return f"{name}expected {_number(one, quoted)}, got {_number(other, quoted)}."
    axes = axis_names(signature, mismatch.path, one.values.ndim)
    match mismatch.kind:
        case "shape":
            text = f"{name}expected shape {shape(one.values, axes)}, got {tuple(other.values.shape)}."
        case "dtype":
            return f"{name}expected dtype {_dtype(one)}, got {_dtype(other)}."
        case "device":
            advice = "Make new tensors where the input is: device=x.device."
            right, yours = (PLACES_IN_WORDS.get(leaf.device, leaf.device) for leaf in (one, other))
            return f"{name}expected a tensor on {right}, got one on {yours}. {advice}"
        case _:
            text = name + _entries(mismatch, one.values, other.values, axes)
    relation = _relation(one, other, mismatch.allowed, axes, sizes) if related else None
    return "\n".join(filter(None, [text, _changed(mismatch.path), relation]))


def _changed(path: str) -> str:
    """What to say of an input that is looked at once more after the call."""
    if not path.endswith(AFTER):
        return ""
    return f"Your code changes its input {path.removesuffix(AFTER)} in place (+=, a method ending in _, x[...] = ...)."


def decimal(value: float, digits: int = 2) -> str:
    """A number of a few digits as people write it, 0.00001; only the smallest keep their exponent."""
    rounded = float(f"{value:.{digits}g}")
    if rounded and not 1e-9 <= abs(rounded) < 1e9:
        return f"{rounded:g}"
    return f"{rounded:.12f}".rstrip("0").rstrip(".")


def _name(path: str) -> str:
    name = re.sub(r"^\[(\d+)\]", r"result \1", path)
    return f"{name}: " if name else ""


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
    at = where[-2:] if one.values.ndim > 1 else [0, *where]
    corner = [max(0, i - PICTURE_SIDE + 1) for i in at]
    return Picture(names, title, _grid(one.values, lead, corner), _grid(other.values, lead, corner))


def _grid(values: Tensor, lead: list[int], corner: list[int]) -> list[list[float | str]]:
    for index in lead:
        if values.ndim > 2:
            values = values[min(index, values.shape[0] - 1)]
    while values.ndim > 2:
        values = values[0]
    top, left = corner
    plane = values.reshape(-1, values.shape[-1] if values.ndim else 1)[
        top : top + PICTURE_SIDE, left : left + PICTURE_SIDE
    ].double()
    return [[float(f"{x:.6g}") if abs(x) < float("inf") else str(x) for x in row] for row in plane.tolist()]


def _entries(mismatch: Mismatch, one: Tensor, other: Tensor, axes: list[str]) -> str:
    wrong = mismatch.wrong
    assert wrong is not None
    count, total = int(wrong.sum()), wrong.numel()
    first = tuple(wrong.nonzero()[0].tolist())
    places = [f"{i}" if name.startswith("axis ") else f"{name} {i}" for name, i in zip(axes, first, strict=True)]
    at = f" at [{', '.join(places)}]" if first else ""
    if mismatch.kind == "finite":
        nan, inf = int(other.isnan().sum()), int(other.isinf().sum())
        what = " and ".join(f"{n} {word}" for n, word in ((nan, "NaN"), (inf, "inf")) if n) or "finite numbers"
        return f"{what} among {total} entries; the first{at}: expected {one[first]:.4g}, got {other[first]:.4g}."
    text = f"all {total}" if count == total > 1 else f"{count} of {total}"
    right, yours = _two(one[first].item(), other[first].item())
    line = f"{text} entries differ; the first{at}: expected {right}, got {yours}"
    if mismatch.allowed:
        off = float((other.double() - one.double()).abs()[wrong].max())
        line += f" (up to {decimal(off)} off where {decimal(mismatch.allowed, 1)} is allowed)"
    return line + "."


def _relation(
    one: TensorLeaf, other: TensorLeaf, allowed: float, axes: list[str], sizes: Mapping[str, int]
) -> str | None:
    named = {name: n for name, n in zip(axes, one.values.shape, strict=True) if not name.startswith("axis ")}
    a, b = as_floats(one), as_floats(other)
    if a is not None and b is not None:
        scale = float(a[a.isfinite()].abs().max()) if a.isfinite().any() else 0.0
        return relate(a, b, max(allowed, 1e-5 * scale), axes, {**named, **sizes})
    if one.values.dtype == other.values.dtype == torch.bool and one.values.shape == other.values.shape:
        return _bools(one.values, other.values, axes) or relate(one.values.double(), other.values.double(), 0.0, axes)
    return relate(one.values.double(), other.values.double(), 0.0, axes)


def _bools(one: Tensor, other: Tensor, axes: list[str]) -> str | None:
    if torch.equal(one, ~other):
        return "True and False are exchanged everywhere."
    if one.ndim >= 2 and torch.equal(one, other.mT):
        return f"{axes[-2]} and {axes[-1]} are exchanged."
    if (one <= other).all():
        return f"Yours is True at {_places(int((one < other).sum()))} that should be False; all others are right."
    if (one >= other).all():
        return f"Yours is False at {_places(int((one > other).sum()))} that should be True; all others are right."
    return relate_shift(one.double(), other.double(), 0.0, axes)


def _places(count: int) -> str:
    return f"{count} place{'s' * (count != 1)}"


def _exception(mismatch: Mismatch) -> str:
    expected, got = mismatch.expected, mismatch.got
    if isinstance(expected, Raised):
        wanted = f"Expected {_a(expected.bases[0])} that names the argument, such as: {expected.message}"
        if not isinstance(got, Raised):
            return f"{wanted}\nYours accepted it and returned {_kind(got)}."
        names = ", which names no argument" if expected.bases[0] in got.bases else ""
        return f"{wanted}\nYours raises {got.kind}{f': {got.message}' if got.message else ' without a message'}{names}"
    assert isinstance(got, Raised)
    if got.kind == "MissingTask":
        return f"{got.message} in your file."
    told = (meaning for words, meaning in TOLD_OF.items() if words in got.message)
    meaning = next(told, ENDED_BY.get(got.kind, ""))
    if meaning == LEFT_BEHIND and f"{PLACES[SECOND]}:0" in got.message:
        meaning += f" ({PLACES[SECOND]} is a stand-in for a GPU here.)"
    return "\n".join(filter(None, [f"{got.kind}: {got.message}" if got.message else got.kind, meaning, got.trace]))


def _difference(expected: Leaf | Raised, got: Leaf | Raised) -> str:
    """Two values of different kinds; of two dicts only the keys that differ."""
    if isinstance(expected, Container) and isinstance(got, Container) and expected.kind == got.kind == "dict":
        missing = [key for key in expected.keys if key not in got.keys]
        extra = [key for key in got.keys if key not in expected.keys]
        parts = [f"{word}: {_some(keys)}" for word, keys in (("missing", missing), ("not expected", extra)) if keys]
        return "; ".join(parts)
    return f"expected {_kind(expected)}, got {_kind(got)}"


def _advice(mismatch: Mismatch) -> str:
    if isinstance(mismatch.got, Container) and isinstance(mismatch.expected, TensorLeaf):
        return " Return the tensor alone."
    if isinstance(mismatch.got, Foreign) and mismatch.got.kind.startswith("numpy."):
        if isinstance(mismatch.expected, int | float):
            return " Make it a plain Python number: float(x), int(x) or x.item()."
        return " Stay with torch from end to end: numpy knows no gradients, and a caller expects torch's types."
    if mismatch.path.rpartition(".")[2] == "parameters" and _lacks_keys(mismatch):
        return " What is to be learnt is an nn.Parameter (or a module in self, or in an nn.ModuleList)."
    if mismatch.got is None and mismatch.path.startswith("gradient of"):
        return " No gradient arrives there: is it detached (.data, torch.no_grad, a tensor made anew), or never used?"
    if mismatch.got is None and isinstance(mismatch.expected, TensorLeaf):
        return " Is a return missing?"
    return ""


def _lacks_keys(mismatch: Mismatch) -> bool:
    expected, got = mismatch.expected, mismatch.got
    return isinstance(expected, Container) and not set(expected.keys) <= set(getattr(got, "keys", ()))


def _kind(leaf: Leaf | Raised) -> str:
    match leaf:
        case TensorLeaf(values):
            return f"a tensor of shape {tuple(values.shape)}"
        case Container("dict", keys):
            return f"a dict with {_some(keys) or 'nothing'}"
        case Container(_, keys):
            return f"a list or tuple of {len(keys)}"
        case Foreign(kind):
            return _a(kind)
        case None:
            return "None"
    return f"{type(leaf).__name__} {shown(leaf)}"[:200]


def _some(keys: Sequence[str]) -> str:
    """The first keys of a dict, and how many more there are."""
    first = [one_line(key, MAX_KEY) for key in keys[:MAX_KEYS]]
    more = len(keys) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def _number(leaf: Leaf | Raised, quoted: bool) -> str:
    if isinstance(leaf, float):
        return f"{leaf:.6g}"
    return leaf[:200] if isinstance(leaf, str) and not quoted else shown(leaf)[:200]


def _is_plain(leaf: Leaf | Raised) -> bool:
    """Whether a text can do without quotes; white space in front of it or behind it cannot be seen then."""
    return not isinstance(leaf, str) or (leaf.isprintable() and leaf == leaf.strip() != "")


def _two(right: object, yours: object) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they differ."""
    if not (isinstance(right, float) and isinstance(yours, float)):
        return str(right), str(yours)
    digits = next((d for d in range(4, 17) if f"{right:.{d}g}" != f"{yours:.{d}g}"), 17)
    return f"{right:.{digits}g}", f"{yours:.{digits}g}"


def _dtype(leaf: TensorLeaf) -> str:
    return str(leaf.values.dtype).removeprefix("torch.")


def _a(name: str) -> str:
    return f"an {name}" if name[:1] in tuple("AEIOUaeiou") else f"a {name}"
