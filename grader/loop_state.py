"""The state of `grader check --watch` and what a key or a verdict makes of it. No input, no output, no time."""

from dataclasses import dataclass, field, replace

from .advice import Advice
from .course import Module
from .hints import LEVELS
from .record import CheckRecord, SubmissionRecord

KEYS = (
    ("n", "next"),
    ("p", "previous"),
    ("l", "list"),
    ("h", "hint"),
    ("a", "run all"),
    ("r", "reset"),
    ("q", "quit"),
)


@dataclass(frozen=True)
class State:
    """What is on the screen: a task, the newest verdicts, what is going on."""

    module: Module
    shown: str
    checks: dict[str, tuple[CheckRecord, ...]] = field(default_factory=dict)  # by task; absent: not seen yet
    problem: str = ""  # why nothing could be run
    advice: tuple[Advice, ...] = ()
    busy: str = ""
    view: str = "task"  # task, list or reset (the question whether to)
    hints: int = 0  # how many were asked for of the task shown
    hint: int = 0  # the one on the screen, from 1
    notice: str = ""
    seconds: float | None = None  # from the save to the verdict

    @property
    def done(self) -> int:
        """How many tasks are right."""
        return sum(word_of(self, task) == "right" for task in self.module.tasks)

    @property
    def points(self) -> float:
        return sum(check.points for checks in self.checks.values() for check in checks)


def word_of(state: State, task: str) -> str:
    """The state of a task in a word: right, to do, wrong, or empty before it was seen."""
    checks = state.checks.get(task, ())
    if not checks:
        return ""
    statuses = {check.status for check in checks}
    if statuses == {"passed"}:
        return "right"
    return "to do" if statuses == {"missing"} else "wrong"


def begin(module: Module) -> State:
    return State(module, next(iter(module.tasks)), busy="starting")


def press(state: State, key: str) -> tuple[State, str]:
    """What a key does: the next state, and what there is to do about it (quit, all, hint, reset, check), or nothing."""
    state = replace(state, notice="")
    if state.view == "reset":
        return replace(state, view="task"), "reset" if key == "y" else ""
    match key:
        case "q":
            return state, "quit"
        case "n" | "p":
            return _move(state, 1 if key == "n" else -1), "check"
        case "l":
            return replace(state, view="task" if state.view == "list" else "list"), ""
        case "enter" | "escape":
            return replace(state, view="task"), ""
        case "a":
            return replace(state, busy="checking everything"), "all"
        case "h" if state.problem:
            return replace(state, notice="A hint needs a file that can be run: mend this first."), ""
        case "h" if state.view == "task":
            return state, "hint"
        case "r" if state.view == "task":
            return replace(state, view="reset"), ""
    return state, ""


def saw(state: State, record: SubmissionRecord, seconds: float | None = None) -> State:
    """The state after a record of one task or of all."""
    if record.problem:
        return replace(state, problem=record.problem, busy="", seconds=seconds)
    found: dict[str, tuple[CheckRecord, ...]] = {}
    for check in record.checks:
        found[check.task] = (*found.get(check.task, ()), check)
    fell = [t for t in found if t != state.shown and word_of(state, t) == "right" and not _right(found[t])]
    notice = f"{', '.join(fell)} {'was' if len(fell) == 1 else 'were'} right before this save." if fell else ""
    after = replace(state, checks={**state.checks, **found}, problem="", busy="", seconds=seconds)
    if _named(state) != _named(after):
        after = replace(after, hints=0, hint=0)  # another mistake, other hints
    return replace(after, notice=notice or state.notice)


def first_open(state: State) -> State:
    """Go to the first task that is not right, if there is one."""
    task = next((task for task in state.module.tasks if word_of(state, task) != "right"), state.shown)
    return replace(state, shown=task, hints=0, hint=0)


def more_hints(state: State, there_are: int) -> State:
    """The next hint; after the last one they begin anew."""
    hint = state.hint % there_are + 1
    return replace(state, hint=hint, hints=max(state.hints, hint))


def hint_key(state: State) -> str:
    """What the hint key would give, for the line of keys."""
    if word_of(state, state.shown) == "right":
        return "background"
    return f"hint {state.hint % len(LEVELS) + 1} of {len(LEVELS)}"


def _move(state: State, by: int) -> State:
    tasks = list(state.module.tasks)
    at = (tasks.index(state.shown) + by) % len(tasks)
    return replace(state, shown=tasks[at], hints=0, hint=0, seconds=None)


def _named(state: State) -> tuple[str, str]:
    checks = state.checks.get(state.shown, ())
    named = next((check.diagnosis.mutant for check in checks if check.diagnosis), "")
    return word_of(state, state.shown), named


def _right(checks: tuple[CheckRecord, ...]) -> bool:
    return all(check.status == "passed" for check in checks)
