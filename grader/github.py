"""What GitHub shows of a check in its Actions: annotations on the lines, a summary of the step, the Classroom result.

A message may hold a student's own text, and GitHub obeys what is printed in its syntax. So the log stands between
stop-commands, annotations are escaped, and the summary keeps messages in fences longer than any in them.
"""

import ast
import base64
import html
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from .course import Module
from .errors import BadRequest
from .record import CheckRecord, SubmissionRecord
from .text import number, one_line, plain

NEEDED = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
ANNOTATIONS = 10  # that GitHub keeps of a kind and step
LONGEST = 2_000  # characters of one message
SUMMARY_BYTES = 1_000_000  # a longer one is refused as a whole
MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~@])")


@contextmanager
def quoted_log() -> Iterator[None]:
    """Whatever is printed inside is text to GitHub, and no command."""
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", flush=True)
    try:
        yield
    finally:
        print(f"\n::{token}::", flush=True)


def require_actions(environment: Mapping[str, str]) -> None:
    """Refuse to run elsewhere."""
    missing = [name for name in NEEDED if not environment.get(name)]
    if missing:
        raise BadRequest(f"`grader ci` is a step of GitHub Actions, and {', '.join(missing)} is not set; use `check`.")


def write_outputs(record: SubmissionRecord, module: Module, source: str, environment: Mapping[str, str]) -> None:
    """Append the summary and the Classroom result to the files that GitHub names."""
    _append(summary(record, module), classroom(record, module, source), environment)


def write_refusal(module: Module, why: str, environment: Mapping[str, str]) -> None:
    """The same for a module that could not be checked: the reporter breaks off at a step without a result."""
    test = {
        "name": module.title,
        "status": "error",
        "score": 0,
        "message": plain(why)[:LONGEST],
        "test_code": f"grader check {module.name}",
        "filename": f"{module.name}.py",
        "line_no": 1,
        "duration": 0,
    }
    text = "\n".join([f"## {_markdown(module.title)}: not checked", "", *_fenced(why), ""])
    _append(text, _encoded("error", module.points, [test]), environment)


def _append(text: str, result: str, environment: Mapping[str, str]) -> None:
    for name, more in (("GITHUB_STEP_SUMMARY", text), ("GITHUB_OUTPUT", f"result={result}\n")):
        with Path(environment[name]).open("a", encoding="utf-8") as file:
            file.write(more)


def annotations(record: SubmissionRecord, module: Module, source: str) -> list[str]:
    """One line for each thing that is wrong, at most as many as GitHub keeps: a task's first failure comes first.

    A known mistake of a task is told once: all that it breaks would stand on the same line.
    """
    file = f"assignments/{module.name}.py"
    if record.problem:
        said = {"file": file, "line": str(_line_in(record.problem, module) or 1), "title": module.title}
        return [_command("error", said, record.problem)]
    failing = [check for check in record.checks if check.status not in ("passed", "missing", "blocked")]
    first = {check.task: check for check in reversed(failing)}
    known = {(check.task, check.diagnosis.mutant): check for check in reversed(failing) if check.diagnosis}
    each = [one for one in failing if not one.diagnosis or known[one.task, one.diagnosis.mutant] is one]
    ordered = sorted(each, key=lambda check: first[check.task] is not check)
    lines = []
    for check in ordered[:ANNOTATIONS]:
        title = f"{module.tasks[check.task].number} {check.task}: {check.status}"
        said = {"file": file, "line": str(line_of(check, module, source)), "title": title}
        lines.append(_command("error", said, f"{check.sentence}\n{_text(check)}"))
    if len(ordered) > ANNOTATIONS:
        lines.append(_command("notice", {}, f"{len(ordered) - ANNOTATIONS} more failing checks: see the summary."))
    return lines


