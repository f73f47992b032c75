"""Saves are seen however an editor writes, by events and by polling."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grader.errors import BadRequest
from grader.latest import Latest
from grader.saves import read_saved, saves


def plainly(path: Path) -> None:
    path.write_text("new")


def by_renaming(path: Path) -> None:
    other = path.with_suffix(".tmp")
    other.write_text("new")
    other.replace(path)


def in_two_steps(path: Path) -> None:
    with path.open("w") as file:
        file.write("ne")
        file.flush()
        file.write("w")


@pytest.mark.parametrize("poll", [None, True], ids=["events", "polling"])
@pytest.mark.parametrize("write", [plainly, by_renaming, in_two_steps])
def test_save_is_seen(tmp_path: Path, write: Callable[[Path], None], poll: bool | None) -> None:
    path, stop, seen = tmp_path / "attention.py", threading.Event(), threading.Event()
    path.write_text("old")

    def listen() -> None:
        for _ in saves(path, stop, poll):
            seen.set()

    thread = threading.Thread(target=listen)
    thread.start()
    end = time.monotonic() + 20
    while not seen.is_set() and time.monotonic() < end:  # the watch begins a moment after the thread
        write(path)
        seen.wait(0.5)
    stop.set()
    thread.join(20)
    assert seen.is_set()
    assert not thread.is_alive()


def test_saves_within_one_second_are_all_seen_by_polling(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "attention.py", threading.Event(), threading.Semaphore(0)
    path.write_text("0")

    def listen() -> None:
        for _ in saves(path, stop, poll=True):
            seen.release()

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.3)
    for number in range(3):
        path.write_text(f"{number + 1}")
        assert seen.acquire(timeout=5)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_other_files_are_not_the_students(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "attention.py", threading.Event(), []
    path.write_text("old")

    def listen() -> None:
        seen.extend(saves(path, stop))

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.5)
    (tmp_path / "block.py").write_text("x")
    time.sleep(0.5)
    stop.set()
    thread.join(20)
    assert seen == []


def test_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"cannot be watched .*Try again with --poll\."):
        list(saves(tmp_path / "nowhere" / "a.py", threading.Event()))


def test_file_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    threading.Timer(0.1, lambda: path.write_text("back")).start()
    assert read_saved(path) == b"back"


def test_file_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"a\.py is gone from .*; it is checked as soon as it is back\."):
        read_saved(tmp_path / "a.py")


# --- the newest work only ---


def test_older_work_that_has_not_begun_is_dropped() -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def do(number: int) -> None:
        begun.set()
        go.wait(10)
        done.append(number)
        finished.release()

    finished = threading.Semaphore(0)
    latest: Latest[int] = Latest(do, lambda error: None)
    latest.give(1)
    begun.wait(10)
    latest.give(2)
    latest.give(3)
    go.set()
    assert finished.acquire(timeout=10)
    assert finished.acquire(timeout=10)
    latest.close()
    assert done == [1, 3]


def test_what_a_thread_raises_is_handed_on() -> None:
    failed: list[BaseException] = []
    told = threading.Event()

    def fail(number: int) -> None:
        raise ValueError(number)

    latest: Latest[int] = Latest(fail, lambda error: (failed.append(error), told.set())[1])
    latest.give(7)
    assert told.wait(10)
    assert isinstance(failed[0], ValueError)
