"""The command line. Each command imports what it needs when it runs, so that `grader --help` answers at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import cli_student
from .cli_student import AsJson, Device

if TYPE_CHECKING:
    from .course import Course
    from .options import Options
    from .record import SubmissionRecord
    from .run import Plan
    from .timings import Timings

app = typer.Typer(
    help="Build a language model from scratch; know what is wrong and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="A module of course.toml, e.g. attention.")]
CHECK_YOURSELF = "To check your own file: grader check MODULE"
IS_IT_WHOLE = "To see whether this kit is whole: .venv/bin/python -m pytest tests/test_kit.py"


def _checkout(command: str, instead: str) -> "Course":
    """The course, for a command that a kit is not for.

    Raises:
        BadRequest: this is a kit; `instead` is what to do there.
    """
    from .course import MANIFEST, find_root, load_course
    from .errors import BadRequest

    course = load_course(find_root())
    if (course.root / MANIFEST).is_file():
        raise BadRequest(
            f"`grader {command}` is for those who run the course: {course.root} is a kit, without the model answers. "
            f"{instead}"
        )
    return course


@app.command()
def grade(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module of course.toml, e.g. attention, or all.")],
    submissions: Annotated[Path, typer.Argument(help="A .py file, a folder, a zip, or a folder of these.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of results; a second run goes on there.")],
    device: Device = "cpu",
    jobs: Annotated[int, typer.Option(min=0, help="Submissions at a time; 0 is one more than cores.")] = 0,
    gpu_workers: Annotated[int, typer.Option(min=1, help="Submissions at a time on a GPU.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Repeat a run: the seed from its report.")] = None,
    upstream: Annotated[str, typer.Option(help="Earlier modules: given, or the student's own.")] = "given",
    fresh: Annotated[bool, typer.Option("--fresh", help="Grade everything again with a new seed.")] = False,
    allow_forbidden: Annotated[bool, typer.Option("--allow-forbidden", help="Forbidden calls cost nothing.")] = False,
    require_isolation: Annotated[str, typer.Option(help="Fail below this level: A, B, C or D.")] = "D",
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time goes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Grade a class and write its reports."""
    from . import terminal
    from .device import check_device, is_gpu
    from .errors import BadRequest
    from .isolation import LEVELS
    from .options import Options
    from .run import jobs_by_default, plan_all
    from .timings import Timings

    course = _checkout("grade", CHECK_YOURSELF)
    weeks = list(course.modules.values()) if module == "all" else [course.module(module)]
    if upstream not in ("given", "own"):
        raise BadRequest(f"--upstream must be given or own, got '{upstream}'.")
    check_device(device)
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise BadRequest(f"-o {out} lies inside {submissions}: the results would be taken for a submission.")
    if require_isolation not in LEVELS:
        raise BadRequest(f"--require-isolation must be one of {', '.join(LEVELS)}, got '{require_isolation}'.")
    options = Options(upstream, not allow_forbidden, device, require_isolation, gpu_workers)
    jobs = gpu_workers if is_gpu(device) else jobs or jobs_by_default()
    timings = Timings()
    plans = plan_all(course, weeks, submissions, out, options, seed, fresh)
    graded = _graded(course, plans, out, options, jobs, timings, quiet=as_json)
    terminal.class_tables([(p.module, records) for p, records in zip(plans, graded, strict=True)], out, as_json)
    if profile:
        terminal.profile(timings.steps(), jobs)


def _graded(
    course: "Course", plans: "list[Plan]", out: Path, options: "Options", jobs: int, timings: "Timings", quiet: bool
) -> "list[list[SubmissionRecord]]":
    """The records of each plan. A page is drawn as soon as its record is there, the class's when all are."""
    from . import terminal
    from .report import records_in, write_page, write_reports
    from .run import carry_out

    names = {p.module.name for p in plans}
    earlier = records_in(out, [name for name in course.modules if name not in names])
    alone = len(names | {record.module for record in earlier}) == 1
    kept = [record for p in plans for record in p.kept]
    with terminal.progress(sum(len(p.todo) for p in plans), len(kept), quiet=quiet) as told:

        def done(record: "SubmissionRecord") -> None:
            with timings.step("write a page"):
                write_page(out, course, record, alone)
            told(record)

        graded = [carry_out(course, p, out, options, jobs, done, timings) for p in plans]
    with timings.step("write the reports"):
        write_reports(out, course, [*earlier, *(r for records in graded for r in records)], [*earlier, *kept])
    return graded


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A folder that `grader grade` wrote.")],
) -> None:
    """Draw the pages and grades.csv of a folder of results anew from its records."""
    from .errors import BadRequest
    from .report import records_in, write_reports

    course = _checkout("report", CHECK_YOURSELF)
    records = records_in(results, course.modules)
    if not records:
        raise BadRequest(f"There are no records in {results}; `grader grade MODULE CLASS -o {results}` writes them.")
    write_reports(results, course, records)
    typer.echo(f"{len(records)} records. The class page: {results / 'index.html'}")


app.command()(cli_student.check)
app.command()(cli_student.hint)
app.command()(cli_student.status)
app.command()(cli_student.doctor)


