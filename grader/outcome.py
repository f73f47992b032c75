"""What a check gave back, and how it crosses from the worker to the judge.

A frame is two lengths, a JSON header and a safetensors payload: bytes, dtypes and shapes, never objects. Lengths are
checked before anything is read. Whatever a worker sends is data from a stranger: what does not decode is BadFrame.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

import torch
from safetensors import TensorSpec, serialize
from safetensors.torch import load
from torch import Tensor
from torch._C import DisableTorchFunction

from .device import SECOND
from .second_device import SecondTensor

LENGTHS = struct.Struct(">II")
MAX_HEADER = 1 << 20  # bytes
MAX_PAYLOAD = 16 << 20
MAX_JOB = 64 << 20  # all frames of a worker
MAX_LEAVES = 100_000
MAX_PATH = 1_000  # characters of the keys that lead to a leaf
MAX_DEPTH = 50  # of lists within lists
MAX_SECONDS = 3600.0  # the time is the worker's own account
MAX_GPU_BYTES = 1 << 50
MAX_AXES = 64  # torch computes with no more
MAX_TEXT = 8_000  # characters of a message or a traceback


class BadFrame(Exception):
    """Bytes that are not a frame of ours."""


@dataclass(frozen=True)
class Container:
    """A list or dict on the way to the leaves; `keys` are the entries below it."""

    kind: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Foreign:
    """A value that does not cross: only its type's name does."""

    kind: str


@dataclass(frozen=True)
class TensorLeaf:
    """A tensor as plain bytes on the CPU, with the device it came from; an expected one without stands for any."""

    values: Tensor
    device: str

    @cached_property
    def floats(self) -> Tensor | None:
        """The values in float64; None for anything discrete."""
        return self.values.double() if self.values.is_floating_point() else None


Leaf = Container | Foreign | TensorLeaf | bool | int | float | str | bytes | None


@dataclass(frozen=True)
class Raised:
    """An exception: the names of its built-in classes, nearest first, and the student's part of the traceback."""

    kind: str
    bases: list[str]
    message: str
    trace: str = ""


@dataclass(frozen=True)
class Outcome:
    """One run of one row of a check. `ended` is values, raised, timeout or crashed."""

    ended: str
    leaves: dict[str, Leaf] = field(default_factory=dict)
    raised: Raised | None = None
    why: str = ""
    seconds: float = 0.0
    printed: str = ""
    gpu_bytes: int = 0  # at the peak


def flatten(value: object, path: str = "", depth: int = 0) -> Iterator[tuple[str, Leaf]]:
    """(path, leaf) for every container and leaf of nested lists and dicts.

    A class of the submission's own has no say in what its list or dict holds.

    Raises:
        RecursionError: lists within lists, too many.
    """
    entries: Mapping[str, object]
    if isinstance(value, dict):
        entries = {_key(key): item for key, item in dict.items(value)}
    elif isinstance(value, list | tuple):
        base = list if isinstance(value, list) else tuple
        entries = {str(i): item for i, item in enumerate(base.__iter__(value))}  # type: ignore[arg-type]
    else:
        yield path, _leaf(value)
        return
    if depth == MAX_DEPTH:
        raise RecursionError(f"what it returned is nested more than {MAX_DEPTH} deep")
    container = Container("dict" if isinstance(value, dict) else "list", tuple(entries))
    yield path, container
    for key, item in entries.items():
        yield from flatten(item, _below(path, container, key), depth + 1)


def _key(key: object) -> str:
    return (str.__str__(key) if isinstance(key, str) else repr(key)) or "''"


