"""`grader check --watch`: save, see, next. Threads see saves and keys and run checks; the main one draws."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .advice import advise
from .collect import Submission
from .errors import BadRequest
from .hints import Asked, hints, mistake
from .keys import keys, single_keys
from .latest import Latest
from .loop_screen import Plain, Screen
from .loop_state import State, begin, first_open, more_hints, press, saw, word_of
from .own_file import Own, keep, of_task, problem_of, read, whole
from .pristine import reset
from .progress import note_hint
from .record import SubmissionRecord
from .saves import read_saved, saves

if TYPE_CHECKING:
    from .session import Session

TICK = 0.5  # seconds between two looks at the size of the window


@dataclass(frozen=True)
class Work:
    """A text to check; `began` is when it was seen to be saved."""

    submission: Submission
    task: str
    began: float
    saved: bool


@dataclass
class Loop:
    """The parts that talk to each other, and the one state; only the main thread touches the state."""

    own: Own
    screen: Screen | Plain
    state: State
    events: SimpleQueue[tuple[str, Any]] = field(default_factory=SimpleQueue)
    stop: threading.Event = field(default_factory=threading.Event)
    ready: bool = False
    placed: bool = False  # at the first task that is not right
    submission: Submission | None = None
    asked_for_all: bool = True  # as at the start

    def show(self) -> None:
        self.screen.show(self.state, self.asked())

    def asked(self) -> Asked:
        module, task = self.own.module, self.state.shown
        source = self.submission.files.get(f"{module.name}.py", "") if self.submission else ""
        return Asked(self.own.course, module, task, self.state.checks.get(task, ()), self.own.path, source)


def watch(own: Own, seed: int, device: str, poll: bool | None) -> None:
    """Run until `q`, Ctrl-C or the end of the terminal.

    Raises:
        BadRequest: the file is not there, or cannot be watched.
        GraderFault: the grader itself broke.
    """
    read(own)
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    loop = Loop(own, Screen(Console(highlight=False)) if interactive else Plain(), begin(own.module))
    with ExitStack() as stack:
        stack.callback(loop.stop.set)
        stack.enter_context(_quietly_interrupted())
        stack.enter_context(loop.screen)
        if interactive:
            stack.enter_context(single_keys())
            _in_thread(loop, lambda: _listen(loop))
        _in_thread(loop, lambda: _watch_file(loop, poll))
        _look(loop)
        loop.show()
        from .opening import open_session  # it imports torch: the screen is there before

        session = stack.enter_context(open_session(own.course, own.module, seed, device))
        loop.ready = True
        _serve(loop, session)


def _serve(loop: Loop, session: "Session") -> None:
    """Check what is there, then do whatever comes until the end."""
    later: Latest[Work] = Latest(lambda work: _whole(loop, session, work), loop_failed(loop))
    now: Latest[Work] = Latest(lambda work: _task(loop, session, work, later), loop_failed(loop))
    if not loop.state.problem:
        _ask(loop, later, time.perf_counter(), saved=False)
    size = loop.screen.size
    try:
        while True:
            loop.show()
            name, value = _next(loop)
            if name == "":
                if loop.screen.size == size:
                    continue
                size = loop.screen.size
            elif name == "failed":
                raise value
            elif name == "key":
                if not _pressed(loop, value, now, later):
                    return
            elif name == "saved":
                _look(loop)
                if not loop.state.problem:
                    _ask(loop, now, value, saved=True)
            else:
                _judged(loop, name, *value)
    finally:
        now.close()
        later.close()


def _next(loop: Loop) -> tuple[str, Any]:
    """The next event; the empty name where none came within a tick."""
    try:
        return loop.events.get(timeout=TICK)
    except Empty:
        return "", None


def _look(loop: Loop) -> None:
    """Read the file anew; the state has its problem, if it has one that can be seen without running it."""
    own, state = loop.own, loop.state
    try:
        read_saved(own.path)
        loop.submission = read(own)
    except BadRequest as error:
        loop.state = replace(state, problem=str(error), busy="")
        return
    loop.state = replace(state, problem=problem_of(own, loop.submission))
    if loop.state.problem:
        loop.state = replace(loop.state, busy="", seconds=None)


def _ask(loop: Loop, whom: Latest[Work], began: float, saved: bool) -> None:
    assert loop.submission is not None
    whom.give(Work(loop.submission, loop.state.shown, began, saved))
    loop.state = replace(loop.state, busy="checking")


def _task(loop: Loop, session: "Session", work: Work, later: Latest[Work]) -> None:
    """In a thread: the verdict on the task shown first, then on everything."""
    record = of_task(session, work.submission, work.task)
    loop.events.put(("task", (work, record, time.perf_counter() - work.began if work.saved else None)))
    later.give(replace(work, saved=False))


def _whole(loop: Loop, session: "Session", work: Work) -> None:
    """In a thread: what to know of the file, and the verdict on every task."""
    own = loop.own
    notes = tuple(advise(own.course, own.module, own.path, work.submission.files[f"{own.module.name}.py"]))
    loop.events.put(("advice", (work, notes, None)))
    loop.events.put(("whole", (work, whole(session, work.submission), None)))


def _judged(loop: Loop, name: str, work: Work, found: Any, seconds: float | None) -> None:
    """Take a record, or advice, into the state, unless the file has changed since."""
    if loop.submission is None or work.submission.digest != loop.submission.digest or loop.state.problem:
        return
    if name == "advice":
        loop.state = replace(loop.state, advice=found)
        return
    record: SubmissionRecord = found
    loop.state = saw(loop.state, record, seconds if name == "task" else loop.state.seconds)
    if name == "whole":
        try:
            keep(loop.own, record)
        except BadRequest as error:
            loop.state = replace(loop.state, notice=str(error))
        if loop.asked_for_all:
            loop.screen.everything(loop.state)
            if loop.placed:  # by a key, and not by the start
                loop.state = replace(loop.state, view="list", notice="Everything was checked.")
        if not loop.placed:
            loop.state = first_open(loop.state)
        elif isinstance(loop.screen, Plain) and word_of(loop.state, loop.state.shown) == "right":
            loop.state = first_open(loop.state)  # nobody can press n
            loop.state = replace(loop.state, notice=f"Next: {loop.state.shown}")
        loop.placed, loop.asked_for_all = True, False


def _pressed(loop: Loop, key: str, now: Latest[Work], later: Latest[Work]) -> bool:
    """Do what a key asks for; False to quit."""
    loop.placed |= key in ("n", "p")
    loop.state, action = press(loop.state, key)
    match action:
        case "quit":
            return False
        case "all" if loop.submission is not None and not loop.state.problem:
            loop.asked_for_all = True
            _ask(loop, later, time.perf_counter(), saved=False)
        case "check" if loop.state.shown not in loop.state.checks and not loop.state.problem:
            _ask(loop, now, time.perf_counter(), saved=False)
        case "hint":
            _hint(loop)
        case "reset":
            _reset(loop)
    return True


def _hint(loop: Loop) -> None:
    asked = loop.asked()
    if not asked.checks:
        loop.state = replace(loop.state, notice="A hint needs a verdict first; it is on its way.")
        return
    before = loop.state.hints
    loop.state = more_hints(loop.state, len(hints(asked)))
    if loop.state.hints > before and loop.own.is_default and any(c.status != "passed" for c in asked.checks):
        name = f"{loop.own.module.name}.{asked.task}"
        try:
            note_hint(loop.own.course.root, name, mistake(asked.checks), loop.state.hints)
        except BadRequest as error:
            loop.state = replace(loop.state, notice=str(error))


def _reset(loop: Loop) -> None:
    own = loop.own
    try:
        kept = reset(own.course, own.module, own.path, loop.state.shown)
    except BadRequest as error:
        loop.state = replace(loop.state, notice=str(error))
        return
    place = kept.relative_to(own.course.root)
    loop.state = replace(loop.state, hints=0, hint=0, notice=f"Reset. Your file as it was is {place}.")


def _listen(loop: Loop) -> None:
    for key in keys(loop.stop.is_set):
        if key == "q" and not loop.ready:  # the main thread is busy with the start
            _interrupt_main()
            return
        loop.events.put(("key", key))


def _watch_file(loop: Loop, poll: bool | None) -> None:
    for _ in saves(loop.own.path, loop.stop, poll):
        loop.events.put(("saved", time.perf_counter()))


def loop_failed(loop: Loop) -> Any:
    """Where a thread leaves its exception for the main one to raise."""
    return lambda error: loop.events.put(("failed", error))


def _in_thread(loop: Loop, do: Any) -> None:
    def run() -> None:
        try:
            do()
        except BaseException as error:  # the main thread raises it
            if not loop.stop.is_set():
                loop.events.put(("failed", error))

    threading.Thread(target=run, daemon=True).start()


def _interrupt_main() -> None:
    """Ctrl-C for the main thread, also where it waits for another process."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def _quietly_interrupted() -> Iterator[None]:
    """Ctrl-C is one more way to quit."""
    try:
        yield
    except KeyboardInterrupt:
        return
