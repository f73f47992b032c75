"""All workers of a submission share one budget of time, computing or not."""

from dataclasses import replace

from grader.session import Session
from grader.trial import Budget, Trial
from grader.workers import NOT_RUN, USED_UP

BURN = """
import time

def softmax(x, dim):
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    return x

merge_heads = split_heads = softmax
"""


def test_budget_is_for_all_workers_together(session: Session) -> None:
    limits = replace(session.course.limits, submission_cpu_seconds=1)
    trial = Trial(session.for_course(replace(session.course, limits=limits)), {"attention.py": BURN})
    rows = [row for row in session.rows if row.task == "softmax"]
    first = trial.run([row for row in rows if not row.hidden])
    why = {outcome.why for outcome in first.outcomes.values() if outcome.ended == "timeout"}
    assert "the checks together took more time than a submission has" in why
    second = trial.run(rows)
    assert {outcome.why for outcome in second.outcomes.values()} <= {USED_UP, NOT_RUN}


def test_time_asleep_has_an_end_too(session: Session) -> None:
    limits = replace(session.course.limits, submission_wall_seconds=1)
    source = "import time\n\ndef softmax(x, dim):\n    time.sleep(0.3)\n    return x\n"
    trial = Trial(session.for_course(replace(session.course, limits=limits)), {"attention.py": source})
    rows = [row for row in session.rows if row.task == "softmax"]
    first = trial.run([row for row in rows if not row.hidden])
    why = [outcome.why for outcome in first.outcomes.values() if outcome.ended == "timeout"]
    assert why[0] == "the checks together took more time than a submission has"
    assert {outcome.why for outcome in trial.run(rows).outcomes.values()} <= {USED_UP, NOT_RUN}


def test_budget_is_larger_on_a_gpu(session: Session) -> None:
    limits, gpu = session.course.limits, replace(session, jobs=replace(session.jobs, device="cuda"))
    budget = Budget(3 * limits.submission_cpu_seconds, 3 * limits.submission_wall_seconds)
    assert Trial(gpu, {})._budget == budget


def test_profile_counts_the_workers(session: Session) -> None:
    before = {step.name: step.times for step in session.timings.steps()}
    Trial(session, {"attention.py": BURN}).run([row for row in session.rows if row.task == "causal_mask"])
    after = {step.name: step.times for step in session.timings.steps()}
    for name in ("start a worker", "run the rows of a worker", "end a worker"):
        assert after[name] == before.get(name, 0) + 2  # public rows, then hidden ones
