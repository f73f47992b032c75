"""Proof that the checks are good: every mutant is killed by a public row and named, every right answer passes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from .assemble import GIVEN_FOLDER
from .collect import Submission
from .compare import same_output
from .course import Course, Module
from .device import CPU, is_gpu
from .diagnose import diagnose
from .grade import look_into
from .live import batches
from .mutants import Mutant
from .opening import open_session
from .options import Options
from .outcome import Outcome
from .run import jobs_by_default
from .screen import screen
from .session import Session
from .source import Known

ILL_CONDITIONED = 200  # times u·scale: beyond it the tolerance says little
NAMED_SHARE = 0.9


@dataclass(frozen=True)
class Proof:
    """What was found about the checks of one module."""

    module: str
    checks: list[str]
    killed_by: dict[str, list[str]]  # mutant → checks with a public row that it fails
    named: list[str]
    named_as: dict[str, str]  # mutant → what it was called instead, for those not named
    wrongly_failed: dict[str, list[str]]  # right implementation → what it fails
    ill_conditioned: list[str]
    dead_weight: list[str]

    @property
    def survivors(self) -> list[str]:
        return [name for name, killers in self.killed_by.items() if not killers]

    @property
    def clean(self) -> bool:
        enough = len(self.named) >= NAMED_SHARE * len(self.killed_by)
        return enough and not (
            self.survivors or any(self.wrongly_failed.values()) or self.ill_conditioned or self.dead_weight
        )

    def summary(self) -> dict[str, Any]:
        killed = len(self.killed_by) - len(self.survivors)
        counts = {
            "mutants": len(self.killed_by),
            "killed": killed,
            "named": len(self.named),
            "survivors": self.survivors,
        }
        return {
            **counts,
            "not_named": self.named_as,
            "wrongly_failed": self.wrongly_failed,
            "ill_conditioned": self.ill_conditioned,
            "dead_weight": self.dead_weight,
        }

    def complaints(self) -> list[str]:
        """One line for each thing that is not as it should be."""
        lines = [f"survivor: {name}" for name in self.survivors]
        lines += [f"not named: {name} ({called or 'nothing fits'})" for name, called in self.named_as.items()]
        lines += [f"right but failed: {impl}: {what}" for impl, all_ in self.wrongly_failed.items() for what in all_]
        lines += [f"ill-conditioned: {row}" for row in self.ill_conditioned]
        return lines + [
            f"dead weight: {check} kills and names nothing that others do not" for check in self.dead_weight
        ]


@dataclass(frozen=True)
class Tried:
    """A mutant's outcomes as a whole file and, for tasks that failed, with given below them; what it was called."""

    mutant: Mutant
    whole: dict[str, Outcome]
    alone: dict[str, Outcome]
    called: str


def prove(course: Course, module: Module, seed: int, device: str = CPU) -> Proof:
    """Run every mutant and every right implementation of a module through the grader."""
    jobs = 1 if is_gpu(device) else jobs_by_default()
    with open_session(course, module, seed, device) as session, ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda batch: _tried(session, batch), batches(session.mutants))
        tried = [one for batch in found for one in batch]
        named = [one.mutant.name for one in tried if one.called == one.mutant.name]
        return Proof(
            module=module.name,
            checks=list(dict.fromkeys(row.check for row in session.rows)),
            killed_by={one.mutant.name: killers(session, one.whole) for one in tried},
            named=named,
            named_as={one.mutant.name: one.called for one in tried if one.mutant.name not in named},
            wrongly_failed=wrongly_failed(session),
            ill_conditioned=_ill_conditioned(session),
            dead_weight=_dead_weight(session),
        )


def wrongly_failed(session: Session) -> dict[str, list[str]]:
    """Every right implementation of the module → the rows that it fails."""
    root, module = session.course.root, session.module.name
    files = [root / folder / f"{module}.py" for folder in ("reference", GIVEN_FOLDER)]
    files += sorted((root / "tests" / "styles" / module).glob("*.py"))
    return {str(file.relative_to(root)): _failures(session, file) for file in files}


def _failures(session: Session, file: Path) -> list[str]:
    source = {f"{session.module.name}.py": file.read_text(encoding="utf-8")}
    status, problem, findings = look_into(session, Submission(file.stem, source), Options(ban=False))
    if findings is None:
        return [f"{status}: {problem}"]
    return [verdict.row.name for verdict in findings.whole.values() if verdict.status != "passed"]


def killers(session: Session, outcomes: Mapping[str, Outcome]) -> list[str]:
    """The checks that tell a mutant from the reference by a public row."""
    lost = [row for row in session.rows if not session.passes(row.name, outcomes[row.name])]
    return list(dict.fromkeys(row.check for row in lost if not row.hidden))


def _tried(session: Session, mutants: Sequence[Mutant]) -> list[Tried]:
    """Grade some mutants as submissions are graded, but many in a worker."""
    whole = session.live.outcomes(mutants, session.rows)
    alone: list[dict[str, Outcome]] = [{} for _ in mutants]
    for task in session.module.tasks:
        rows = [row for row in session.rows if row.task == task]
        failed = [i for i, found in enumerate(whole) if not all(session.passes(r.name, found[r.name]) for r in rows)]
        below = session.module.below(task)
        again = session.live.outcomes([mutants[i] for i in failed], rows, task) if below else [whole[i] for i in failed]
        for i, outcomes in zip(failed, again, strict=True):
            alone[i] |= {row.name: outcomes[row.name] for row in rows}
    return [Tried(*one, _called(session, *one)) for one in zip(mutants, whole, alone, strict=True)]


def _called(session: Session, mutant: Mutant, whole: dict[str, Outcome], alone: dict[str, Outcome]) -> str:
    """Every mutant that the diagnosis names; one that is also called something else is not named."""
    shared = screen(session.live.mutated(mutant), session.module).shared
    found = diagnose(session, whole, alone, shared).values()
    return " and ".join(sorted({diagnosis.mutant for diagnosis in found}))


def _ill_conditioned(session: Session) -> list[str]:
    found = []
    for row, expected in session.expected.items():
        for path, truth in expected.truths.items():
            if truth.floor and truth.estimate > ILL_CONDITIONED * truth.floor:
                found.append(f"{row} {path}: rounding is {truth.estimate / truth.floor:.0f} times the dtype's own")
    return found


def _dead_weight(session: Session) -> list[str]:
    """Checks that can go without a mutant passing its own task for it or two mutants of a task becoming alike.

    They are taken away one after the other, the lightest first, so that of two that do the same one stays. A check
    that pins an edge of the specification stays for that; the others have to carry the mutants without its help.
    """
    public = {row.name: row.check for row in session.rows if not row.hidden}
    uses = []
    for task in session.module.tasks:
        known = session.live.known(task)
        uses += [{public[name] for name in one.fails if name in public} for one in known]
        uses += [apart for one, other in combinations(known, 2) if (apart := _apart(session, one, other))]
    first = {row.check: row for row in reversed(session.rows)}
    pinned = {name for name, row in first.items() if row.pins}
    uses = [use - pinned for use in uses]
    dead = []
    for check in sorted(first, key=lambda name: first[name].weight):
        if check not in pinned and all(use != {check} for use in uses):
            dead.append(check)
            uses = [use - {check} for use in uses]
    return dead


def _apart(session: Session, one: Known[Outcome], other: Known[Outcome]) -> set[str]:
    """The checks whose output tells two mutants of a task apart."""
    return {
        row.check
        for row in session.rows
        if row.name in one.alone
        and not same_output(one.alone[row.name], other.alone[row.name], session.expected[row.name])
    }