@app.command()
def submit(
    module: ModuleName,
    impl: Annotated[Path | None, typer.Option(help="Your file or folder, assignments/ by default.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where MODULE.zip goes.")] = Path("hand-in"),
    anyway: Annotated[bool, typer.Option("--anyway", help="Pack a file that cannot be imported, too.")] = False,
) -> None:
    """Pack a module to hand in, check the packed copy, and say what happens with it."""
    from . import terminal
    from .course import find_root, load_course
    from .submit import submit as pack

    course = load_course(find_root())
    week = course.module(module)
    terminal.handed_in(pack(course, week, impl or course.root / "assignments", out, anyway), week)


@app.command()
def ci(module: ModuleName) -> None:
    """Check in GitHub Actions: the log, annotations, the summary, the Classroom result."""
    import os

    from . import github, terminal
    from .course import find_root, load_course
    from .errors import BadRequest, GraderFault
    from .opening import open_session
    from .own_file import Own, default_path, on_own_parts, read

    github.require_actions(os.environ)
    course = load_course(find_root())
    week = course.module(module)
    try:
        own = Own(course, week, default_path(course, week))
        found = read(own)
        with open_session(course, week, 0) as session:
            record = on_own_parts(session, own, found)
    except (BadRequest, GraderFault) as error:
        github.write_refusal(week, str(error), os.environ)
        raise
    with github.quoted_log():
        terminal.one_submission(record, week, as_json=False)
    source = found.files.get(f"{module}.py", "")
    for line in github.annotations(record, week, source):
        print(line)
    github.write_outputs(record, week, source, os.environ)
    raise typer.Exit(0 if record.score == record.max_score else 1)


@app.command()
def stubs(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a stub is out of date.")] = False,
) -> None:
    """Write assignments/ anew from reference/."""
    course = _checkout("stubs", "To begin a module anew: cp assignments/stubs/MODULE.py assignments/")
    from .stubs import write_stubs  # needs packages that a kit has not

    names = write_stubs(course, check)
    for name in names:
        typer.echo(f"{name} differs from its reference; run `make stubs`" if check else f"wrote {name}")
    raise typer.Exit(1 if check and names else 0)


@app.command()
def handouts(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the site.")] = Path("site"),
) -> None:
    """Build the site of the course from handouts/ and course.toml."""
    course = _checkout("handouts", "The site lies in it already: open site/index.html")
    from .site import build_site  # needs packages that a kit has not

    for page in build_site(course, out):
        typer.echo(f"wrote {page}")


@app.command()
def release(
    week: Annotated[int | None, typer.Option(help="The modules up to this week; all by default.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where student/ and student.zip go.")] = Path("dist"),
) -> None:
    """Make the students' kit, and prove that it works and gives nothing away.

    It freezes what the reference gives, installs the kit in a fresh environment and runs its tests there: about 5 to
    20 minutes, more for a later week.
    """
    course = _checkout("release", "Your course gives out the next week's kit; README.md says how to update to it.")
    from .release import release as make  # needs packages that a kit has not

    for path in make(course, week, out, typer.echo):
        typer.echo(f"wrote {path}")


@app.command()
def mutants() -> None:
    """Apply every mutant to its reference, to see that each still fits."""
    from .mutants import apply, load_mutants

    course = _checkout("mutants", IS_IT_WHOLE)
    for name, week in course.modules.items():
        known = load_mutants(course.root / "tests" / "mutants" / f"{name}.toml", week)
        source = course.source("reference", name)
        for mutant in known:
            apply(mutant, source)
        typer.echo(f"{name}: {len(known)} mutants apply")


@app.command()
def adequacy(
    module: Annotated[str, typer.Argument(metavar="[MODULE]", help="One module; all by default.")] = "",
    seed: Annotated[int, typer.Option(help="Of the inputs.")] = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Prove the checks: every mutant killed, most named, every correct implementation at full marks."""
    from . import terminal
    from .adequacy import prove

    course = _checkout("adequacy", IS_IT_WHOLE)
    weeks = [course.module(module)] if module else list(course.modules.values())
    results = [prove(course, week, seed, device) for week in weeks]
    terminal.kill_tables(results, as_json)
    raise typer.Exit(0 if all(result.clean for result in results) else 1)


@app.command()
def demo(
    module: ModuleName,
    impl: Annotated[Path | None, typer.Option(help="Your file or folder, assignments/ by default.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the pictures go.")] = Path("results/demo"),
    device: Annotated[str, typer.Option(help="Where training and finetuning run: cpu or cuda.")] = "cpu",
) -> None:
    """Show what the finished module can do; with `all`, the whole chain from attention to a tuned model."""
    from . import terminal
    from .course import find_root, load_course
    from .demo import run_all, run_demo
    from .device import check_device
    from .errors import BadRequest

    if device not in ("cpu", "cuda"):
        raise BadRequest(f"A demo runs on cpu or cuda, got --device {device}.")
    check_device(device)
    course = load_course(find_root())
    if module == "all":
        pictures = run_all(course, impl, out, terminal.tell, device)
    else:
        pictures = run_demo(course, course.module(module), impl, out, terminal.tell, device)
    for picture in pictures:
        typer.echo(f"wrote {picture}")
