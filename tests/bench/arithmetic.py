"""`python -m tests.bench.arithmetic FILE …`: the CPU seconds that the checks' own arithmetic takes on each file.

Every row of attention's checks, called in a loop in one warm process: no fork, no sandbox, nothing sent or compared.
What grading a submission takes beyond this is the grader's.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

PASSES = 4  # the first one warms up


def main(files: list[Path]) -> None:
    """Print file → seconds as JSON, and the number of checks."""
    from grader import sandbox, worker
    from grader.assemble import assemble
    from grader.collecting import collect_checks
    from grader.course import load_course
    from grader.jobs import jobs_of

    course = load_course(Path(__file__).resolve().parents[2])
    module = course.module("attention")
    checks = {found.row.name: found for found in collect_checks(course.check_files(module.name))}
    rows = [found.row for found in checks.values()]
    jobs, printed = jobs_of(course, module, "cpu"), sandbox.Printed(64)
    seconds: dict[str, list[float]] = {str(file): [] for file in files}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(PASSES):
            for file in files:
                own = {jobs.file: file.read_text(encoding="utf-8")}
                job = jobs.job([assemble(course, module, own)], rows, {})
                start = process_time()
                for _ in worker.run_all(job, checks, printed, Path(scratch)):
                    pass
                seconds[str(file)].append(process_time() - start)
    sandbox.start_clock(0)
    each = {file: median(found[1:]) for file, found in seconds.items()}
    print(json.dumps({"seconds": each, "checks": len({row.check for row in rows})}))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
