"""Seeing that a file was saved: events of the operating system, or looking again and again where there are none.

Editors save in many ways (write, truncate and write, write elsewhere and rename), so the folder is watched and not the
file. In containers, on network drives and in WSL events of another system may not arrive: there `poll` helps.
"""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from .errors import BadRequest

QUIET_MS = 10  # without a further change: then a save is over
POLL_SECONDS = 0.1
LOOK_MS = 200  # how soon a request to stop is seen
PATIENCE = 0.3  # seconds that a file may be gone while an editor puts the new one in its place


def saves(path: Path, stop: Event, poll: bool | None = None) -> Iterator[None]:
    """One value each time the file has been written, until `stop` is set.

    Args:
        poll: look at the file again and again; None does so in WSL, and where WATCHFILES_FORCE_POLLING is set.
    Raises:
        BadRequest: the folder cannot be watched.
    """
    if poll is None:
        poll = "WATCHFILES_FORCE_POLLING" in os.environ or "microsoft-standard" in platform.uname().release
    yield from _polled(path, stop) if poll else _told(path, stop)


def _polled(path: Path, stop: Event) -> Iterator[None]:
    """Compare the file with what it was, again and again. The watch of a library may count whole seconds only."""
    before = _stamp(path)
    while not stop.wait(POLL_SECONDS):
        now = _stamp(path)
        if now not in (before, None):
            while now != _stamp(path) and not stop.wait(QUIET_MS / 1000):
                now = _stamp(path)
            before = now
            yield


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew; None while it is away."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _told(path: Path, stop: Event) -> Iterator[None]:
    """Wait for the operating system's events."""
    from watchfiles import watch

    name = path.name
    try:
        for changes in watch(
            path.parent,
            watch_filter=lambda change, changed: Path(changed).name == name,
            debounce=10 * QUIET_MS,
            step=QUIET_MS,
            stop_event=stop,
            rust_timeout=LOOK_MS,
            force_polling=False,
            recursive=False,
            raise_interrupt=False,
        ):
            if changes:
                yield
    except OSError as error:
        why = error.strerror or str(error)
        raise BadRequest(f"{path.parent} cannot be watched ({why}). Try again with --poll.") from None


def read_saved(path: Path) -> bytes:
    """The bytes of the file; waits a moment where an editor has it away to put another in its place.

    Raises:
        BadRequest: it is gone for good, or cannot be read.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if time.monotonic() > end:
                raise BadRequest(
                    f"{path.name} is gone from {path.parent}; it is checked as soon as it is back."
                ) from None
            time.sleep(0.02)
        except OSError as error:
            raise BadRequest(f"{path.name} cannot be read: {error.strerror}.") from None
