"""Grading one submission: run its rows, give it a second chance with given parts, explain, add up the points."""

import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from .assemble import assemble
from .chain import try_chain
from .collect import Submission
from .collecting import RowId
from .device import place_of
from .diagnose import diagnose, explains
from .explain import picture
from .imports import why_not
from .options import Options
from .outcome import Outcome
from .record import Chain, CheckRecord, Diagnosis, SubmissionRecord
from .refusals import hold_back
from .screen import Finding, Screen, screen
from .session import Session
from .trial import Ran, Trial
from .verdict import Verdict, message, verdict, worst_of
from .workers import NOT_RUN

SLOW, SLOW_SECONDS = 10, 0.5  # times the reference, and not worth a word below that
BESIDE_RIGHT_PARTS = "Official grading also runs it beside right parts, so it can only give more."
FLOOD = "it prints more than is kept: debug output was left in"
UNWATCHED = "its calls were not watched to the end: the process ended before the last check"


@dataclass(frozen=True)
class Cost:
    """What the rows of a check took."""

    seconds: float
    gpu_mib: float  # at the peak, of the row that took most


@dataclass(frozen=True)
class Findings:
    """All that is known about a submission before the points are added up."""

    screen: Screen
    whole: dict[str, Verdict]
    alone: dict[str, Verdict]
    diagnoses: dict[str, Diagnosis]
    unwatched: bool
    chain: Chain | None = None


def grade(session: Session, submission: Submission, digest: str, options: Options) -> SubmissionRecord:
    """The record of one submission. A bad one has a status; only a fault of the grader raises."""
    start = time.perf_counter()
    status, problem, findings = look_into(session, submission, options)
    with session.timings.step("explain"):
        checks = _checks(session, findings, options) if findings else _blocked(session)
    return SubmissionRecord(
        submission=submission.name,
        module=session.module.name,
        score=round(sum(check.points for check in checks), 4),
        max_score=session.module.points,
        status=status,
        seed=session.seed,
        device=session.device,
        isolation=session.isolation,
        versions=versions(),
        seconds=time.perf_counter() - start,
        checks=checks,
        problem=problem,
        notes=_notes(submission, findings),
        digest=digest,
        chain=findings.chain if findings else None,
    )


def look_into(session: Session, submission: Submission, options: Options) -> tuple[str, str, Findings | None]:
    """Status, problem and findings; the last only where the file could be imported."""
    if submission.problem:
        return "unreadable", submission.problem, None
    with session.timings.step("look at the source"):
        look = screen(submission.files[f"{session.module.name}.py"], session.module)
    if look.syntax_error:
        return "not_importable", look.syntax_error, None
    files = assemble(session.course, session.module, submission.files, options.upstream)
    trial = Trial(session, files)
    watched = session.module.all_forbidden if options.ban else ()
    ran = trial.run(session.rows, watched=watched)
    if ran.loaded.ended != "values":
        return "not_importable", why_not(ran.loaded, session.course, session.module), None
    findings = _judge(session, trial, _heard(look, ran, session), ran, watched)
    return "graded", "", replace(findings, chain=_chain(session, submission, options, trial, findings))


def _judge(session: Session, trial: Trial, look: Screen, ran: Ran, watched: Sequence[str]) -> Findings:
    """Verdicts on the file as it is, and a second chance with given parts for every task that failed."""
    with session.timings.step("compare"):
        whole = {row.name: _if_written(verdict(session, row, ran.outcomes[row.name]), look) for row in session.rows}
    failed = {v.row.task for v in whole.values() if v.status != "passed"}
    written = {v.row.task for v in whole.values() if v.status != "missing"}
    again = [row for row in session.rows if row.task in failed & written and session.can_isolate(row.task, failed)]
    if not again:
        return Findings(look, whole, {}, {}, ran.unwatched)
    second: dict[str, Outcome] = {}
    unwatched = ran.unwatched
    for task in dict.fromkeys(row.task for row in again):
        rows = [row for row in again if row.task == task]
        chance = trial.again(rows, ran.outcomes, watched)
        second |= chance.outcomes
        look = _heard(look, chance, session)
        unwatched |= chance.unwatched
    alone = {row.name: verdict(session, row, second[row.name]) for row in again}
    with session.timings.step("diagnose"):
        diagnoses = diagnose(session, ran.outcomes, second, look.shared)
    return Findings(look, whole, alone, diagnoses, unwatched)


