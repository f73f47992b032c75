"""Enough of a wrong outcome to recognise it, not enough to rebuild it.

All that is discrete (structure, dtypes, shapes, texts, integers, where nan and inf stand) goes into a hash. Of each
float leaf three sums with random signs are kept: two outcomes that agree within the tolerance have the same sums up to
its rounding, and one entry that is off shows in each of them.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from .compare import rounding, same_output, scale_of
from .expected import Expected, as_floats
from .outcome import Foreign, Leaf, Outcome, TensorLeaf, to_plain
from .rng import seed_from

SUMS = 3
SPREAD = 4  # rounding errors of n entries, each below a, add up to less than 4·a·sqrt(n) under random signs


@dataclass(frozen=True)
class Fingerprint:
    """Of one outcome. `sums` has SUMS numbers for each float leaf, in the order of their paths."""

    discrete: str
    scale: float
    sums: tuple[float, ...]


def fingerprint(outcome: Outcome) -> Fingerprint:
    """What is kept of an outcome."""
    sums = [number for path, values in _floats(outcome) for number in _sums(path, values)]
    return Fingerprint(_discrete(outcome), scale_of(outcome), tuple(sums))


def recognises(known: Outcome | Fingerprint, outcome: Outcome, expected: Expected) -> bool:
    """Whether an outcome is the known wrong one, up to the rounding errors of both."""
    if isinstance(known, Outcome):
        return same_output(known, outcome, expected)
    if any(isinstance(leaf, Foreign) for leaf in outcome.leaves.values()) or _discrete(outcome) != known.discrete:
        return False
    sums = iter(known.sums)
    for path, values in _floats(outcome):
        truth = rounding(outcome.leaves[path], values, known.scale, expected.truths.get(path))
        allowed = truth.allowed * min(values.numel(), SPREAD * sqrt(values.numel()))
        if not all(abs(next(sums) - number) <= allowed for number in _sums(path, values)):
            return False
    return True


def _floats(outcome: Outcome) -> list[tuple[str, Tensor]]:
    found = ((path, as_floats(leaf)) for path, leaf in sorted(outcome.leaves.items()))
    return [(path, values) for path, values in found if values is not None]


def _sums(path: str, values: Tensor) -> list[float]:
    finite = torch.where(values.isfinite(), values, 0.0).reshape(-1).numpy()
    return [float(signs @ finite) for signs in _signs(path, finite.size)]


@cache
def _signs(path: str, count: int) -> list["np.ndarray[tuple[int], np.dtype[np.float64]]"]:
    """SUMS vectors of ±1, the same on every machine."""
    raw = np.random.PCG64(seed_from("fingerprint", path)).random_raw(count)
    return [(raw >> np.uint64(bit) & np.uint64(1)).astype(np.float64) * 2 - 1 for bit in range(SUMS)]


def _discrete(outcome: Outcome) -> str:
    """A hash of all that has to be equal, not only close."""
    facts: list[object] = [outcome.ended]
    if outcome.raised:
        facts += [outcome.raised.bases[:1], outcome.raised.message]
    facts += [[path, *_facts(leaf)] for path, leaf in sorted(outcome.leaves.items())]
    return _hash(json.dumps(facts).encode())


def _facts(leaf: Leaf) -> list[object]:
    floats = as_floats(leaf)
    pattern = _pattern(floats) if floats is not None else ""
    if isinstance(leaf, TensorLeaf):
        held = pattern or _hash(leaf.values.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return [str(leaf.values.dtype), list(leaf.values.shape), leaf.device, held]
    if isinstance(leaf, float):
        return ["float", pattern]
    kind, value = to_plain(leaf)
    return [kind, sorted(value) if kind == "dict" else value]


def _pattern(values: Tensor) -> str:
    codes = values.isnan().to(torch.uint8) + 2 * (values == torch.inf) + 3 * (values == -torch.inf)
    return _hash(codes.to(torch.uint8).contiguous().numpy().tobytes())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]
