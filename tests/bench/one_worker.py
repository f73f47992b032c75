"""`python -m tests.bench.one_worker FILE`: the CPU seconds of workers that do more and more of their work on a file."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grader.collecting import RowId

WARM_UP, WORKERS = 25, 15  # a zygote takes to huge pages once it has been forked twenty times


def main(file: Path) -> None:
    """Print what a worker does → its CPU seconds as JSON."""
    from grader.assemble import assemble
    from grader.course import load_course
    from grader.opening import open_session
    from grader.workers import run_job

    course = load_course(Path(__file__).resolve().parents[2])
    module = course.module("attention")
    files = assemble(course, module, {"attention.py": file.read_text(encoding="utf-8")})
    with open_session(course, module, seed=1) as session:

        def nothing() -> float:
            pid, sock = session.students.spawn(session.jobs.caps)
            with sock:
                return session.students.kill(pid)[1]

        def rows(some: "Sequence[RowId]", watched: Sequence[str] = ()) -> Callable[[], float]:
            job = session.job([files], some, watched=watched)
            return lambda: run_job(session.students, job).cpu_seconds

        public = [row for row in session.rows if not row.hidden]
        hidden = [row for row in session.rows if row.hidden]
        work = {
            "its start and end": nothing,
            "and one row": rows(public[:1]),
            f"and all {len(public)} public rows": rows(public),
            f"and all {len(hidden)} hidden rows": rows(hidden),
            "and these watched": rows(hidden, module.all_forbidden),
        }
        for _ in range(WARM_UP):
            nothing()
        turns = [{name: run() for name, run in work.items()} for _ in range(WORKERS)]
    print(json.dumps({name: median(turn[name] for turn in turns) for name in work}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
