"""The checks of every module are proved: mutants killed and named, right answers passed."""

import pytest

from grader.adequacy import prove
from grader.course import find_root, load_course

COURSE = load_course(find_root())


@pytest.mark.parametrize("module", COURSE.modules)
def test_checks_of_a_module_are_adequate(module: str) -> None:
    proof = prove(COURSE, COURSE.modules[module], seed=0)
    assert proof.complaints() == []
    assert proof.clean
    assert len(proof.checks) >= 20
    assert len(proof.killed_by) >= 25
