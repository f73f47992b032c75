"""The loop as a student meets it: in a terminal of its own, and through a pipe."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.definitions import places
from grader.text import plain

PATIENCE = 120  # seconds: the machine may be very busy
ENVIRONMENT = {**os.environ, "TERM": "xterm-256color", "LINES": "30", "COLUMNS": "80"}
WATCH = [sys.executable, "-m", "grader", "check", "attention", "--watch"]


class Terminal:
    """A program in a pseudo terminal: keys in, everything that it wrote out."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**ENVIRONMENT, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C comes from the terminal  # noqa: PLW1509
        )
        self.raw = ""

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str) -> str:
        """Everything new up to where the text has been written."""
        start, end = len(self.raw), time.monotonic() + PATIENCE
        while text not in plain(self.raw[start:]):
            if time.monotonic() > end or not self._read():
                raise AssertionError(f"{text!r} never came; the last: {plain(self.raw[start:])[-1500:]}")
        return plain(self.raw[start:])

    def end(self) -> int:
        """The exit code, and whether the terminal is as it was."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self._read()
        code = self.process.wait(timeout=1)
        assert termios.tcgetattr(self._theirs) == self._before
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=PATIENCE)
        os.close(self._fd)
        os.close(self._theirs)

    def _read(self) -> bool:
        if select.select([self._fd], [], [], 0.2)[0]:
            self.raw += os.read(self._fd, 1 << 16).decode(errors="replace")
        return self.process.poll() is None


def put(folder: Path, task: str, old: str = "", new: str = "") -> None:
    """Write the reference's version of a task into the student's file, with an edit."""
    path = folder / "assignments" / "attention.py"
    reference = (folder / "reference" / "attention.py").read_text(encoding="utf-8")
    source = path.read_text(encoding="utf-8")
    there, theirs = places(source)[task], places(reference)[task]
    body = "\n".join(reference.split("\n")[theirs.first - 1 : theirs.last])
    assert old in body
    lines = source.split("\n")
    path.write_text(
        "\n".join([*lines[: there.first - 1], body.replace(old, new) if old else body, *lines[there.last :]])
    )


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    opened = Terminal(WATCH, folder)
    yield opened
    opened.close()


@pytest.mark.slow
def test_save_see_next_in_a_terminal(terminal: Terminal, folder: Path) -> None:
    terminal.wait_for("0 of 8 tasks, 0 of 100 points")
    put(folder, "softmax", "wide - wide.amax(dim=dim, keepdim=True)", "wide")
    shown = terminal.wait_for("s after the save")
    assert "This is exactly the output of a known mistake: The maximum is not subtracted" in shown
    assert "assignments/attention.py:16" in shown
    terminal.press("h")
    assert "Hint 1 of 4: the concept" in terminal.wait_for("More: handouts/attention.md")
    terminal.press("hhh")
    terminal.wait_for("Hint 4 of 4: nearly the code")
    with (folder / "assignments" / "attention.py").open("a") as file:
        file.write("def half(\n")
    terminal.wait_for("does not parse yet: line ")
    path = folder / "assignments" / "attention.py"
    path.write_text(path.read_text().removesuffix("def half(\n"))
    put(folder, "softmax")
    terminal.wait_for("Right: all 7 checks pass.")
    terminal.press("n")
    terminal.wait_for("y = x weight")
    terminal.press("l")
    terminal.wait_for("> 1.2   Linear")
    terminal.press("lp")
    terminal.wait_for("Right: all 7 checks pass.")
    terminal.press("r")
    terminal.wait_for("y yes")
    terminal.press("y")
    terminal.wait_for("Reset. Your file as it was is .grader/backups/attention-")
    terminal.wait_for("Not written yet.")
    terminal.press("q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw
    progress = (folder / "progress.txt").read_text()
    assert "hints attention.softmax softmax_no_max 4" in progress
    assert len(list((folder / ".grader" / "backups").iterdir())) == 1


@pytest.mark.slow
def test_quitting_before_it_has_started(folder: Path) -> None:
    terminal = Terminal(WATCH, folder, NO_COLOR="1")
    try:
        terminal.wait_for("starting")
        terminal.press("q")
        assert terminal.end() == 0
        assert "\x1b[3" not in terminal.raw.replace("\x1b[39m", "")  # no colour
    finally:
        terminal.close()


@pytest.mark.slow
def test_ctrl_c_is_one_more_way_to_quit(terminal: Terminal) -> None:
    terminal.wait_for("0 of 8 tasks")
    terminal.press("\x03")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw


@pytest.mark.slow
def test_without_a_terminal_it_is_plain_lines(folder: Path) -> None:
    process = subprocess.Popen([*WATCH, "--poll"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    try:
        assert next(lines) == "1.1 softmax: to do\n"
        assert next(line for line in lines if "points" in line) == "attention: 0 of 8 tasks, 0 of 100 points\n"
        put(folder, "softmax", "exps / exps", "2 * exps / exps")
        assert next(lines).startswith("softmax: wrong (")
        assert next(line for line in lines if line.startswith("  failed")).startswith("  failed  ")
        put(folder, "softmax")
        assert next(line for line in lines if line.startswith("softmax: ")).startswith("softmax: right (")
        assert next(lines) == "Next: Linear\n"
        put(folder, "Linear", "self.weight.T", "self.weight")
        assert next(lines).startswith("Linear: wrong (")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0


@pytest.mark.slow
def test_pdb_stops_in_the_students_frame(folder: Path) -> None:
    put(folder, "softmax", "exps / exps", "2 * exps / exps")
    debugger = Terminal([sys.executable, "-m", "grader", "check", "attention", "--pdb"], folder)
    try:
        shown = debugger.wait_for("(Pdb)")
        assert re.search(r"assignments/attention\.py\(\d+\)softmax\(\)\n-> wide = ", shown)
        debugger.press("p dim\n")
        debugger.wait_for("(Pdb)")
        debugger.press("q\n")
        assert debugger.end() == 0
        assert "Traceback" not in debugger.raw
    finally:
        debugger.close()
