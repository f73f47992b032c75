"""Where the loop shows its state: a screen of its own on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .hints import Asked, hints
from .loop_state import State, word_of
from .loop_view import draw, not_yet
from .terminal import task_lines
from .text import number


class Screen:
    """The other screen of a terminal, drawn whole; what was there before comes back at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._state: State | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self._console.size

    def show(self, state: State, asked: Asked) -> None:
        width, height = self.size
        self._state = state
        there = hints(asked) if state.hint else []
        self._live.update(draw(state, asked, there, width, height), refresh=True)

    def everything(self, state: State) -> None:
        """The screen shows it anyway."""

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        if self._state is not None and self._state.checks:
            self._console.print(Text(summary(self._state)))


class Plain:
    """A line or a few for each verdict on a save, for a pipe, a log or a screen reader."""

    size = (0, 0)

    def __init__(self) -> None:
        self._told: dict[str, object] = {}

    def show(self, state: State, asked: Asked) -> None:
        """Tell a verdict or a problem once."""
        if state.busy or not (state.problem or state.checks):
            return
        if self._is_news("problem", state.problem):
            print(not_yet(state.problem), flush=True)
        if self._is_news("seconds", state.seconds):
            word = word_of(state, state.shown)
            print(f"{state.shown}: {word} ({state.seconds:.2f} s after the save)", flush=True)
            for line in task_lines(list(asked.checks)):
                print(line, flush=True)
        if self._is_news("notice", state.notice):
            print(state.notice, flush=True)

    def _is_news(self, what: str, value: object) -> bool:
        """Whether there is something to tell that was not told before."""
        before, self._told[what] = self._told.get(what), value
        return bool(value) and value != before

    def everything(self, state: State) -> None:
        for task in state.module.tasks.values():
            print(f"{task.number} {task.name}: {word_of(state, task.name)}", flush=True)
        print(summary(state), flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put back."""


def summary(state: State) -> str:
    """How far the module is."""
    tasks = f"{state.done} of {len(state.module.tasks)} tasks"
    return f"{state.module.name}: {tasks}, {number(state.points)} of {number(state.module.points)} points"
