"""`grader check --pdb`: stop in the student's own code at the first check that fails.

The check is run once more in this process, with the file loaded from its text: for one's own work only. An exception
is looked at where it was raised; a wrong result from the first line of the task on.
"""

import bdb
import functools
import linecache
import os
import pdb
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, ModuleType, TracebackType
from typing import Any

from . import loading
from .assemble import assemble
from .collect import Submission
from .collecting import Collected, collect_checks, names_of
from .errors import BadRequest
from .grade import look_into
from .opening import open_session
from .options import Options
from .own_file import Own, read
from .rng import Rng
from .terminal import tell
from .verdict import Verdict

OWN = f"{loading.PACKAGE}/"
COMMANDS = "n: next line, s: into a call, p x.shape: print, w: where am I, c: go on, q: quit"


class OwnFrames(pdb.Pdb):
    """A debugger that begins in the student's own file, whatever decorates a function of it."""

    def is_skipped_module(self, module_name: str | None) -> bool:
        return module_name is None or not module_name.startswith(f"{loading.PACKAGE}.")

    def stop_here(self, frame: FrameType) -> bool:
        own = frame.f_code.co_filename.startswith(OWN)
        return own and super().stop_here(frame)


def debug(own: Own, seed: int) -> None:
    """Find the first public check that fails and stop in it.

    Raises:
        BadRequest: the file cannot be loaded, or the input is no terminal.
    """
    submission = read(own)
    with open_session(own.course, own.module, seed) as session:
        _, problem, findings = look_into(session, submission, Options())
        if findings is None:
            raise BadRequest(f"--pdb needs a file that can be loaded. {problem}")
        failed = [v for v in findings.whole.values() if v.status not in ("passed", "missing") and not v.row.hidden]
        seeds = {name: expected.seed for name, expected in session.expected.items()}
    if not failed:
        print("Nothing that you have written fails: there is nothing to stop at.")
        return
    if not sys.stdin.isatty():
        raise BadRequest("--pdb needs a terminal to talk to.")
    first = failed[0]
    checks = {found.row.name: found for found in collect_checks(own.course.check_files(own.module.name))}
    with TemporaryDirectory() as scratch:
        _stop(own, submission, first, checks[first.row.name], Rng(seeds[first.row.name]), Path(scratch))


def _stop(own: Own, submission: Submission, failed: Verdict, check: Collected, rng: Rng, scratch: Path) -> None:
    task = failed.row.task
    tell(f"{task}: {failed.row.sentence}")
    tell(f"({failed.row.name}, status {failed.status}; {COMMANDS})")
    print()
    os.chdir(own.course.root)  # the debugger shows the lines by their whole path
    package = assemble(own.course, own.module, submission.files)
    impl = loading.load(package, own.module.name)
    for name, text in package.items():
        file = f"{OWN}{name}"
        linecache.cache[os.path.abspath(file)] = (len(text), None, text.splitlines(keepends=True), file)
    things = {"impl": impl, "rng": rng, "scratch": scratch}
    arguments = check.arguments | {name: things[name] for name in names_of(check.function) if name in things}
    if failed.status != "error":
        _stop_in(impl, task, OwnFrames())
    try:
        check.function(**arguments)
    except bdb.BdbQuit:
        return
    except Exception as error:
        if failed.status == "error" and (trace := own_trace(error.__traceback__)):
            print(f"{type(error).__name__}: {error}")
            pdb.post_mortem(trace)


def _stop_in(impl: ModuleType, task: str, debugger: pdb.Pdb) -> None:
    """Let the debugger run every call of a task; of a class, of its forward."""
    target = getattr(impl, task)
    if isinstance(target, type):
        name = "forward" if "forward" in vars(target) else "__init__"
        setattr(target, name, _under(debugger, vars(target)[name]))
    else:
        setattr(impl, task, _under(debugger, target))


def _under(debugger: pdb.Pdb, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        return debugger.runcall(function, *arguments, **named)

    return run


def own_trace(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the outermost to the innermost of the student's own frames, nothing after it."""
    if trace is None:
        return None
    rest = own_trace(trace.tb_next)
    if rest is None and not trace.tb_frame.f_code.co_filename.startswith(OWN):
        return None
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
