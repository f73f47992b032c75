"""Simple relations between a wrong tensor and the right one: what can be shown when no known mistake fits.

Each relation is tried in turn and holds only when it explains every entry within the tolerance, so a sentence from
here is a fact about the two tensors. It says what is, not why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import floor, log10, prod

import torch
from torch import Tensor

COMMON = (2, 3, 4)  # a factor of these says nothing of a size that is as large
SAME_NUMBER = 1e-3  # a factor and a size are one number if they differ by no more than this share
NO_SIZES: Mapping[str, int] = {}


@dataclass(frozen=True)
class Factor:
    """Something is too large or too small: how many times the right one yours is, and the sentence around it."""

    value: float
    says: str

    def told(self, sizes: Mapping[str, int]) -> str:
        """The sentence, and which sizes or square roots of sizes are that number, unless it is one that often comes."""
        up = max(self.value, 1 / self.value)
        digits = next((d for d in range(4, 17) if f"{up:.{d}g}" != "1"), 17)
        sentence = self.says.format(f"{up:.{digits}g} times too {'large' if self.value > 1 else 'small'}")
        roots = {f"sqrt({name})": size**0.5 for name, size in sizes.items()}
        same = [name for name, size in {**sizes, **roots}.items() if size > 1 and abs(up / size - 1) < SAME_NUMBER]
        if not same or up in COMMON:
            return sentence
        return f"{sentence} {' and '.join(same)} {'is' if len(same) == 1 else 'are'} {up:.{digits}g} here."


Relation = Callable[[Tensor, Tensor, float, Sequence[str]], str | Factor | None]


def relate(
    expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str], sizes: Mapping[str, int] = NO_SIZES
) -> str | None:
    """The first relation that holds between two float64 tensors of any shapes, as a sentence.

    Args:
        sizes: what is known by name of the inputs, to say which of them a factor is.
    """
    if not (expected.isfinite().all() and got.isfinite().all()) or expected.numel() < 2:
        return None
    for relation in RELATIONS if expected.shape == got.shape else RESHAPES:
        found = relation(expected, got, allowed, axes)
        if found:
            return found if isinstance(found, str) else found.told(sizes)
    return None


def relate_shift(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    """Right but for one step along an axis: also tried alone on bool masks, where little else tells."""
    for axis, name in enumerate(axes):
        size = expected.shape[axis]
        if size < 3 or close(expected.narrow(axis, 1, size - 1), expected.narrow(axis, 0, size - 1), allowed):
            continue  # where all is the same a shift shows nothing
        for by in (1, -1):
            kept, moved = (got.narrow(axis, 1, size - 1), expected.narrow(axis, 0, size - 1))
            if by < 0:
                kept, moved = (got.narrow(axis, 0, size - 1), expected.narrow(axis, 1, size - 1))
            if close(kept, moved, allowed):
                return f"It is right but shifted by one along {name}, towards the {'end' if by > 0 else 'start'}."
    return None


def close(one: Tensor, other: Tensor, allowed: float) -> bool:
    return one.shape == other.shape and bool(((one - other).abs() <= allowed).all())


def _all_zero(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    if not got.any() and expected.any():
        return "Every entry of yours is zero."
    return None


def _nearly(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    """Right but for the last digits: a narrower dtype on the way, or a small constant that does not belong there."""
    off, scale = float((got - expected).abs().max()), float(expected.abs().max())
    if not 0 < off <= 1e-4 * scale:
        return None
    digits = floor(log10(scale / off))
    return f"It is right to about {digits} digits: is a narrower dtype used on the way, or a small constant added?"


def _one_value(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    values = got[(expected - got).abs() > allowed]
    if len(values) > 1 and close(values, values[:1].expand_as(values), allowed):
        return f"Every wrong entry of yours is {float(values[0]):.4g}."
    return None


def _scaled(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | Factor | None:
    norm = float((expected * expected).sum())
    factor = float((expected * got).sum()) / norm if norm else 0.0
    if abs(factor) < 1e-6 or not close(got, factor * expected, allowed * abs(factor)):
        return None
    if abs(factor + 1) < 1e-4:
        return "Everything has the wrong sign."
    return Factor(abs(factor), f"Everything is {{}}{' and has the wrong sign' if factor < 0 else ''}.")


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


def _permuted_entries(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        size = expected.shape[axis]
        if 2 <= size <= 6 and prod(expected.shape) > size:
            for order in permutations(range(size)):
                if close(got, expected.index_select(axis, torch.tensor(order)), allowed):
                    return f"It is right but for the order along {name}: yours holds {', '.join(map(str, order))}."
    return None


def _rearranged(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    if close(expected.flatten().sort().values, got.flatten().sort().values, allowed):
        return "Yours holds exactly the right numbers, but at other places."
    return None


def _tempered(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> Factor | None:
    """Both are softmaxes along an axis, and the scores of one are a multiple of the other's."""
    for axis, name in enumerate(axes):
        if expected.shape[axis] > 2 and (expected > 0).all() and (got > 0).all() and _sums(got, axis) == (1.0, 1.0):
            right, yours = (_centred(values.log(), axis) for values in (expected, got))
            factor = float((right * yours).sum() / (right * right).sum())
            told = factor > 1e-3 and close(yours, factor * right, 1e-4) and not close(yours, right, 1e-4)
            if _sums(expected, axis) == (1.0, 1.0) and told:
                return Factor(factor, f"It is as if the scores were {{}} before the softmax along {name}.")
    return None


