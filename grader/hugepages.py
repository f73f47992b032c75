"""Huge pages for a process that is forked often: a fork copies an entry for each page, and so does its end."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .kernel import LINUX, call

HUGE = 2 << 20  # bytes
MADV_COLLAPSE = 25  # Linux 6.1 and later


def collapse() -> None:
    """Put this process's own memory into pages of 2 MiB, where the kernel can."""
    for start, end in _own() if LINUX else ():
        first, last = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if first < last:
            with suppress(OSError):
                call("madvise", first, last - first, MADV_COLLAPSE)


def _own() -> Iterator[tuple[int, int]]:
    """The regions that no file is behind and that can be written to."""
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        addresses, rights, _, _, inode, *_ = line.split()
        if rights == "rw-p" and inode == "0":
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16)
