"""Huge pages: a process keeps what it holds, and nothing is said where the kernel has none to give."""

import subprocess
import sys

import pytest

from grader import hugepages
from grader.kernel import LINUX

FILLED = """
import mmap
from pathlib import Path
from grader.hugepages import HUGE, collapse

pattern = bytes(range(256)) * (8 * HUGE // 256)
held = mmap.mmap(-1, len(pattern), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held.write(pattern)
collapse()
held.seek(0)
lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
print(held.read() == pattern, sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")))
"""


@pytest.mark.skipif(not LINUX, reason="only Linux has /proc/self/smaps_rollup")
def test_memory_keeps_its_contents_in_huge_pages() -> None:
    done = subprocess.run([sys.executable, "-c", FILLED], capture_output=True, text=True, check=True)
    same, kib = done.stdout.split()
    assert same == "True"
    if int(kib) == 0:
        pytest.skip("this kernel gives no huge pages on request")


def test_kernel_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str, *arguments: object) -> int:
        asked.append(name)
        raise OSError(22, "madvise: Invalid argument")

    monkeypatch.setattr(hugepages, "call", refuse)
    hugepages.collapse()
    assert set(asked) <= {"madvise"}