def _not_one(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in reversed(list(enumerate(axes))):
        if expected.shape[axis] > 1 and _sums(expected, axis) == (1.0, 1.0) != _sums(got, axis):
            low, high = _sums(got, axis)
            found = f"{low:g}" if low == high else f"{low:g} up to {high:g}"
            return f"Along {name} yours sums to {found}, where it should be 1."
    return None


def _rescaled_rows(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    for axis, name in enumerate(axes):
        if expected.shape[axis] < 3 or expected.numel() == expected.shape[axis]:
            continue
        norm = (expected * expected).sum(axis, keepdim=True)
        factor = (expected * got).sum(axis, keepdim=True) / norm.clamp_min(1e-30)
        if (norm > 1e-6).all() and (factor.abs() > 1e-3).all() and close(got, expected * factor, allowed * 4):
            return f"Along {name} the proportions are right, but each slice is scaled by a factor of its own."
    return None


def _right_part(expected: Tensor, got: Tensor, allowed: float, axes: Sequence[str]) -> str | None:
    """Wrong at some positions of an axis only; the axis with the fewest is the one to name."""
    wrong = (expected - got).abs() > allowed
    found = []
    for axis, name in enumerate(axes):
        others = [i for i in range(expected.ndim) if i != axis]
        bad = wrong.permute(axis, *others).reshape(expected.shape[axis], -1).any(dim=1)
        told = bad | expected.permute(axis, *others).reshape(expected.shape[axis], -1).any(dim=1)
        if not bad.all() and (told & ~bad).any():  # slices of zeros are right by default and tell nothing
            found.append((int(bad.sum()) / len(bad), -axis, _where(bad.tolist(), name)))
    return min(found)[2] if found else None


def _where(bad: list[bool], name: str) -> str:
    at = f"index {{}} of {name}" if name.startswith("axis ") else f"{name} {{}}"
    right, wrong = [i for i, off in enumerate(bad) if not off], [i for i, off in enumerate(bad) if off]
    if len(wrong) == 1:
        return f"Only {at.format(wrong[0])} is wrong."
    ordered = name != "batch" and not name.startswith("axis ")
    if ordered and right[-1] < wrong[0]:
        return f"It is right up to {at.format(right[-1])} and wrong from there on."
    if ordered and wrong[-1] < right[0]:
        return f"It is right from {at.format(right[0])} on and wrong before."
    return f"It is wrong at {at.format(', '.join(map(str, wrong)))} only."


def _sums(values: Tensor, axis: int) -> tuple[float, float]:
    """The smallest and the largest sum along an axis, to three digits."""
    sums = values.sum(axis)
    return round(float(sums.min()), 3), round(float(sums.max()), 3)


def _centred(values: Tensor, axis: int) -> Tensor:
    return values - values.mean(axis, keepdim=True)


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
        return f"The axis {axes[axis].removeprefix('axis ')} is gone."
    for axis in _dropped(list(got.shape), list(expected.shape)):
        return f"Yours has an axis more: axis {axis} of size {got.shape[axis]}."
    return None


def _dropped(longer: list[int], shorter: list[int]) -> Iterator[int]:
    return (i for i in range(len(longer)) if longer[:i] + longer[i + 1 :] == shorter)


RELATIONS: tuple[Relation, ...] = (
    _all_zero,
    _nearly,
    _scaled,
    _offset,
    _flipped,
    relate_shift,
    _permuted_entries,
    _rearranged,
    _tempered,
    _one_value,
    _not_one,
    _rescaled_rows,
    _right_part,
)
RESHAPES: tuple[Relation, ...] = (_swapped, _squeezed, _missing_axis)
