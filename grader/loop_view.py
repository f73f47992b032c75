"""The screen of `grader check --watch`: one task, or the list of all. Text for a width and a height, nothing else."""

from collections.abc import Iterator
from textwrap import wrap

from rich.text import Text

from .definitions import header, places, sentence
from .handout import readable
from .hints import FRAME, Asked, Hint, links
from .loop_state import KEYS, State, hint_key, word_of
from .pristine import specification
from .record import CheckRecord, failing
from .terminal import printed_by
from .text import number, plain

COLOURS = {"right": "green", "wrong": "red", "to do": "yellow", "": "dim"}
MARGIN = 2
PRINTED_LINES = 3


def draw(state: State, asked: Asked, hints: list[Hint], width: int, height: int) -> Text:
    """The whole screen. What does not fit is cut from below the first things to read, and said to be."""
    head = [*_title(state, width), Text()]
    foot = [Text(), *_foot(state, width)]
    body = list(_list(state) if state.view == "list" else _task(state, asked, hints, width))
    room = max(height - len(head) - len(foot), 3)
    if len(body) > room:
        cut = len(body) - room + 1
        body = [*body[: room - 1], Text(f"{' ' * MARGIN}… {cut} more lines: make the window higher", "dim")]
    return Text("\n").join([*head, *body, *([Text()] * (room - len(body))), *foot])


def _title(state: State, width: int) -> list[Text]:
    task = state.module.tasks[state.shown]
    left = state.module.title if state.view == "list" else f"{task.number} {task.name}"
    known = f"{number(state.points)} of {number(state.module.points)} points"
    right = (
        f"{state.done} of {len(state.module.tasks)} tasks, {known}"
        if len(state.checks) == len(state.module.tasks)
        else ""
    )
    gap = max(width - len(left) - len(right), 1)
    return [Text.assemble((left, "bold"), " " * gap, (right, "dim"))[:width], Text("-" * width, "dim")]


def _foot(state: State, width: int) -> list[Text]:
    if state.view == "reset":
        question = f"Put the empty stub of {state.shown} back? A copy of your file is kept in .grader/backups."
        return [*_lines(question, width, 0, "bold"), Text("y yes   any other key no")]
    took = f"verdict {state.seconds:.2f} s after the save" if state.seconds is not None else ""
    status = state.notice or (f"{state.busy} …" if state.busy else took)
    keys = [(key, hint_key(state) if key == "h" else name) for key, name in KEYS]
    line = Text()
    for key, name in keys:
        line.append(key, "bold").append(f" {name}   ")
    return [*_lines(status, width, 0, "" if state.notice else "dim"), line[: width - 1]]


def _list(state: State) -> Iterator[Text]:
    """Every task with its state; the one shown is marked."""
    wide = max(len(name) for name in state.module.tasks)
    for task in state.module.tasks.values():
        word = word_of(state, task.name)
        points = sum(check.points for check in state.checks.get(task.name, ()))
        mark = ">" if task.name == state.shown else " "
        row = f"{mark} {task.number:<5} {task.name:<{wide}}  {number(points):>5} of {number(task.points):<4} "
        yield Text.assemble((row, "bold" if mark == ">" else ""), (word, COLOURS[word]))


def _task(state: State, asked: Asked, hints: list[Hint], width: int) -> Iterator[Text]:
    word = word_of(state, state.shown)
    if state.problem:
        yield from _lines(not_yet(state.problem), width, 0, "red")
        yield from _advice(state, width, everything=True)
        return
    told = {"": _unseen, "to do": _to_do, "right": _right, "wrong": _wrong}[word](state, asked, width)
    yield next(told)
    if 0 < state.hint <= len(hints):  # asked for, and so before what a low window may cut
        yield from _hint(hints[state.hint - 1], state.hint, len(hints), width)
        if len(hints) > 1 and asked.course.feedback.hints == "reported":
            yield from _lines("Your course asks how many hints were taken.", width, MARGIN, "dim")
        yield Text()
    yield from told
    yield from _advice(state, width, everything=word in ("wrong", "to do"))


def _hint(hint: Hint, count: int, there_are: int, width: int) -> Iterator[Text]:
    title = "Background" if hint.level == "background" else f"Hint {count} of {there_are}: {hint.title}"
    yield Text()
    yield Text(title, "bold")
    for line in hint.lines:
        yield from _lines(line, width, MARGIN)