def summary(record: SubmissionRecord, module: Module) -> str:
    """GitHub's Markdown: the points of each task, then what is wrong."""
    head = f"## {_markdown(module.title)}: {number(record.score)} of {number(record.max_score)} points"
    lines = [head, "", "| | task | points | |", "|---|---|---:|---|"]
    if record.problem:
        return "\n".join([head, "", *_fenced(record.problem), ""])
    for task in module.tasks.values():
        checks = [check for check in record.checks if check.task == task.name]
        points = number(sum(check.points for check in checks))
        word = _word(checks)
        lines.append(f"| {task.number} | {_markdown(task.name)} | {points} of {number(task.points)} | {word} |")
    if record.chain:
        lines += ["", f"{_markdown(record.chain.sentence())} No points hang on it."]
        lines += ["", *_fenced(record.chain.message)] if record.chain.message else []
    for check in record.checks:
        if check.status not in ("passed", "missing"):
            lines += ["", f"**{_markdown(check.task)}: {_markdown(check.sentence)}**", "", *_fenced(_text(check))]
    text = "\n".join([*lines, "", ""])
    if len(text.encode()) <= SUMMARY_BYTES:
        return text
    return "\n".join([*lines[: 4 + len(module.tasks)], "", "The messages are too long for here: see the log.", ""])


def classroom(record: SubmissionRecord, module: Module, source: str) -> str:
    """The result that GitHub Classroom's reporter reads: base64 of JSON."""
    tests = [
        {
            "name": one_line(f"{check.task}: {check.sentence}"),
            "status": "pass" if check.status == "passed" else "error" if record.problem else "fail",
            "score": score,
            "message": _text(check)[:LONGEST] or plain(record.problem)[:LONGEST],
            "test_code": check.name,
            "filename": f"{module.name}.py",
            "line_no": line_of(check, module, source),
            "duration": round(check.seconds * 1000),
        }
        for check, score in zip(record.checks, _exact([check.points for check in record.checks]), strict=True)
    ]
    status = "error" if record.problem else "pass" if record.score == record.max_score else "fail"
    return _encoded(status, record.max_score, tests)


def _exact(points: list[float]) -> list[float]:
    """The points in 64ths, each rounded so that the sums are right: the reporter adds up what else gives 99.9999."""
    sums = [round(sum(points[:i]) * 64) for i in range(len(points) + 1)]
    return [(after - before) / 64 for before, after in pairwise(sums)]


def _encoded(status: str, max_score: float, tests: list[dict[str, Any]]) -> str:
    result = {"version": 1, "status": status, "max_score": max_score, "tests": tests}
    return base64.b64encode(json.dumps(result).encode()).decode()


def line_of(check: CheckRecord, module: Module, source: str) -> int:
    """Where to look: the student's last frame, the forbidden call, else the head of the task."""
    return _line_in(check.message, module) or _heads(source).get(check.task, 1)


def _line_in(text: str, module: Module) -> int | None:
    frames = re.findall(rf"(?m)^{re.escape(module.name)}\.py, line (\d{{1,7}}), in ", text)
    named = frames[-1:] or re.findall(r"\bline (\d{1,7}): ", text)[:1]
    return int(named[0]) if named else None


def _heads(source: str) -> dict[str, int]:
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {node.name: node.lineno for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _text(check: CheckRecord) -> str:
    known = f"This is exactly the output of a known mistake: {check.diagnosis.says}\n" if check.diagnosis else ""
    return plain(known + check.message)


def _word(checks: list[CheckRecord]) -> str:
    if all(check.status == "passed" for check in checks):
        return "right"
    if all(check.status in ("missing", "blocked") for check in checks):
        return "to do"
    return f"{sum(check.status != 'passed' for check in checks)} of {len(checks)} checks fail"


def _command(kind: str, said: Mapping[str, str], message: str) -> str:
    """`::error file=…,line=…::message` with everything escaped that would end a part of it."""
    properties = ",".join(f"{name}={_escaped(plain(value), ':,')}" for name, value in said.items())
    return f"::{kind} {properties}".rstrip() + f"::{_escaped(plain(message)[:LONGEST])}"


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)


def _markdown(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))


def _fenced(text: str) -> list[str]:
    text = plain(text)[:LONGEST]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
