"""The source of truth of a kit: what release froze of the reference and its mutants, read and never run.

tests/expected/MODULE.safetensors holds the tensors, MODULE.json beside it everything else, for a few seeds. The JSON
carries a hash of itself, of the tensors and of the check files that they belong to.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from .axes import Signature
from .collecting import RowId
from .course import Course, Module
from .device import CPU, PLACES, SECOND, TF32, TF32_EPSILON, is_gpu
from .errors import BadRequest
from .expected import Expected, Truth, half_epsilon
from .fingerprint import SUMS, Fingerprint
from .mutants import Mutant
from .outcome import Leaf, Outcome, Raised, TensorLeaf, from_plain
from .source import Known

FORMAT = 1
GPU_ALLOWANCE = 4  # times the error that the reference had on a CPU: a GPU adds up in another order
AGAIN = "Unpack the kit again, or update it: README.md says how."


@dataclass(frozen=True)
class Frozen:
    """A source whose known mistakes are fingerprints on the rows that they fail."""

    expected: dict[str, Expected]
    signatures: dict[str, Signature]
    mutants: list[Mutant]
    in_task: dict[str, dict[str, Fingerprint]]  # mutant → row → with given in place of the other tasks
    in_file: dict[str, dict[str, Fingerprint]]  # mutant → row → as a whole file

    def known(self, task: str) -> list[Known[Fingerprint]]:
        """The known mistakes of one task."""
        found = [(mutant, self.in_task[mutant.name]) for mutant in self.mutants if mutant.task == task]
        return [Known(mutant, prints, frozenset(prints)) for mutant, prints in found]

    def whole(self, mutant: Mutant) -> Mapping[str, Fingerprint]:
        """What comes of a mutant as a whole file, on the rows of the module that it fails."""
        return self.in_file[mutant.name]


def digest(body: Mapping[str, Any]) -> str:
    """The hash that a frozen JSON carries of all its other entries."""
    rest = {key: value for key, value in body.items() if key != "digest"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(texts: list[str], key: str) -> str:
    """Hints that nobody reads by accident: they are nearly code. Whoever has the grader can open them."""
    return base64.b85encode(_masked(zlib.compress(json.dumps(texts).encode(), 9), key)).decode()


def unsealed(text: str, key: str) -> list[str]:
    """What was sealed."""
    texts: list[str] = json.loads(zlib.decompress(_masked(base64.b85decode(text), key)))
    return texts


def _masked(data: bytes, key: str) -> bytes:
    mask = hashlib.shake_256(key.encode()).digest(len(data))
    return bytes(one ^ other for one, other in zip(data, mask, strict=True))


def read_frozen(course: Course, module: Module, rows: Sequence[RowId], seed: int, device: str = CPU) -> Frozen:
    """The frozen truth of a module for one of its seeds.

    It was computed on a CPU. For another device the tolerance is wider, and the device of a result is compared only
    where it was seen to follow that of the inputs.

    Raises:
        BadRequest: a file is missing, damaged or of another version, the check files are not those it was made with,
            or the seed is not one of those that were frozen.
    """
    path = course.frozen_path(module.name)
    body, payload = _read(path)
    for file in course.check_files(module.name):
        if body["checks"].get(file.name) != sha256(file.read_bytes()):
            raise BadRequest(f"{file} is not the file that {path.name} was made with; was it edited? {AGAIN}")
    if str(seed) not in body["seeds"]:
        raise BadRequest(f"--seed {seed}: this kit holds the answers for the seeds {', '.join(body['seeds'])} only.")
    frozen = _frozen(body, body["seeds"][str(seed)], load(payload), rows)
    if device == CPU:
        return frozen
    return replace(frozen, expected={name: _elsewhere(one, device) for name, one in frozen.expected.items()})


def _elsewhere(expected: Expected, device: str) -> Expected:
    place = device if device == SECOND else PLACES[device]
    leaves = {
        path: replace(leaf, device=place if leaf.device == SECOND else "") if isinstance(leaf, TensorLeaf) else leaf
        for path, leaf in expected.native.leaves.items()
    }
    truths = {
        path: replace(truth, estimate=_allowance(leaves[path], device) * truth.estimate)
        for path, truth in expected.truths.items()
    }
    return replace(expected, native=replace(expected.native, leaves=leaves), truths=truths)


def _allowance(leaf: Leaf, device: str) -> float:
    """How many times the error of a CPU a right answer may have elsewhere."""
    if not is_gpu(device):
        return 1
    if device == TF32 and half_epsilon(leaf) == half_epsilon(0.0):
        return GPU_ALLOWANCE * TF32_EPSILON / (2 * half_epsilon(leaf))
    return GPU_ALLOWANCE


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the bytes of the tensors, if they are what release wrote."""
    beside = path.with_suffix(".json")
    try:
        body, payload = json.loads(beside.read_bytes()), path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{error.filename} cannot be read: {error.strerror}. {AGAIN}") from None
    except ValueError:
        raise BadRequest(f"{beside} is damaged: it is not JSON. {AGAIN}") from None
    found = body.get("format") if isinstance(body, dict) else None
    if found != FORMAT:
        raise BadRequest(f"{beside} has format {found}, and this grader reads format {FORMAT}. {AGAIN}")
    for file, right in ((beside, body.get("digest") == digest(body)), (path, body.get("tensors") == sha256(payload))):
        if not right:
            raise BadRequest(f"{file} is damaged: its hash is not the one it was written with. {AGAIN}")
    return body, payload


def _frozen(
    body: Mapping[str, Any], one: Mapping[str, Any], tensors: Mapping[str, Tensor], rows: Sequence[RowId]
) -> Frozen:
    spoken = {
        task: Signature(said["arguments"], said["result"], tuple(said["names"]))
        for task, said in body["signatures"].items()
    }
    mutants = [
        Mutant(**{**said, "hints": unsealed(said["hints"], said["name"])}, edits=[], body=None)
        for said in body["mutants"]
    ]
    assert tensors[one["sums"]].shape[1] == SUMS
    sums = tensors[one["sums"]].tolist()
    prints = [{name: _prints(found, sums) for name, found in one[side].items()} for side in ("in_task", "in_file")]
    return Frozen({row.name: _expected(row, one["rows"][row.name], tensors) for row in rows}, spoken, mutants, *prints)


def _prints(found: Mapping[str, list[Any]], sums: list[list[float]]) -> dict[str, Fingerprint]:
    """Row → fingerprint; a fingerprint is a hash, a scale, and the first and number of its rows of sums."""
    return {
        row: Fingerprint(discrete, scale, tuple(number for leaf in sums[first : first + count] for number in leaf))
        for row, (discrete, scale, first, count) in found.items()
    }


def _expected(row: RowId, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Expected:
    leaves: dict[str, Leaf] = {}
    truths: dict[str, Truth] = {}
    for path, kind, value in said["leaves"]:
        if kind == "floats":
            name, dtype, device, estimate, floor = value
            truths[path] = Truth(tensors[name], estimate, floor)
            native = tensors.get(f"{name}/native")
            values = tensors[name].to(getattr(torch, dtype)) if native is None else native
            leaves[path] = TensorLeaf(values, device)
        elif kind == "number":
            native_text, true_text, estimate, floor = value
            truths[path] = Truth(torch.tensor(float(true_text), dtype=torch.float64), estimate, floor)
            leaves[path] = float(native_text)
        else:
            leaves[path] = from_plain(kind, value, tensors)
    raised = Raised(**said["raised"]) if said["raised"] else None
    return Expected(row, said["seed"], Outcome(said["ended"], leaves, raised), truths)
