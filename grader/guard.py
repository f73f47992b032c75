"""What could blind the watch, or bring in a forbidden package, noted in the worker by whatever name it is reached.

The text of a submission is looked at for these names too (suspicious.py); a name that is put together while it runs
shows only here. It is noted and not refused: an instructor reads it, and no points hang on it.
"""

import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import FrameType
from typing import Any

from .course import ANYTHING, packages

BLINDFOLDS = (  # functions that let something run unseen
    *(("torch._C", f"_dispatch_tls_set_dispatch_key_{how}") for how in ("included", "excluded")),
    *(("torch._C", f"{kind}DispatchKeyGuard") for kind in ("Exclude", "_Exclude", "_SetExclude", "_Force")),
    ("torch._C", "_DisableTorchDispatch"),
    ("_thread", "start_new_thread"),
    *(("threading", name) for name in ("_start_new_thread", "_start_joinable_thread")),
)
FRAMES = ("tb_frame", "gi_code", "gi_frame", "cr_code", "ag_code", "__code__")  # not f_code, which the watch reads
HEAP = ("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys._getframe")
MADE_CODE = ("marshal.loads", "code.__new__", "function.__new__")  # it can bear any file's name
EVENTS = (*HEAP, *MADE_CODE)
NOTED = re.compile(rf"{'|'.join(map(re.escape, (*FRAMES, *EVENTS, *map('.'.join, BLINDFOLDS))))}", re.ASCII)
Note = Callable[[str, FrameType], None]


def stand(forbidden: Sequence[str], note: Note, ours: tuple[str, ...]) -> None:
    """Note from now on and for good.

    Args:
        forbidden: the entries of course.toml; those that mean a package are listened for.
        note: takes a name and the frame that it was reached from.
        ours: what the file names of code start with that may look into frames.
    """
    for module, name in BLINDFOLDS:
        real = getattr(sys.modules.get(module), name, None)
        if real is not None:
            setattr(sys.modules[module], name, _noting(f"{module}.{name}", real, note))
    listened = [entry.removesuffix(ANYTHING) for entry in packages(forbidden)]
    for package in listened:
        sys.modules.pop(package, None)  # else nobody would look for it
    sys.meta_path.insert(0, _Imports(listened, note))

    looking: list[bool] = []

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if looking:  # our own look at a frame is an event, too
            return
        if event in EVENTS or (event == "object.__getattr__" and arguments[1] in FRAMES):
            looking.append(True)
            frame = sys._getframe(1)
            looking.clear()
            if not frame.f_code.co_filename.startswith(ours):  # traceback and inspect may look
                note(event if event in EVENTS else str(arguments[1]), frame)

    sys.addaudithook(heard)


def _noting(name: str, real: Callable[..., Any], note: Note) -> Callable[..., Any]:
    def noted(*arguments: Any, **named: Any) -> Any:
        note(name, sys._getframe(1))
        return real(*arguments, **named)

    return noted


class _Imports(MetaPathFinder):
    """Finds nothing, and hears what is looked for."""

    def __init__(self, packages: Sequence[str], note: Note) -> None:
        self._packages, self._note = packages, note

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        for package in self._packages:
            if name == package or name.startswith(f"{package}."):
                self._note(package + ANYTHING, sys._getframe(1))
