"""The checks of every module are proved: mutants killed and named, right answers passed."""

import pytest

from grader.adequacy import killers, prove, wrongly_failed
from grader.course import Course, find_root, load_course
from grader.opening import open_session

MODULES = sorted(load_course(find_root()).modules)
SAMPLE = 12


@pytest.mark.parametrize("module", MODULES)
def test_right_implementations_pass_and_a_sample_of_the_mutants_does_not(course: Course, module: str) -> None:
    with open_session(course, course.module(module), seed=0) as session:
        passed = wrongly_failed(session)
        assert len(passed) >= 4
        assert not any(passed.values()), passed
        sample = session.mutants[:: len(session.mutants) // SAMPLE]
        for mutant, outcomes in zip(sample, session.live.outcomes(sample, session.rows), strict=True):
            assert killers(session, outcomes), mutant.name


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_checks_of_a_module_are_adequate(course: Course, module: str) -> None:
    proof = prove(course, course.module(module), seed=0)
    assert proof.complaints() == []
    assert proof.clean
    assert len(proof.checks) >= 20
    assert len(proof.killed_by) >= 25
