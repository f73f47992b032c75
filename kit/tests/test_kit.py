"""Whether this kit is whole. Run it when in doubt: `.venv/bin/python -m pytest tests/test_kit.py`."""

from pathlib import Path

import pytest

from grader.course import load_course
from grader.opening import open_session

COURSE = load_course(Path(__file__).resolve().parents[1])


@pytest.mark.parametrize("module", sorted(COURSE.modules))
def test_every_check_of_a_module_has_its_answer(module):
    with open_session(COURSE, COURSE.module(module), seed=0) as session:
        assert session.expected.keys() == {row.name for row in session.rows}
        assert session.mutants


@pytest.mark.parametrize("module", sorted(COURSE.modules))
def test_every_module_has_its_stub_and_its_handout(module):
    for path in (f"assignments/stubs/{module}.py", f"assignments/{module}.py", f"handouts/{module}.md"):
        assert (COURSE.root / path).is_file(), path
