"""What could blind the watch, or bring in a forbidden package, noted in the worker by whatever name it is reached.

The text of a submission is looked at for these names too (suspicious.py); a name that is put together while it runs
shows only here. It is noted and not refused: an instructor reads it, and no points hang on it.
"""

import re
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
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
KERNELS = (("torch._C", "_dispatch_library"), ("torch.library.Library", "impl"))  # could take the place of the watch's
FRAMES = ("tb_frame", "gi_code", "gi_frame", "cr_code", "ag_code", "__code__")  # not f_code, which the watch reads
HEAP = ("gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys._getframe")
MADE_CODE = ("marshal.loads", "code.__new__", "function.__new__")  # it can bear any file's name
EVENTS = (*HEAP, *MADE_CODE)
NOTED = re.compile(
    rf"{'|'.join(map(re.escape, (*FRAMES, *EVENTS, *map('.'.join, (*BLINDFOLDS, *KERNELS)))))}", re.ASCII
)
INSTALLED = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
Note = Callable[[str, FrameType], None]


def stand(forbidden: Sequence[str], note: Note, ours: tuple[str, ...]) -> None:
    """Note from now on and for good.

    Args:
        forbidden: the entries of course.toml; those that mean a package are listened for.
        note: takes a name and the frame that it was reached from.
        ours: what the file names of code start with that may look into frames.
    """
    for place, name in (*BLINDFOLDS, *KERNELS):
        owner = _owner(place)
        real = getattr(owner, name, None)
        if real is not None:
            asked = _unless_by_torch(note) if (place, name) in KERNELS else note
            setattr(owner, name, _noting(f"{place}.{name}", real, asked))
    listened = [entry.removesuffix(ANYTHING) for entry in packages(forbidden)]
    for package in listened:
        sys.modules.pop(package, None)  # else nobody would look for it

    looking: list[bool] = []

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if looking:  # our own look at a frame is an event, too
            return
        if event in ("import", "exec"):
            for package in listened:
                if _comes_from(package, event, arguments):
                    note(package + ANYTHING, sys._getframe(1))
        elif event in EVENTS or (event == "object.__getattr__" and arguments[1] in FRAMES):
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


def _unless_by_torch(note: Note) -> Note:
    """torch registers kernels of its own as parts of it are imported."""
    torch = f"{Path(sys.modules['torch'].__file__ or '').parent}/"
    return lambda name, frame: None if frame.f_code.co_filename.startswith(torch) else note(name, frame)


def _owner(place: str) -> Any:
    """The module, or the class in a module, of a dotted name; None where it is not imported."""
    module, _, name = place.rpartition(".")
    return sys.modules.get(place) or getattr(sys.modules.get(module), name, None)


def _comes_from(package: str, event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a package is asked for by its name, or a file of it is run by whatever name."""
    if event == "exec":
        file = getattr(arguments[0], "co_filename", None)
    else:
        name, file = arguments[:2]
        if name == package or str(name).startswith(f"{package}."):
            return True
    return isinstance(file, str) and file.startswith(tuple(f"{folder}/{package}/" for folder in INSTALLED))