def _unseen(state: State, asked: Asked, width: int) -> Iterator[Text]:
    yield Text("No verdict yet.")


def _to_do(state: State, asked: Asked, width: int) -> Iterator[Text]:
    """What is asked for, and where."""
    yield Text("Not written yet.", "yellow")
    place = places(specification(asked.course, asked.module)).get(asked.task)
    if place is not None:
        yield Text()
        yield from _lines(header(place.node), width, MARGIN)
        yield from _lines(readable(sentence(place)), width, MARGIN)
    task = state.module.tasks[asked.task]
    yield Text()
    yield from _lines(f"{number(task.points)} points. {_calls(task.uses)}", width, MARGIN)
    yield from _links(asked)


def _right(state: State, asked: Asked, width: int) -> Iterator[Text]:
    checks = state.checks[state.shown]
    count = f"all {len(checks)} checks pass" if len(checks) > 1 else "its check passes"
    yield Text(f"Right: {count}.", "green")
    for text in dict.fromkeys(check.message for check in checks if check.message):
        yield from _lines(text, width, MARGIN)
    yield Text()
    left = len(state.module.tasks) - state.done
    if left:
        tasks = "task is" if left == 1 else "tasks are"
        yield from _lines(f"{left} {tasks} left: n goes to the next one, h shows the background of this one.", width)
        return
    name = state.module.name
    yield from _lines(f"All of {name} is right. To hand it in: grader submit {name}", width)
    yield from _lines(f"What it is good for: grader demo {name}", width)


def _wrong(state: State, asked: Asked, width: int) -> Iterator[Text]:
    """The known mistake if there is one, the first failing check in full, the others in a line each."""
    first, *others = failing(asked.checks)
    yield Text.assemble((first.status, "red"), f": {1 + len(others)} of {len(asked.checks)} checks")
    if first.diagnosis:
        yield from _lines(f"This is exactly the output of a known mistake: {first.diagnosis.says}", width, 0, "bold")
    yield from _links(asked)
    yield Text()
    yield from _lines(first.sentence, width)
    yield from _lines(_last_frame(first.message), width, MARGIN)
    yield from _printed(first, width)
    if others:
        yield Text()
        yield Text("Also:", "dim")
        for check in others:
            yield from _lines(f"{check.status}  {check.sentence}", width, MARGIN, "dim", hanging=MARGIN)


def _printed(check: CheckRecord, width: int) -> Iterator[Text]:
    if check.printed.strip():
        yield Text()
        yield from (Text(line[: width - 1]) for line in printed_by(check, PRINTED_LINES).splitlines())


def _last_frame(message: str) -> str:
    """A message with the innermost frame of its traceback alone: a window is low."""
    lines = message.splitlines()
    frames = [i for i, line in enumerate(lines) if FRAME.match(line)]
    return "\n".join(lines[: frames[0]] + lines[frames[-1] :] if frames else lines)


def _links(asked: Asked) -> Iterator[Text]:
    """Where to look, as most terminals can open it; never wrapped."""
    yield Text()
    yield from (Text(link, "cyan") for link in links(asked))


def _advice(state: State, width: int, everything: bool) -> Iterator[Text]:
    """What to know of the file: of the task shown, and of the whole file."""
    told = [one.text for one in state.advice if not one.task or (everything and one.task == state.shown)]
    if told:
        yield Text()
    for text in told:
        yield from _lines(f"Note: {text}", width, 0, "yellow")


def _calls(uses: list[str]) -> str:
    return f"It calls {', '.join(uses)}." if uses else "It calls no other task."


def not_yet(problem: str) -> str:
    """A file that is half written is on its way, not wrong."""
    return problem.replace(" does not parse: ", " does not parse yet: ", 1)


def _lines(text: str, width: int, indent: int = 0, style: str = "", hanging: int = 0) -> list[Text]:
    """Text of whatever origin, wrapped; its own indentation is kept."""
    lines = []
    for line in plain(text).expandtabs(4).splitlines() or [""]:
        pad = " " * (indent + len(line) - len(line.lstrip()))
        rest = pad + " " * hanging
        rows = wrap(
            line.strip(), max(width - 1, 20), initial_indent=pad, subsequent_indent=rest, break_on_hyphens=False
        )
        lines += [Text(row, style) for row in rows or [""]]
    return lines
