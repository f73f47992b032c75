"""What the commands print: tables and colour on a terminal, plain lines elsewhere. Drawn from the same records."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .course import Module
from .html import first_cause
from .record import CheckRecord, SubmissionRecord, failing
from .text import number, one_line, plain

if TYPE_CHECKING:
    from .adequacy import Proof
    from .advice import Advice
    from .doctor import Finding
    from .submit import HandIn
    from .timings import Step

PRINTED_LINES = 8
NOWHERE: Mapping[str, tuple[str, str]] = {}
TOLD_IN_FULL = 3  # failing checks of a task whose cause is not known


@contextmanager
def progress(total: int, kept: int, quiet: bool) -> Iterator[Callable[[SubmissionRecord], None]]:
    """A function to call with each finished record: moves a bar on a terminal, prints a line elsewhere."""
    if kept and not quiet:
        print(f"{kept} graded before and unchanged, {total} to grade", file=sys.stderr)
    if quiet or not total:
        yield lambda record: None
    elif sys.stderr.isatty():
        yield from _bar(total)
    else:
        count = iter(range(1, total + 1))
        yield lambda record: print(f"[{next(count)}/{total}] {_line(record)}", file=sys.stderr)


def _bar(total: int) -> Iterator[Callable[[SubmissionRecord], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("grading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, now="")
        yield lambda record: bar.update(task, advance=1, now=escape(one_line(record.submission, 24)))


def class_tables(results: list[tuple[Module, list[SubmissionRecord]]], out: Path, as_json: bool) -> None:
    """The class at a glance, a table a module, and where its page is."""
    if as_json:
        tables = [
            {"module": module.name, "out": str(out), "submissions": _rows(records)} for module, records in results
        ]
        print(json.dumps(tables[0] if len(tables) == 1 else {"modules": tables}, indent=1))
        return
    for module, records in results:
        if len(results) > 1:
            print(f"\n{module.title}\n")
        _class_table(records, module)
    print(f"\nThe class page: {out / 'index.html'}")


def _rows(records: list[SubmissionRecord]) -> list[dict[str, object]]:
    keys = ("submission", "score", "max_score", "status")
    return [{key: getattr(record, key) for key in keys} for record in records]


def _class_table(records: list[SubmissionRecord], module: Module) -> None:
    console = Console(width=None if sys.stdout.isatty() else 400)
    table = Table(box=None, pad_edge=False, show_header=console.is_terminal)
    table.add_column("submission", overflow="fold", max_width=28)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("first cause", overflow="fold")
    for record in records:
        task, why = first_cause(record, module)
        word = task or ("" if record.status == "graded" else record.status.replace("_", " "))
        cause = f"{word}: {why}" if word else why
        table.add_row(escape(plain(record.submission)), f"{record.score:.1f}", escape(cause))
    console.print(table)
    mean = sum(record.score for record in records) / len(records)
    print(f"\n{len(records)} submissions, mean {mean:.1f} of {module.points:g}.")


def profile(steps: list["Step"], jobs: int) -> None:
    """Where the time of a run went, on stderr. Steps of several submissions at a time overlap."""
    print(f"\n{'step':<30}{'times':>7}{'wall s':>9}{'CPU s':>9}   ({jobs} at a time)", file=sys.stderr)
    for step in steps:
        line = f"{step.name:<30}{step.times:>7}{step.wall_seconds:>9.2f}{step.cpu_seconds:>9.2f}"
        print(line, file=sys.stderr)


def one_submission(
    record: SubmissionRecord,
    module: Module,
    as_json: bool,
    advice: Sequence["Advice"] = (),
    where: Mapping[str, tuple[str, str]] = NOWHERE,
) -> None:
    """A student's own verdicts: task by task, each failing check with its reason; then what to know of the file.

    Args:
        where: task → where to look, for those that are not right.
    """
    if as_json:
        print(record.to_json(), end="")
        return
    console = Console(highlight=False)
    if record.problem:
        _print(console, f"{record.status.replace('_', ' ')}: {record.problem}")
    for task in () if record.problem else module.tasks.values():
        checks = [check for check in record.checks if check.task == task.name]
        points = sum(check.points for check in checks)
        console.print(f"[bold]{task.number} {task.name}[/bold]  {_of(points, task.points)}")
        if task.name in where:
            console.print(f"  [cyan]{escape('  '.join(where[task.name]))}[/cyan]", soft_wrap=True)
        for one in (one for one in advice if one.task == task.name):
            _print(console, one.text, 2, "note:", "yellow")
        for line in _told(checks):
            _print(console, *line)
    for one in advice:
        if record.problem or not one.task:
            _print(console, one.text, 0, "note:", "yellow")
    if not record.problem:
        if not record.score:
            tell(f"\nBegin with {next(iter(module.tasks))}: handouts/{module.name}.md says what it is and why.")
        console.print(f"\n{module.name}: {_of(record.score, record.max_score)} points")
    if elsewhere := record.ran_elsewhere():
        _print(console, elsewhere)
    _chain(console, record)


def _chain(console: Console, record: SubmissionRecord) -> None:
    if record.chain:
        points = " No points hang on it." if record.chain.lost else ""
        _print(console, record.chain.sentence() + points)
        _print(console, record.chain.message, 6)


def handed_in(done: "HandIn", module: Module) -> None:
    """What was packed, what was not, how the packed copy does, and what happens with it."""
    print(f"packed {done.path}")
    for name, source in done.files.items():
        print(f"  {name}  {len(source.splitlines())} lines")
    for name, why in done.left_out.items():
        print(f"  left out: {one_line(name)}: {one_line(why)}")
    record = done.record
    wrong = list(dict.fromkeys(check.task for check in record.checks if check.status != "passed"))
    rest = f"; not right yet: {', '.join(wrong)}" if wrong else ""
    tell(f"\nThe packed copy, checked in a clean place: {_of(record.score, record.max_score)} points{rest}.")
    if record.problem:
        print(plain(record.problem))
    _chain(Console(highlight=False), record)
    if done.hints is not None:
        print(f"Hints taken, as your course asks to know: {done.hints}. They cost no points.")
    print()
    tell(
        f"Nothing was sent. Hand in {done.path} where your course collects it. Official grading runs the same checks "
        "on other inputs and sizes and beside right versions of the tasks that a task calls; earlier modules are the "
        "given ones."
    )


def task_lines(checks: list[CheckRecord]) -> list[str]:
    """The verdict on one task as plain lines."""
    rows = [(text.splitlines() or [""], indent, word) for text, indent, word, _ in _told(checks)]
    return [
        f"{' ' * indent}{f'{word}  ' if word and not i else ''}{plain(line)}"
        for lines, indent, word in rows
        for i, line in enumerate(lines)
    ]


def _told(checks: list[CheckRecord]) -> Iterator[tuple[str, int, str, str]]:
    """Text, indentation, word and colour of each thing to say of a task.

    What is known of all its checks is said once, the evidence of each failing one below its sentence.
    """
    if all(check.status == "missing" for check in checks):
        yield checks[0].message, 2, "to do", "dim"
        return
    lost = failing(checks)
    if lost and lost[0].diagnosis:
        yield f"This is exactly the output of a known mistake: {lost[0].diagnosis.says}", 2, "", ""
    said: dict[str, bool] = {}  # evidence → whether its cause is known
    printed = next((check for check in lost if check.printed.strip()), None)  # one example, or it buries the rest
    for check in lost:
        yield check.sentence, 2, check.status, "red"
        evidence = check.message.partition("\n(with ")[0]
        known = check.diagnosis is not None or check.cause is not None
        if evidence in said:
            yield "The same.", 6, "", ""
        elif (True in said.values()) if known else list(said.values()).count(False) == TOLD_IN_FULL:
            continue  # the first example is enough where the cause is known, a few where it is not
        else:
            said[evidence] = known
            yield check.message, 6, "", ""
            if check is printed:
                yield printed_by(check), 6, "", ""
    if sum(not (check.diagnosis or check.cause) for check in lost) > TOLD_IN_FULL:
        yield "What the others returned is left out: --watch shows one task at a time, --json everything.", 2, "", "dim"
    behind = [check for check in checks if check.status == "passed" and check.message]
    for text in dict.fromkeys(check.message for check in behind):
        count = sum(check.message == text for check in behind)
        yield f"{count} of {len(checks)} checks: {text}", 2, "", ""


def printed_by(check: CheckRecord, most: int = PRINTED_LINES) -> str:
    """What the code printed during a check, its first lines."""
    lines = plain(check.printed).strip().splitlines()
    more = [f"  … {len(lines) - most} more lines"] if len(lines) > most else []
    if len(lines) == 1:
        return f"printed: {lines[0]}"
    return "\n".join(["printed:", *(f"  {line}" for line in lines[:most]), *more])


def tell(text: str) -> None:
    """A line of ours, wrapped at words on a terminal."""
    _print(Console(highlight=False), text or "\n")


def _print(console: Console, text: str, indent: int = 0, word: str = "", colour: str = "") -> None:
    """Text from a stranger, indented; wrapped on a terminal, one line a line elsewhere."""
    for line in plain(text).splitlines():
        first = f"{' ' * indent}{word}{'  ' * bool(word)}"
        wrapped = _wrapped(console, line, first, " " * (indent + (4 if word or not indent else 0)))
        start = f"[{colour}]{escape(first)}[/{colour}]" if colour else escape(first)
        console.print(start + escape(wrapped[0][len(first) :]), soft_wrap=True)
        for more in wrapped[1:]:
            console.print(escape(more), soft_wrap=True)


def _wrapped(console: Console, line: str, first: str, rest: str) -> list[str]:
    """A line of text in rows that fit a terminal; elsewhere one row."""
    width = console.width if console.is_terminal else 10_000
    return wrap(line, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False) or [""]


def kill_tables(proofs: list["Proof"], as_json: bool) -> None:
    """The kill table of each module: mutants by checks, survivors first, then what is not clean."""
    if as_json:
        print(json.dumps({"modules": {proof.module: proof.summary() for proof in proofs}}, indent=1))
        return
    for proof in proofs:
        width = max(len(name) for name in proof.killed_by)
        for name, killers in sorted(proof.killed_by.items(), key=lambda item: (len(item[1]), item[0])):
            marks = "".join("x" if check in killers else "." for check in proof.checks)
            print(f"{name:<{width}} {marks} {'named' if name in proof.named else 'not named'}")
        print("\ncolumns, in order:")
        for place, check in enumerate(proof.checks, 1):
            print(f"  {place:>2} {check}")
        summary = proof.summary()
        print(f"\n{proof.module}: {summary['killed']} of {summary['mutants']} mutants killed, {summary['named']} named")
        for line in proof.complaints():
            print(f"  {line}")


def doctor(findings: list["Finding"], as_json: bool) -> None:
    """What was found on this machine and what to do about it."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
        return
    console = Console(highlight=False)
    indent = max(len(finding.what) for finding in findings) + 6
    for finding in findings:
        start = f"{'ok ' if finding.fine else 'fix'} {finding.what}"
        found = (start.ljust(indent) + finding.found, *([" " * indent + finding.advice] if finding.advice else []))
        for text in found:
            for line in _wrapped(console, text, "", " " * indent):
                console.print(escape(line), soft_wrap=True)


def _line(record: SubmissionRecord) -> str:
    return f"{one_line(record.submission, 60)}: {_of(record.score, record.max_score)} ({record.status})"


def _of(points: float, most: float) -> str:
    return f"{number(points)} of {number(most)}"
