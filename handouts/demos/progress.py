"""How a training run goes: a bar in a terminal, a line for each evaluation elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

Record = dict[str, float]
Update = Callable[[Record, float | None], None]
RECENT = 50  # steps that the speed is measured on


@contextmanager
def progress(
    total: int, done: int, tokens_a_step: int, say: Callable[[str], None], console: Console | None = None
) -> Iterator[Update]:
    """A function that takes the record of each step and, after an evaluation, its bits a byte.

    Args:
        total, done: steps of the run, and those taken before.
    """
    console = console or Console()
    clock = Clock(total, tokens_a_step)
    if not console.is_terminal:
        yield lambda record, bits: say(clock.line(record, bits)) if clock.tick() and bits is not None else None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, completed=done)

        def update(record: Record, bits: float | None) -> None:
            clock.tick()
            bar.update(task, advance=1, description=clock.words(record))
            if bits is not None:
                say(clock.line(record, bits))

        yield update


class Clock:
    """The speed of the last steps."""

    def __init__(self, total: int, tokens_a_step: int) -> None:
        self.total, self.tokens_a_step = total, tokens_a_step
        self.marks = deque([time.perf_counter()], maxlen=RECENT)

    def tick(self) -> bool:
        self.marks.append(time.perf_counter())
        return True

    def words(self, record: Record) -> str:
        """loss 4.12 · 18,400 tokens/s · 2:05 left"""
        seconds = max(self.marks[-1] - self.marks[0], 1e-9) / (len(self.marks) - 1)
        left = round(seconds * (self.total - record["step"] - 1))
        speed = f"{self.tokens_a_step / seconds:,.0f} tokens/s"
        return f"loss {record['loss']:.2f} · {speed} · {left // 60}:{left % 60:02d} left"

    def line(self, record: Record, bits: float | None) -> str:
        return f"  step {record['step'] + 1:>6,} · {self.words(record)} · validation {bits:.3f} bits a byte"
