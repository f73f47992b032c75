"""Which forbidden operations a submission calls itself, seen while they run.

The static look (screen.py) reads names; this one sees calls, whatever name they went by. Each forbidden operation of
torch gets a kernel of ours at a dispatch key that torch asks before any other: it notes the call and hands it on, and
an operation that nobody forbids takes no longer for being watched. A call is blamed on the nearest frame outside torch
and Python's own library, so that given, the earlier modules and the backward pass of a check may use what the student
may not. A submission can blind it, with the names that suspicious.py lists.
"""

import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from . import guard
from .course import KERNEL, METHOD
from .resolve import by_object

LIBRARIES = (
    *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(Path(file).parent) for file in (torch.__file__, __file__)),
    "<frozen",
)
CHECKS = re.compile(r"/.*/check_\w+\.py")
STARTS_OF_OURS = ("assignments/", "given_parts/")  # also the files that stand in for other tasks and earlier modules
BASES = type.__dict__["__mro__"].__get__  # of a class, whatever its metaclass says
FIRST = "PreDispatch"  # comes before autograd and before an operation is taken apart; torch.export alone uses it


@dataclass(frozen=True)
class Call:
    """A forbidden operation: the line of the student's file or the task, and the entry of course.toml or the kernel."""

    place: int | str
    name: str


class Watch:
    """Collects the forbidden calls of one file."""

    def __init__(self, forbidden: Sequence[str], file: str) -> None:
        self._add, self.calls = _ledger()  # take `calls` before the submission can reach this object
        self._forbidden, self._file = forbidden, file
        self._names = _operations(tuple(forbidden))
        for operation in self._names:
            _listen(operation)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what runs inside."""
        _hearing.append(self._heard)
        _include(FIRST, True)
        try:
            yield
        finally:
            _include(FIRST, False)
            _hearing.pop()

    def look_at(self, own: Mapping[str, object]) -> None:
        """Note the tasks that are themselves forbidden, or inherit from it: a check that calls them blames nobody."""
        known = by_object(entry for entry in self._forbidden if entry.startswith("torch."))
        for task, value in own.items():
            for one in BASES(value) if issubclass(type(value), type) else (value,):
                if id(one) in known:
                    self._add(Call(task, known[id(one)]))

    def guard(self) -> None:
        """Note from now on what could blind it; see guard.py."""
        guard.stand(self._forbidden, self._saw, LIBRARIES)

    def _heard(self, operation: str, frame: FrameType) -> None:
        if operation in self._names:
            self._saw(self._names[operation], frame)

    def _saw(self, name: str, frame: FrameType) -> None:
        line = _blamed(frame, self._file)
        if line is not None:
            self._add(Call(line, name))


def _ledger() -> tuple[Callable[[Call], None], Callable[[], frozenset[Call]]]:
    """What can be added to and read, and not emptied by whoever finds it in a frame."""
    found: set[Call] = set()

    def add(call: Call) -> None:
        found.add(call)

    return add, lambda: frozenset(found)


_include = torch._C._dispatch_tls_set_dispatch_key_included  # before guard.py listens to who calls it
_hearing: list[Callable[[str, FrameType], None]] = []  # of the watches that are on


@cache
def _library() -> torch.library.Library:
    """What keeps our kernels; they go when it goes."""
    return torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]


@cache
def _listen(operation: str) -> None:
    """Have every call of an operation heard, from now on and in this whole process, while a watch is on."""
    packet, _, overload = operation.partition(".")
    passed_on = getattr(getattr(torch.ops.aten, packet), overload or "default").redispatch
    after = torch._C._dispatch_keyset_full_after(getattr(torch._C.DispatchKey, FIRST))

    def kernel(keys: Any, *args: Any, **kwargs: Any) -> Any:
        for heard in _hearing:
            heard(operation, sys._getframe(1))
        return passed_on(keys & after, *args, **kwargs)

    _library().impl(operation, kernel, FIRST, with_keyset=True)  # type: ignore[no-untyped-call]


@cache
def _operations(forbidden: tuple[str, ...]) -> dict[str, str]:
    """Operation of torch, with its overload → what a report calls it: an entry of course.toml, else the kernel.

    A function or method of torch means the operation of the same name, and the first such entry names it.
    """
    patterns = [entry for entry in forbidden if entry.startswith(KERNEL)]
    named = [entry for entry in forbidden if entry.startswith(("torch.", METHOD))]
    functions = {entry.rpartition(".")[2]: entry for entry in reversed(named)}
    found = {}
    for operation in torch._C._dispatch_get_all_op_names():
        space, _, full = operation.partition("::")
        name = full.partition(".")[0]
        if space == "aten" and name in functions:
            found[full] = functions[name]
        elif space == "aten" and any(fnmatchcase(KERNEL + name, pattern) for pattern in patterns):
            found[full] = KERNEL + name
    return found


def _blamed(frame: FrameType | None, file: str) -> int | None:
    """The line of the student's file that a call comes from; None when it is somebody else's."""
    while frame is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    if frame is None or _is_ours(frame, file):
        return None
    while frame is not None and frame.f_code.co_filename != file:  # text that was compiled or run by eval
        frame = frame.f_back
    return frame.f_lineno if frame else 0


def _is_ours(frame: FrameType, file: str) -> bool:
    name = frame.f_code.co_filename
    return name != file and (name.startswith(STARTS_OF_OURS) or CHECKS.fullmatch(name) is not None)
