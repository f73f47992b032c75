"""The hostile class: no attack gains a point, reaches a secret, harms a neighbour or leaves anything behind.

Slow: `make attacks` prints the same as a table, and test_isolation.py tries each layer in `make test`. What an attack
needs to be harmless (`# needs:` in its head) is not there at every level: there it is not run, and the report says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from grader.session import Session
from scripts.attacks import (
    HONEST,
    LEVELS,
    ROOT,
    Attack,
    Stage,
    hostile_session,
    play,
    protects,
    read_attacks,
    set_stage,
    verdicts,
)

ATTACKS = read_attacks()
SLOW = [pytest.param(level, marks=pytest.mark.slow) for level in LEVELS]


@dataclass(frozen=True)
class Scene:
    """One level: its session, what the attacks go for, and the neighbour's verdicts before any of them."""

    level: str
    session: Session
    stage: Stage
    before: list[tuple[str, str, float, str]]


@pytest.fixture(scope="module", params=SLOW)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with set_stage() as stage, hostile_session(request.param) as session:
        yield Scene(request.param, session, stage, verdicts(session))


def test_neighbour_has_full_marks_to_begin_with(scene: Scene) -> None:
    assert {status for _, status, _, _ in scene.before} == {"passed"}


def test_report_names_what_is_not_protected(scene: Scene) -> None:
    level = scene.session.isolation[0].removeprefix("level ")
    open_files = "not protected: files" in scene.session.isolation
    assert open_files == (level in "CD")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_gets_nowhere(scene: Scene, attack: Attack) -> None:
    if not protects(scene.session, attack.needs):
        pytest.skip(f"not run where {attack.needs} is not protected; the report says so")
    assert play(scene.session, scene.stage, attack).troubles == [], attack.says


def test_neighbour_is_graded_the_same_after_all_of_them(scene: Scene) -> None:
    assert verdicts(scene.session) == scene.before


def test_honest_part_is_the_same_in_every_file() -> None:
    parts = {re.search(r"^# The honest part.*^# The attack", a.source, re.M | re.S)[0] for a in ATTACKS}
    assert len(parts) == 1


def test_honest_part_is_worth_its_points(scene: Scene) -> None:
    source = next(attack for attack in ATTACKS if attack.name == "replayed_answers")
    seen = play(scene.session, scene.stage, source)
    assert seen.record is not None
    assert seen.record.score == HONEST


def test_every_row_of_the_list_is_covered() -> None:
    readme = (ROOT / "tests" / "attacks" / "README.md").read_text(encoding="utf-8")
    played = {int(row) for attack in ATTACKS for row in attack.rows.split(",")}
    elsewhere = {int(row) for row in re.findall(r"^\| (\d+) ", readme, re.M)}
    assert played | elsewhere == set(range(1, 53))
    assert not played & elsewhere