def _heard(look: Screen, ran: Ran, session: Session) -> Screen:
    return look.with_calls(ran.calls, session.module).with_calls(ran.unshown, session.module, shown=False)


def _if_written(found: Verdict, look: Screen) -> Verdict:
    """A task that only raises is to do, also where the check meets another unwritten one before it."""
    if found.status == "passed" or found.row.task not in look.unwritten:
        return found
    raised = found.outcome.raised
    to_do = raised.kind == "NotImplementedError" if raised else found.outcome.ended == "values"  # the check caught it
    return replace(found, status="missing") if to_do else found


def _chain(
    session: Session, submission: Submission, options: Options, trial: Trial, findings: Findings
) -> Chain | None:
    if options.upstream == "own":
        return None  # the verdicts themselves are on the student's own files
    passed = [row for row in session.rows if not row.hidden and findings.whole[row.name].status == "passed"]
    with session.timings.step("the student's own earlier files"):
        return try_chain(session, submission, trial, passed)


def _checks(session: Session, findings: Findings, options: Options) -> list[CheckRecord]:
    """One record a check, in file order."""
    checks = [_check(session, findings, options, name, points) for name, (_, points) in _points(session).items()]
    verdicts = [*findings.whole.values(), *findings.alone.values()]
    return hold_back(session, checks, {v.row.name for v in verdicts if v.outcome.ended == "values"})


def _check(session: Session, findings: Findings, options: Options, name: str, points: float) -> CheckRecord:
    rows = [row for row in session.rows if row.check == name]
    first = rows[0]
    whole = [findings.whole[row.name] for row in rows]
    better = better_of(findings, rows)
    worst = worst_of(better)
    status, text, cause, drawn = worst.status, "", None, None
    told = not worst.row.hidden or session.course.feedback.hidden == "mistake"
    diagnosis = findings.diagnoses.get(first.task) if told else None
    if diagnosis and not explains(session, first.task, diagnosis, [row.name for row in rows]):
        diagnosis = None
    if worst.status == "passed" and worst_of(whole).status != "passed":
        cause, text = _cause(session, findings, first.task, worst_of(whole))
    elif worst.mismatch is not None:
        text = message(session, worst, related=diagnosis is None)
        refusal = worst.mismatch.kind in ("accepted", "exception")  # that has nothing to do with what is below
        if worst.status != "missing" and not refusal and not session.can_isolate(first.task, failing_tasks(findings)):
            cause = _first_below(session, findings, first.task, worst.row.name)
            if cause:
                text = f"Look at {cause} first: it fails, and {first.task} builds on it. {BESIDE_RIGHT_PARTS}\n{text}"
        drawn = None if worst.row.hidden else picture(worst.mismatch, session.signatures[first.task])
    ours = _cost(v.outcome for v in whole)
    reference = _cost(session.expected[row.name].native for row in rows)
    if status == "passed" and not text:
        text = _if_slow(session, [v for v in whole if not v.row.hidden])
    used = [f for f in findings.screen.forbidden if f.task == first.task] if options.ban else []
    if used and status != "missing":
        right = "\nIts result is right; the call is not allowed." if status == "passed" else ""
        status, cause, text = "forbidden", None, forbidden_text(used) + right
    return CheckRecord(
        name=name,
        task=first.task,
        status=status,
        points=points if status == "passed" else 0.0,
        max_points=points,
        message=text,
        diagnosis=diagnosis if status in ("failed", "error", "timeout", "crashed") else None,
        seconds=ours.seconds,
        reference_seconds=reference.seconds,
        gpu_mib=ours.gpu_mib,
        reference_gpu_mib=reference.gpu_mib,
        sentence=first.sentence,
        cause=cause,
        picture=drawn,
        printed="" if worst.row.hidden or status == "passed" else worst.outcome.printed,
        device=place_of(session.device, first.second_device, first.draws, session.jobs.draws_on),
    )


def _if_slow(session: Session, public: list[Verdict]) -> str:
    """A sentence where the reference is much faster, as far as it is known. Time beside hidden rows could tell them."""
    ours = sum(v.outcome.seconds for v in public)
    reference = sum(session.expected[v.row.name].native.seconds for v in public)
    if reference == 0 or ours <= max(SLOW * reference, SLOW_SECONDS):
        return ""
    return f"Right, but slow: {ours:.1f} s, where the reference takes {reference:.1g} s."


