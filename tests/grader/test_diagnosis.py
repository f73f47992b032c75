"""Known mistakes are recognised in other styles, and what is not known is never given a name."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grader.mutants import Mutant, apply
from grader.record import SubmissionRecord

STYLES = Path(__file__).resolve().parents[1] / "styles" / "attention"
Grade = Callable[..., SubmissionRecord]


def mistakes(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads((STYLES / file).read_text(encoding="utf-8"))["mistake"]
    return found


def source(mistake: dict[str, Any]) -> str:
    """The correct submission of the mistake's style with the mistake in it."""
    symbol = mistake["symbol"]
    edits = [(old, new) for old, new in mistake.get("edits", [])]
    edit = Mutant(mistake["name"], symbol.split(".")[0], symbol, mistake["says"], [], edits, mistake.get("body"))
    return apply(edit, (STYLES / f"{mistake['style']}.py").read_text(encoding="utf-8"))


def named(record: SubmissionRecord) -> set[str]:
    return {name for check in record.checks if check.diagnosis for name in check.diagnosis.mutant.split(" or ")}


def test_same_mistake_in_another_style_is_named_nine_times_in_ten(graded_source: Grade) -> None:
    known = mistakes("mistakes.toml")
    names = {mistake["name"]: (mistake["same_as"], named(graded_source(source(mistake)))) for mistake in known}
    assert len(names) >= 30
    wrong = {name: got for name, (wanted, got) in names.items() if got - {wanted}}
    assert wrong == {}
    assert sum(wanted in got for wanted, got in names.values()) >= 0.9 * len(names)


@pytest.mark.parametrize("mistake", mistakes("fresh.toml"), ids=lambda mistake: mistake["name"])
def test_fresh_mistake_is_caught_and_not_misnamed(graded_source: Grade, mistake: dict[str, Any]) -> None:
    record = graded_source(source(mistake))
    assert record.score < 100
    assert named(record) <= set(mistake.get("may_be_named", []))