def _below(path: str, container: Container, key: str) -> str:
    """The path of an entry; an empty one is the whole."""
    if container.kind == "list":
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _leaf(value: object) -> Leaf:
    if isinstance(value, Tensor):
        place = SECOND if type(value) is SecondTensor else ""
        value = value.held if type(value) is SecondTensor else value
        with DisableTorchFunction():  # a subclass cannot answer for its own bytes
            if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_complex():
                return Foreign(f"tensor on {value.device} with layout {value.layout} and dtype {value.dtype}")
            if value.numel() * value.element_size() > MAX_PAYLOAD:
                return Foreign(f"tensor of shape {tuple(value.shape)}, which is more than {MAX_PAYLOAD >> 20} MiB")
            plain = torch.Tensor.detach(value).as_subclass(Tensor)
            return TensorLeaf(plain.to("cpu", copy=True).contiguous(), place or plain.device.type)
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value  # type: ignore[return-value]
    return Foreign(f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins."))


def encode(outcome: Outcome) -> bytes:
    """The frame of an outcome. Too large a one becomes `crashed`."""
    tensors: dict[str, TensorSpec] = {}
    leaves = []
    for path, leaf in outcome.leaves.items():
        if isinstance(leaf, TensorLeaf):
            name = str(len(tensors))
            tensors[name] = _spec(leaf.values)
            leaves.append([path, "tensor", [name, leaf.device]])
        else:
            leaves.append([path, *to_plain(leaf)])
    raised = asdict(outcome.raised) if outcome.raised else None
    header = {"ended": outcome.ended, "leaves": leaves, "raised": raised, "why": outcome.why}
    told = {"seconds": outcome.seconds, "printed": outcome.printed, "gpu_bytes": outcome.gpu_bytes}
    text = json.dumps({**header, **told}).encode()
    payload = bytes(serialize(tensors)) if tensors else b""
    if len(text) > MAX_HEADER or len(payload) > MAX_PAYLOAD or len(leaves) > MAX_LEAVES:
        limits = f"{MAX_PAYLOAD >> 20} MiB of tensors, {MAX_HEADER >> 20} MiB of text or {MAX_LEAVES} values"
        return encode(Outcome("crashed", why=f"it returned more than {limits}", seconds=outcome.seconds))
    return LENGTHS.pack(len(text), len(payload)) + text + payload


def _spec(values: Tensor) -> TensorSpec:
    """Where a plain tensor's bytes are; safetensors.torch.save looks for shared ones first, which takes far longer."""
    dtype = str(values.dtype).removeprefix("torch.")
    return TensorSpec(dtype=dtype, shape=values.shape, data_ptr=values.data_ptr(), data_len=values.nbytes)


def to_plain(leaf: Leaf) -> tuple[str, Any]:
    """Kind and value of a leaf that is no tensor, as JSON can hold them."""
    match leaf:
        case Container(kind, keys):
            return kind, list(keys)
        case Foreign(kind):
            return "foreign", kind[:200]
        case bytes():
            return "bytes", leaf.hex()
        case float():
            return "float", repr(leaf)  # JSON has no nan
        case int() if not isinstance(leaf, bool):
            return "int", hex(leaf)  # without a limit on its digits
        case _:
            return "json", leaf


def lengths(prefix: bytes) -> tuple[int, int]:
    """Sizes of header and payload from a frame's first eight bytes."""
    header, payload = LENGTHS.unpack(prefix)
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise BadFrame(f"a frame of {header} + {payload} bytes is too large")
    return header, payload


def decode(header: bytes, payload: bytes) -> Outcome:
    """The outcome in a frame.

    Raises:
        BadFrame: it is not one.
    """
    try:
        data = json.loads(header)
        tensors = load(payload) if payload else {}
        leaves = {str(path)[:MAX_PATH]: from_plain(kind, value, tensors) for path, kind, value in data["leaves"]}
        if data["ended"] == "values":
            _require_tree(leaves)
        raised = _raised(**data["raised"]) if data["raised"] else None
        if data["ended"] not in ("values", "raised", "crashed"):
            raise ValueError("unknown ending")
        if (data["ended"] == "raised") != (raised is not None) or not isfinite(data["seconds"]):
            raise ValueError("fields that contradict each other")
        return Outcome(
            data["ended"],
            leaves,
            raised,
            str(data["why"])[:MAX_TEXT],
            min(max(float(data["seconds"]), 0.0), MAX_SECONDS),
            str(data["printed"])[: MAX_TEXT * 4],
            min(max(int(data["gpu_bytes"]), 0), MAX_GPU_BYTES),
        )
    except Exception as error:  # any malformed byte may surface as any exception of a parser
        raise BadFrame(f"{type(error).__name__}: {error}") from None


def _require_tree(leaves: Mapping[str, Leaf]) -> None:
    """Every leaf stands once below the whole and not too deep, so that what walks through them comes to an end."""
    waiting, visited = [("", 0)], 0
    while waiting:
        path, depth = waiting.pop()
        visited += 1
        leaf = leaves[path]
        if isinstance(leaf, Container):
            if depth == MAX_DEPTH or (leaf.kind == "list" and leaf.keys != tuple(map(str, range(len(leaf.keys))))):
                raise ValueError("a list that is none")
            waiting += [(_below(path, leaf, key)[:MAX_PATH], depth + 1) for key in leaf.keys]
        if visited + len(waiting) > len(leaves):
            raise ValueError("entries without a leaf")
    if visited != len(leaves):
        raise ValueError("leaves without a container")


def _raised(kind: str, bases: list[str], message: str, trace: str) -> Raised:
    if not all(isinstance(text, str) for text in (kind, message, trace, *bases)) or not isinstance(bases, list):
        raise ValueError("an exception is made of texts")
    return Raised(kind[:200], bases, message[:MAX_TEXT], trace[-MAX_TEXT:])


def from_plain(kind: str, value: Any, tensors: Mapping[str, Tensor]) -> Leaf:
    """The leaf that `to_plain` wrote, or a tensor as `encode` does: its name and its device."""
    match kind:
        case "tensor":
            name, device = value
            if tensors[name].ndim > MAX_AXES:
                raise ValueError(f"a tensor of {tensors[name].ndim} axes")
            return TensorLeaf(tensors[name], str(device)[:40])
        case "dict" | "list":
            return Container(kind, tuple(map(str, value)))
        case "foreign":
            return Foreign(str(value)[:200] or "value of an unnamed type")
        case "bytes":
            return bytes.fromhex(value)
        case "float":
            return float(value)
        case "int":
            return int(value, 16)
        case "json" if value is None or isinstance(value, bool | str):
            return value
        case _:
            raise ValueError(f"unknown leaf {kind!r}")
