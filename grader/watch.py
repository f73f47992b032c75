"""Which forbidden operations a submission calls itself, seen while they run.

The static look (screen.py) reads names; this one sees calls, whatever name they went by. A function mode sees torch's
functions as Python calls them, a dispatch mode the kernels (`aten.…`) that these come down to. Each is blamed on the
nearest frame outside torch and Python's own library, so that given, the earlier modules and the backward pass of a
check may use what the student may not. A submission can blind it, with the names that suspicious.py lists.
"""

import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from . import guard
from .course import KERNEL, METHOD
from .dispatch import KernelMode

LIBRARIES = (
    *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(Path(file).parent) for file in (torch.__file__, __file__)),
    "<frozen",
)
CHECKS = re.compile(r"/.*/check_\w+\.py")
NameOf = Callable[[Any], str | None]
STARTS_OF_OURS = ("assignments/", "given_parts/")  # also the files that stand in for other tasks and earlier modules


@dataclass(frozen=True, order=True)
class Call:
    """A forbidden operation: the line of the student's file, and the entry of course.toml or the kernel."""

    line: int
    name: str


class Watch:
    """Collects the forbidden calls of one file."""

    def __init__(self, forbidden: Sequence[str], file: str) -> None:
        self._add, self.calls = _ledger()  # take `calls` before the submission can reach this object
        self._forbidden, self._file = forbidden, file
        self._functions = _Functions(_functions(forbidden).get, self._saw)
        self._kernels = _Kernels(_kernels(forbidden), self._saw)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what runs inside."""
        with self._kernels, self._functions:
            yield

    def guard(self) -> None:
        """Note from now on what could blind it; see guard.py."""
        guard.stand(self._forbidden, self._saw, LIBRARIES)

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


class _Functions(TorchFunctionMode):
    def __init__(self, name_of: NameOf, saw: Callable[[str, FrameType], None]) -> None:
        self._name_of, self._saw = name_of, saw

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if name := self._name_of(func):
            self._saw(name, sys._getframe(1))
        return func(*args, **(kwargs or {}))


class _Kernels(KernelMode):
    def __init__(self, name_of: NameOf, saw: Callable[[str, FrameType], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name_of, self._saw = name_of, saw

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if name := self._name_of(func):
            self._saw(name, sys._getframe(1))
        return func(*args, **(kwargs or {}))


def _kernels(forbidden: Sequence[str]) -> NameOf:
    """Operation → its name, where that is a forbidden kernel's."""
    patterns = [entry for entry in forbidden if entry.startswith(KERNEL)]

    @cache
    def name_of(operation: Any) -> str | None:
        name = KERNEL + operation._schema.name.rpartition("::")[2]
        return name if any(fnmatchcase(name, pattern) for pattern in patterns) else None

    return name_of


def _functions(forbidden: Sequence[str]) -> dict[Any, str]:
    """Function → its entry of course.toml. Where two entries are one function, the first names it."""
    found: dict[Any, str] = {}
    for entry in forbidden:
        thing: Any = torch
        start, *path = entry.split(".")
        if start == METHOD.rstrip("."):
            thing = torch.Tensor
        elif start != "torch":
            continue
        for name in path:
            thing = getattr(thing, name, None)
        if callable(thing) and not isinstance(thing, type):
            found.setdefault(thing, entry)
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
