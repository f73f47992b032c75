"""Single keys from a terminal, without Enter."""

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAIT = 0.1  # seconds between two looks at whether to stop
ARROWS = {
    b"\x1b[C": "n",
    b"\x1b[B": "n",
    b"\x1b[D": "p",
    b"\x1b[A": "p",
    b"\x1bOC": "n",
    b"\x1bOB": "n",
    b"\x1bOD": "p",
    b"\x1bOA": "p",
}
ENTER = "enter"
END = "q"  # what the end of the input means: the terminal has gone


def keys_of(typed: bytes) -> list[str]:
    """The keys that some bytes from a terminal stand for; what means nothing here is left out."""
    found = []
    while typed:
        arrow = next((code for code in ARROWS if typed.startswith(code)), b"")
        if arrow:
            found.append(ARROWS[arrow])
            typed = typed[len(arrow) :]
        elif typed[:1] == b"\x1b":  # Escape alone, or a key with a code that is not known here
            found += ["escape"] if len(typed) == 1 else []
            break
        else:
            key = ENTER if typed[:1] in b"\r\n" else typed[:1].decode("ascii", errors="ignore")
            found += [key] if key.isprintable() and key else []
            typed = typed[1:]
    return found


@contextmanager
def single_keys() -> Iterator[None]:
    """Let keys arrive one by one and unseen; the terminal is as before afterwards. Ctrl-C still interrupts."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def keys(stopped: Callable[[], bool]) -> Iterator[str]:
    """Each key as it is pressed, until `stopped`."""
    while not stopped():
        yield from _read()


def _read() -> list[str]:
    fd = sys.stdin.fileno()
    if not select.select([fd], [], [], WAIT)[0]:
        return []
    typed = os.read(fd, 64)
    return keys_of(typed) if typed else [END]
