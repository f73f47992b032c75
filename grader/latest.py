"""A thread that does the newest of what it is given; what was given before and has not begun is dropped."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Work = TypeVar("Work")


class Latest(Generic[Work]):
    """Calls `do` with the newest work, one at a time. What it raises goes to `failed`."""

    def __init__(self, do: Callable[[Work], None], failed: Callable[[BaseException], None]) -> None:
        self._do, self._failed = do, failed
        self._news = threading.Condition()
        self._waiting: list[Work] = []
        self._closed = False
        threading.Thread(target=self._run, daemon=True).start()

    def give(self, work: Work) -> None:
        with self._news:
            self._waiting = [work]
            self._news.notify()

    @property
    def waiting(self) -> bool:
        """Whether newer work has come in."""
        return bool(self._waiting)

    def close(self) -> None:
        """Begin nothing more. What is being done is not waited for, and not heard of again."""
        with self._news:
            self._closed = True
            self._waiting = []
            self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                work = self._waiting.pop()
            try:
                self._do(work)
            except BaseException as error:  # it is the main thread's to raise
                if not self._closed:
                    self._failed(error)
                return