def _cost(outcomes: Iterable[Outcome]) -> Cost:
    found = list(outcomes)
    return Cost(sum(one.seconds for one in found), max(one.gpu_bytes for one in found) / (1 << 20))


def better_of(findings: Findings, rows: list[RowId]) -> list[Verdict]:
    """The verdicts on a check's rows that count: with given parts where those all pass, else of the file as it is."""
    alone = [findings.alone[row.name] for row in rows if row.name in findings.alone]
    if alone and worst_of(alone).status == "passed":
        return alone
    return [findings.whole[row.name] for row in rows]


def forbidden_text(used: list[Finding]) -> str:
    """Where a task calls what it may not, a line each."""
    calls = [(f.line, f.used if f.used.startswith(f.call) else f"{f.used} ({f.call})") for f in used]
    places = [(f"line {line}: " if line else "", call) for line, call in calls]
    return "\n".join(f"{place}{call} is what this module has you build yourself." for place, call in places)


def _cause(session: Session, findings: Findings, task: str, as_it_is: Verdict) -> tuple[str | None, str]:
    """Why a check that is right with given parts fails in the file: the first failing task below it, and a sentence."""
    if as_it_is.outcome.why == NOT_RUN:
        return None, f"Right when it is run by itself. In your file {NOT_RUN}."
    cause = _first_below(session, findings, task, as_it_is.row.name)
    return cause, f"Right with the given parts. In your file it fails because of {cause or 'another task'}."


def failing_tasks(findings: Findings) -> set[str]:
    """The tasks with a row that fails, with given parts below it where those were tried."""
    return {v.row.task for v in (findings.whole | findings.alone).values() if v.status != "passed"}


def _first_below(session: Session, findings: Findings, task: str, row: str) -> str | None:
    """The first task that fails, and may be why `row` does, of those that a task calls, directly or through others."""
    failing = failing_tasks(findings) & session.module.below(task)
    return next(
        (name for name in session.module.tasks if name in failing and _reaches(session, findings, name, row)), None
    )


def _reaches(session: Session, findings: Findings, task: str, row: str) -> bool:
    """Whether what is wrong with a task may show in a row of another: a known mistake is known to, or not to."""
    if task not in findings.diagnoses:
        return True
    names = findings.diagnoses[task].mutant.split(" or ")
    same = [known.mutant for known in session.source.known(task) if known.mutant.name in names]
    return any(row in session.source.whole(mutant) for mutant in same)


def _blocked(session: Session) -> list[CheckRecord]:
    """The checks of a submission that could not be run."""
    return [
        CheckRecord(name, row.task, "blocked", 0.0, points, "", None, 0.0, 0.0, row.sentence)
        for name, (row, points) in _points(session).items()
    ]


def _points(session: Session) -> dict[str, tuple[RowId, float]]:
    """Check → its first row and its points: the task's, shared out by weight."""
    first = {row.check: row for row in reversed(session.rows)}
    names = list(dict.fromkeys(row.check for row in session.rows))
    weights: dict[str, float] = {}
    for row in first.values():
        weights[row.task] = weights.get(row.task, 0.0) + row.weight
    tasks = session.module.tasks
    return {n: (first[n], tasks[first[n].task].points * first[n].weight / weights[first[n].task]) for n in names}


def _notes(submission: Submission, findings: Findings | None) -> list[str]:
    """What an instructor may want to look at; no points hang on it."""
    notes = [f"{file} was left out: {why}" for file, why in submission.left_out.items()]
    if findings and any("characters cut" in v.outcome.printed for v in findings.whole.values()):
        notes.append(FLOOD)
    if findings and findings.unwatched:
        notes.append(UNWATCHED)
    return notes + [f"line {f.line}: {f.used}" for f in (findings.screen.suspicious if findings else [])]


@cache
def _version_items() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import version

    import torch

    names = {"kit": version("llm-from-scratch-kit"), "python": platform.python_version()}
    return tuple({**names, "torch": str(torch.__version__), "numpy": version("numpy")}.items())


def versions() -> dict[str, str]:
    return dict(_version_items())
