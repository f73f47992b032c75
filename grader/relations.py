"""Simple relations between a wrong tensor and the right one: what can be shown when no known mistake fits.

Each relation is tried in turn and holds only when it explains every entry within the tolerance, so a sentence from
here is a fact about the two tensors. It says what is, not why.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from math import prod

import torch
from torch import Tensor

Relation = Callable[[Tensor, Tensor, float, Sequence[str]], str | None]


def relate(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    """The first relation that holds between two float64 tensors of any shapes, as a sentence."""
    if not (expected.isfinite().all() and got.isfinite().all()) or expected.numel() < 2:
        return None
    for relation in RELATIONS if expected.shape == got.shape else RESHAPES:
        sentence = relation(expected, got, allowed, axes)
        if sentence:
            return sentence
    return None


def close(one: Tensor, other: Tensor, allowed: float) -> bool:
    return one.shape == other.shape and bool(((one - other).abs() <= allowed).all())


def _all_zero(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    if not got.any() and expected.any():
        return "Every entry of yours is zero."
    return None


def _scaled(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    norm = float((expected * expected).sum())
    factor = float((expected * got).sum()) / norm if norm else 0.0
    if abs(factor) < 1e-6 or not close(got, factor * expected, allowed * max(1.0, abs(factor))):
        return None
    if abs(factor + 1) < 1e-4:
        return "Everything has the wrong sign."
    size = f"{abs(factor):.4g} times too large" if abs(factor) > 1 else f"{1 / abs(factor):.4g} times too small"
    return f"Everything is {size}{' and has the wrong sign' if factor < 0 else ''}."


def _offset(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    by = float((got - expected).mean())
    if close(got, expected + by, 2 * allowed):
        return f"Everything is too {'large' if by > 0 else 'small'} by {abs(by):.4g}."
    return None


def _flipped(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        if expected.shape[axis] > 1 and close(got, expected.flip(axis), allowed):
            return f"It is right but for the order along {name}, which is reversed."
    return None


def _shifted(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        size = expected.shape[axis]
        for by in (b for b in (1, -1) if size > 2):
            kept, moved = (got.narrow(axis, 1, size - 1), expected.narrow(axis, 0, size - 1))
            if by < 0:
                kept, moved = (got.narrow(axis, 0, size - 1), expected.narrow(axis, 1, size - 1))
            if close(kept, moved, allowed):
                return f"It is right but shifted by one along {name}, towards the {'end' if by > 0 else 'start'}."
    return None


def _permuted_entries(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        size = expected.shape[axis]
        if 2 <= size <= 6 and prod(expected.shape) > size:
            for order in permutations(range(size)):
                if close(got, expected.index_select(axis, torch.tensor(order)), allowed):
                    return f"It is right but for the order along {name}: yours holds {', '.join(map(str, order))}."
    return None


def _rescaled_rows(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        if expected.shape[axis] < 2 or expected.numel() == expected.shape[axis]:
            continue
        sums = expected.sum(axis, keepdim=True)
        factor = got.sum(axis, keepdim=True) / torch.where(sums == 0, torch.ones_like(sums), sums)
        if (sums.abs() > 1e-3).all() and close(got, expected * factor, allowed * 4):
            return f"Along {name} the proportions are right, but each slice is scaled by a factor of its own."
    return None


def _right_part(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    """Right up to a position of one axis, from one position on, or at some positions only."""
    right = (expected - got).abs() <= allowed
    for axis, name in reversed(list(enumerate(axes))):
        others = [i for i in range(expected.ndim) if i != axis]
        along = right.permute(axis, *others).reshape(expected.shape[axis], -1).all(dim=1)
        if along.any() and not along.all():
            return _where(along.tolist(), name)
    return None


def _where(along: list[bool], name: str) -> str:
    good = [i for i, ok in enumerate(along) if ok]
    bad = [i for i, ok in enumerate(along) if not ok]
    if good[-1] < bad[0]:
        return f"It is right up to {name} {good[-1]} and wrong from {name} {bad[0]} on."
    if bad[-1] < good[0]:
        return f"It is right from {name} {good[0]} on and wrong before."
    if len(good) <= len(bad):
        return f"Along {name} only {', '.join(map(str, good))} {'is' if len(good) == 1 else 'are'} right."
    return f"Along {name} only {', '.join(map(str, bad))} {'is' if len(bad) == 1 else 'are'} wrong."


def _swapped(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    if expected.ndim != got.ndim:
        return None
    for one, other in combinations(range(expected.ndim), 2):
        turned = expected.transpose(one, other)
        if turned.shape == got.shape:
            values = " and its values are right" if close(got, turned, allowed) else ""
            return f"Your shape is the expected one with {axes[one]} and {axes[other]} swapped{values}."
    return None


def _squeezed(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    if [n for n in expected.shape if n != 1] == [n for n in got.shape if n != 1]:
        values = "; its values are right" if close(got.reshape(expected.shape), expected, allowed) else ""
        return f"Your shape differs from the expected one only by axes of size 1{values}."
    if expected.numel() == got.numel() and close(got.reshape(expected.shape), expected, allowed):
        return "The values are right and in the right order, but the axes are grouped differently."
    return None


def _missing_axis(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis in _dropped(list(expected.shape), list(got.shape)):
        return f"The axis {axes[axis]} is gone."
    for axis in _dropped(list(got.shape), list(expected.shape)):
        return f"Yours has an axis more: axis {axis} of size {got.shape[axis]}."
    return None


def _dropped(longer: list[int], shorter: list[int]) -> Iterator[int]:
    return (i for i in range(len(longer)) if longer[:i] + longer[i + 1 :] == shorter)


RELATIONS: tuple[Relation, ...] = (
    _all_zero,
    _scaled,
    _offset,
    _flipped,
    _shifted,
    _permuted_entries,
    _rescaled_rows,
    _right_part,
)
RESHAPES: tuple[Relation, ...] = (_swapped, _squeezed, _missing_axis)
