"""Seeing that a file was saved: events of the operating system, or looking again and again where there are none.

Editors save in many ways (write, truncate and write, write elsewhere and rename), so the folder is watched and not the
file. In containers, on network drives and in WSL events of another system may not arrive: there `poll` helps.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from .errors import BadRequest

QUIET_MS = 10  # without a further change: then a save is over
POLL_MS = 100
LOOK_MS = 200  # how soon a request to stop is seen
PATIENCE = 0.3  # seconds that a file may be gone while an editor puts the new one in its place


def saves(path: Path, stop: Event, poll: bool | None = None) -> Iterator[None]:
    """One value each time the file has been written, until `stop` is set.

    Args:
        poll: look at the file again and again; None leaves the choice to watchfiles, which knows WSL and the variable
            WATCHFILES_FORCE_POLLING.
    Raises:
        BadRequest: the folder cannot be watched.
    """
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
            force_polling=poll,
            poll_delay_ms=POLL_MS,
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
