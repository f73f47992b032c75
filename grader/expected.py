"""What the reference gives for each row, and how far rounding alone may carry a right answer from it.

The truth is the reference in float64 on the same inputs. Its tolerance, per tensor, is 4·est + 4·u·scale with u half
the epsilon of the dtype, scale the largest true magnitude, and est the larger of the reference's own error in the
native dtype and of what one-ulp moves of the inputs change in float64 (one run's own error can be a lucky draw).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .collecting import RowId
from .errors import GraderFault
from .outcome import Leaf, Outcome, Raised, TensorLeaf
from .rng import seed_from
from .worker import Job, Run
from .workers import run_job
from .zygotes import Zygote

MOVED_DRAWS = 3
NATIVE = (False, 0)
MODES = [NATIVE, (True, 0), *((True, draw) for draw in range(1, MOVED_DRAWS + 1))]
REDRAWS = 20
REFUSALS = ("ValueError", "TypeError")  # what a specification may ask for; anything else is a fault of ours


@dataclass(frozen=True)
class Truth:
    """The right values of one float leaf, in float64, and what may be off."""

    values: Tensor
    estimate: float  # of the rounding error, absolute
    floor: float  # u·scale, what no implementation gets below

    @property
    def allowed(self) -> float:
        return 4 * self.estimate + 4 * self.floor


@dataclass(frozen=True)
class Expected:
    """The reference's outcome of one row, as a judge needs it."""

    row: RowId
    seed: int
    native: Outcome
    truths: dict[str, Truth]


def expect(zygote: Zygote, reference: Job, rows: Sequence[RowId], seed: int) -> dict[str, Expected]:
    """Run the reference on every row. A discrete value that rounding could flip is drawn anew.

    Raises:
        GraderFault: the reference does not import, crashes, or stays on the edge of a discrete decision.
    """
    expected: dict[str, Expected] = {}
    waiting = list(rows)
    for attempt in range(REDRAWS):
        runs = [Run(row.name, row.task, seed_from(seed, row.name, attempt), MODES) for row in waiting]
        results = run_job(zygote, replace(reference, runs=runs))
        if results.loaded.ended != "values":
            raise GraderFault(f"the reference does not import: {results.loaded.raised or results.loaded.why}")
        unstable = []
        for row, run, outcomes in zip(waiting, runs, results.outcomes, strict=True):
            found = _expected(row, run.seed, outcomes)
            if found is None:
                unstable.append(row)
            else:
                expected[row.name] = found
        waiting = unstable
        if not waiting:
            return {row.name: expected[row.name] for row in rows}
    raise GraderFault(f"{waiting[0].name}: rounding flips a discrete value in {REDRAWS} draws; give it other inputs")


def _expected(row: RowId, seed: int, outcomes: list[Outcome]) -> Expected | None:
    for outcome in outcomes:
        if outcome.ended in ("timeout", "crashed"):
            raise GraderFault(f"{row.name}: the reference itself did not give a result: {outcome.why}")
    native, wide, *moved = outcomes
    if native.raised and not _refuses(native.raised):
        raise GraderFault(f"{row.name}: the reference itself raises {native.raised.kind}: {native.raised.message}")
    if native.ended != wide.ended or native.leaves.keys() != wide.leaves.keys():
        return None
    truths = {}
    for path, leaf in native.leaves.items():
        values = as_floats(leaf)
        if values is None:
            if not _same_discrete(leaf, wide.leaves[path]):
                return None
            continue
        truth = as_floats(wide.leaves[path])
        others = [as_floats(outcome.leaves.get(path)) for outcome in moved]
        if truth is None or truth.shape != values.shape:
            raise GraderFault(f"{row.name}: {path or 'the result'} has another shape in float64 than in its own dtype")
        estimate = max([_error(values, truth), *(_error(other, truth) for other in others if other is not None)])
        truths[path] = Truth(truth, estimate, half_epsilon(leaf) * _scale(truth))
    return Expected(row, seed, native, truths)


def _refuses(raised: Raised) -> bool:
    """Whether an exception is one that the specification asks for: raised by the reference's own code, on purpose."""
    return raised.bases[0] in REFUSALS and raised.trace.rpartition("\n")[2].strip().startswith("raise ")


def as_floats(leaf: Leaf) -> Tensor | None:
    """A float leaf as a float64 tensor; None for anything discrete."""
    if isinstance(leaf, TensorLeaf):
        return leaf.floats
    if isinstance(leaf, float):
        return torch.tensor(leaf, dtype=torch.float64)
    return None


def half_epsilon(leaf: Leaf) -> float:
    """u of the leaf's dtype; a Python float usually comes from a float32 tensor."""
    dtype = leaf.values.dtype if isinstance(leaf, TensorLeaf) else torch.float32
    return float(torch.finfo(dtype).eps) / 2


def _error(values: Tensor, truth: Tensor) -> float:
    both = values.isfinite() & truth.isfinite()
    return float((values - truth)[both].abs().max()) if both.any() else 0.0


def _scale(truth: Tensor) -> float:
    finite = truth[truth.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _same_discrete(one: Leaf, other: Leaf) -> bool:
    if isinstance(one, TensorLeaf) and isinstance(other, TensorLeaf):
        return torch.equal(one.values, other.values)
    return type(one) is type(other) and one == other
