"""A run that is killed at any moment is finished by running it again, with the same grades."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ("aiko", "chidi", "dalia", "emeka", "farah", "goran", "jomo.py", "kofi", "leila", "oskar", "quang.zip")
TIMES = ("seconds", "reference_seconds")


def start(out: Path, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "grader", "grade", "attention", str(folder), "-o", str(out), "--seed", "11"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def records(out: Path) -> dict[str, Any]:
    """Submission → its record without the times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(item) for key, item in value.items() if key not in TIMES}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    return {path.parent.name: timeless(json.loads(path.read_text())) for path in out.glob("*/attention.json")}


@pytest.fixture
def sample_class(tmp_path: Path) -> Path:
    folder = tmp_path / "class"
    folder.mkdir()
    for name in SAMPLES:
        (folder / name).symlink_to(ROOT / "tests" / "submissions" / "attention" / name)
    return folder.rename(tmp_path / "links")


def copied(links: Path, to: Path) -> Path:
    subprocess.run(["cp", "-rL", str(links), str(to)], check=True)
    return to


@pytest.mark.slow
def test_killed_run_ends_like_one_that_was_not(sample_class: Path, tmp_path: Path) -> None:
    folder = copied(sample_class, tmp_path / "class")
    assert start(tmp_path / "whole", folder).wait(timeout=120) == 0
    moments = random.Random(5)
    for _ in range(8):
        run = start(tmp_path / "killed", folder)
        time.sleep(moments.uniform(1.5, 5.0))
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert start(tmp_path / "killed", folder).wait(timeout=120) == 0
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
    assert len(records(tmp_path / "whole")) == len(SAMPLES)


@pytest.mark.slow
def test_run_whose_zygote_dies_says_so_and_is_finished_by_the_next(sample_class: Path, tmp_path: Path) -> None:
    folder = copied(sample_class, tmp_path / "class")
    assert start(tmp_path / "whole", folder).wait(timeout=120) == 0
    run = start(tmp_path / "out", folder)
    while not records(tmp_path / "out"):
        time.sleep(0.05)
    os.kill(family(run.pid)[1], signal.SIGKILL)
    assert run.wait(timeout=60) == 3
    assert start(tmp_path / "out", folder).wait(timeout=120) == 0
    assert records(tmp_path / "out") == records(tmp_path / "whole")


def test_nothing_outlives_a_killed_judge(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time\nwhile True: time.sleep(0.1)\n")
    run = start(tmp_path / "out", tmp_path / "endless.py")
    deadline = time.monotonic() + 120
    while len(family(run.pid)) < 4 and time.monotonic() < deadline:  # the judge, two zygotes and the worker
        time.sleep(0.05)
    members = family(run.pid)
    assert len(members) >= 4
    run.kill()
    run.wait()
    while any(alive(pid) for pid in members) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in members if alive(pid)] == []


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
