"""Processes that a worker leaves behind where it is not alone in a process namespace.

The zygote adopts every descendant whose parent has ended, however often it forked and whatever session it began, and
ends it. Source: prctl(2), PR_SET_CHILD_SUBREAPER.
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from .kernel import LINUX, call

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 1000  # a bomb may fork between two looks; its own limit on processes ends it


def adopt() -> None:
    """Become the parent of descendants whose own parent ends."""
    if LINUX:
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(keep: Collection[int]) -> int:
    """Kill and collect every child but those to keep; how many there were."""
    ended = 0
    for _ in range(ROUNDS):
        found = [pid for pid in _children() if pid not in keep]
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
                ended += 1
    return ended


def _children() -> list[int]:
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(OSError):
        return [int(pid) for pid in listing.read_text().split()]
    return []
