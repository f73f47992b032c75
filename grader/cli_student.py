"""The commands that a student uses most: check, hint, status, doctor. Each imports what it needs when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .own_file import Own

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda-tf32, or second: like a GPU, without one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Impl = Annotated[Path | None, typer.Option(help="Your file or folder, assignments/ by default.")]
Seed = Annotated[int, typer.Option(help="Other inputs of the same kind.")]


def check(
    module: Annotated[
        str, typer.Argument(metavar="[MODULE]", help="A module; by default the one you have begun or the next.")
    ] = "",
    impl: Impl = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Check after every save, one task at a time.")] = False,
    poll: Annotated[
        bool, typer.Option("--poll", help="With --watch where saves are not noticed by themselves.")
    ] = False,
    pdb: Annotated[bool, typer.Option("--pdb", help="Stop in your own code at the first check that fails.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Check your own file and say what is wrong and where to look."""
    from . import terminal
    from .advice import advise
    from .errors import BadRequest
    from .hints import where_to_look
    from .opening import open_session
    from .own_file import keep, on_own_parts, read
    from .screen import syntax_problem

    if watch and (pdb or as_json):
        raise BadRequest(f"--watch and {'--pdb' if pdb else '--json'} do not go together.")
    if pdb and device != "cpu":
        raise BadRequest(f"--pdb stops in your code on the CPU; --device {device} does not go with it.")
    own = _own(module, impl)
    if watch:
        from .loop import watch as watch_file

        return watch_file(own, seed, device, poll or None)
    if pdb:
        from .debug import debug

        return debug(own, seed)
    submission = read(own)
    if not as_json and (problem := syntax_problem(submission.files.get(f"{own.module.name}.py", ""), own.module)):
        terminal.tell(f"{problem}\nNothing was checked.")
        raise typer.Exit(1)
    with open_session(own.course, own.module, seed, device) as session:
        record = on_own_parts(session, own, submission)
    keep(own, record)
    source = submission.files.get(f"{own.module.name}.py", "")
    notes = advise(own.course, own.module, own.path, source)
    where = where_to_look(own.course, own.module, record, own.path, source)
    terminal.one_submission(record, own.module, as_json, notes, where)
    raise typer.Exit(0 if record.score == record.max_score else 1)


def hint(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module of course.toml, e.g. attention.")],
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="A task; by default the first that is not right.")] = "",
    impl: Impl = None,
    seed: Seed = 0,
) -> None:
    """Give one more hint: concept, place, formula, nearly code."""
    from .ask import next_hint
    from .terminal import tell

    for line in next_hint(_own(module, impl), task, seed):
        tell(line)


def status(as_json: AsJson = False) -> None:
    """Show the course as a map: what is done, what is next."""
    from .course import find_root, load_course
    from .status import as_text, survey

    found = survey(load_course(find_root()))
    typer.echo(found.to_json() if as_json else as_text(found))


def doctor(as_json: AsJson = False) -> None:
    """Look at this machine: versions, device, threads, memory, isolation, and what to do."""
    from . import terminal
    from .doctor import examine

    findings = examine()
    terminal.doctor(findings, as_json)
    raise typer.Exit(0 if all(finding.fine for finding in findings) else 1)


def _own(module: str, impl: Path | None) -> "Own":
    """The file to look at."""
    from .course import find_root, load_course
    from .own_file import Own, default_path
    from .status import current

    course = load_course(find_root())
    week = course.module(module or current(course))
    return Own(course, week, impl or default_path(course, week))
