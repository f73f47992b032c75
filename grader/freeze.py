"""Freezing what the reference and its mutants give, so that a kit can compare and diagnose without them.

Only public rows are frozen. Of a mutant there are fingerprints on the rows that it fails, its name and its words;
neither its edits nor its values.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from .course import Course, Module
from .expected import Expected, Truth
from .fingerprint import SUMS, Fingerprint, fingerprint
from .frozen import FORMAT, digest, sealed, sha256
from .live import Live, batches, open_live
from .mutants import Mutant
from .outcome import Leaf, Outcome, TensorLeaf, to_plain
from .session import Session

SEEDS = (0, 1, 2)
Said = dict[str, Any]


@dataclass
class _Sums:
    """The rows of sums of all fingerprints of a seed; one that comes twice is kept once."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    _places: dict[Fingerprint, int] = field(default_factory=dict)

    def put(self, found: Fingerprint) -> list[Any]:
        leaves = [found.sums[i : i + SUMS] for i in range(0, len(found.sums), SUMS)]
        if found not in self._places:
            self._places[found] = len(self.rows)
            self.rows += leaves
        return [found.discrete, found.scale, self._places[found], len(leaves)]

    def tensor(self) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.float64).reshape(len(self.rows), SUMS)


def freeze(session: Session, seeds: Sequence[int] = SEEDS) -> tuple[bytes, bytes]:
    """The tensors and the JSON of a module, for a session that holds the reference."""
    rows = [row for row in session.rows if not row.hidden]
    tensors: dict[str, Tensor] = {}
    of_seed = {}
    for seed in seeds:
        live = open_live(session.jobs, session.live.trusted, rows, seed, session.timings)
        live = replace(live, mutants=session.mutants)
        of_seed[str(seed)] = _seed(live, str(seed), tensors)
    payload = save(tensors)
    body = {
        "format": FORMAT,
        "module": session.module.name,
        "tensors": sha256(payload),
        "checks": _checks(session.course, session.module),
        "signatures": {task: asdict(signature) for task, signature in session.signatures.items()},
        "mutants": [_words(mutant) for mutant in session.mutants],
        "seeds": of_seed,
    }
    text = json.dumps({**body, "digest": digest(body)}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return payload, text.encode() + b"\n"


def _checks(course: Course, module: Module) -> dict[str, str]:
    files: list[Path] = course.check_files(module.name)
    return {file.name: sha256(file.read_bytes()) for file in files}


def _words(mutant: Mutant) -> Said:
    plain = {name: getattr(mutant, name) for name in ("name", "task", "symbol", "says")}
    return {**plain, "hints": sealed(mutant.hints, mutant.name)}


def _seed(live: Live, seed: str, tensors: dict[str, Tensor]) -> Said:
    rows = {
        name: _row(expected, f"{seed}/{number}", tensors)
        for number, (name, expected) in enumerate(live.expected.items())
    }
    sums = _Sums()
    in_file = {name: _prints(found, sums) for name, found in _whole(live).items()}
    in_task = {
        known.mutant.name: _prints({row: known.alone[row] for row in known.fails}, sums)
        for task in live.jobs.module.tasks
        for known in live.known(task)
    }
    tensors[f"{seed}/sums"] = sums.tensor()
    return {"rows": rows, "sums": f"{seed}/sums", "in_task": in_task, "in_file": in_file}


def _prints(outcomes: Mapping[str, Outcome], sums: _Sums) -> Said:
    return {row: sums.put(fingerprint(outcome)) for row, outcome in sorted(outcomes.items())}


def _whole(live: Live) -> dict[str, dict[str, Outcome]]:
    """Mutant → its wrong outcomes as a whole file."""
    found = {}
    for batch in batches(live.mutants):
        for mutant, outcomes in zip(batch, live.outcomes(batch, live.rows), strict=True):
            found[mutant.name] = {row: outcomes[row] for row in live.failed(outcomes)}
    return found


def _row(expected: Expected, key: str, tensors: dict[str, Tensor]) -> Said:
    native = expected.native
    leaves = [
        [path, *_leaf(leaf, expected.truths.get(path), f"{key}/{number}", tensors)]
        for number, (path, leaf) in enumerate(native.leaves.items())
    ]
    raised = {**asdict(native.raised), "trace": ""} if native.raised else None  # the trace quotes the reference
    return {"seed": expected.seed, "ended": native.ended, "leaves": leaves, "raised": raised}


def _leaf(leaf: Leaf, truth: Truth | None, name: str, tensors: dict[str, Tensor]) -> tuple[str, Any]:
    """Kind and value of a leaf for JSON; what is a tensor in it goes into `tensors` under `name`."""
    if isinstance(leaf, TensorLeaf) and truth is not None:
        tensors[name] = truth.values.contiguous()
        dtype = leaf.values.dtype
        if not _same_pattern(leaf.values.double(), truth.values.to(dtype).double()):
            tensors[f"{name}/native"] = leaf.values.contiguous()
        return "floats", [name, str(dtype).removeprefix("torch."), leaf.device, truth.estimate, truth.floor]
    if isinstance(leaf, TensorLeaf):
        tensors[name] = leaf.values.contiguous()
        return "tensor", [name, leaf.device]
    if isinstance(leaf, float) and truth is not None:
        return "number", [repr(leaf), repr(truth.values.item()), truth.estimate, truth.floor]
    return to_plain(leaf)


def _same_pattern(one: Tensor, other: Tensor) -> bool:
    """Whether nan and inf stand in the same places."""
    plain = [torch.where(values.isfinite(), 0.0, values) for values in (one, other)]
    return torch.equal(plain[0].nan_to_num(nan=1.0), plain[1].nan_to_num(nan=1.0))
