"""progress.txt: a line a fact, whatever a merge has made of it; and the map that is drawn from it."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

from grader.course import load_course
from grader.progress import note_hint, note_points, read_progress
from grader.record import CheckRecord, SubmissionRecord
from grader.status import as_text, current, survey

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "0123456789abcdef" * 4


def record(points: dict[str, float], digest: str = DIGEST) -> SubmissionRecord:
    checks = [CheckRecord(f"check_{t}", t, "passed", p, p, "", None, 0, 0, "") for t, p in points.items()]
    return SubmissionRecord("kim", "attention", 0, 100, "graded", 0, "cpu", [], {}, 0, checks, digest=digest)


def test_tasks_without_points_are_no_news(folder: Path) -> None:
    course = load_course(folder)
    note_points(folder, course.module("attention"), record({"softmax": 0}))
    assert not (folder / "progress.txt").exists()


def test_points_are_kept_and_may_fall_again(folder: Path) -> None:
    module = load_course(folder).module("attention")
    note_points(folder, module, record({"softmax": 12, "Linear": 4}))
    found = read_progress(folder).points
    assert {task: (r.points, r.max_points) for task, r in found.items()} == {
        "attention.softmax": (12, 12),
        "attention.Linear": (4, 8),
    }
    note_points(folder, module, record({"softmax": 3, "Linear": 4}, "f" * 64))
    assert read_progress(folder).points["attention.softmax"].points == 3
    assert read_progress(folder).module_points(module) == 7


def test_same_result_writes_nothing_anew(folder: Path) -> None:
    module = load_course(folder).module("attention")
    note_points(folder, module, record({"softmax": 12}))
    before = (folder / "progress.txt").stat().st_mtime_ns
    note_points(folder, module, record({"softmax": 12}))
    assert (folder / "progress.txt").stat().st_mtime_ns == before


def test_two_machines_merge_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "progress.txt").write_text(
        "# head\n"
        "<<<<<<< ours\n"
        "2026-03-01T10:00:00Z points attention.softmax 12/12 aaaaaaaa\n"
        "=======\n"
        "2026-03-02T10:00:00Z points attention.softmax 9/12 bbbbbbbb\n"
        "2026-03-02T10:00:00Z hints attention.softmax softmax_no_max 1\n"
        ">>>>>>> theirs\n"
        "2026-03-01T10:00:00Z hints attention.softmax softmax_no_max 3\n"
        "2026-03-01T10:00:00Z points attention.Linear 8/8 aaaaaaaa\n"
        "no fact at all\n"
    )
    found = read_progress(tmp_path)
    assert found.points["attention.softmax"].points == 9
    assert found.points["attention.Linear"].points == 8
    assert found.hints["attention.softmax", "softmax_no_max"].count == 3
    note_hint(tmp_path, "attention.Linear", "", 1)
    text = (tmp_path / "progress.txt").read_text()
    assert "<<<" not in text
    assert text.count("\n") == 5
    assert read_progress(tmp_path).hints["attention.Linear", "-"].count == 1


def test_git_merges_two_machines_with_what_the_kit_ships(tmp_path: Path, folder: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)

    git("init", "-q", "-b", "one")
    shutil.copyfile(ROOT / "kit" / ".gitattributes", folder / ".gitattributes")
    note_hint(folder, "attention.softmax", "", 1)
    git("add", ".")
    git("commit", "-qm", "start")
    git("checkout", "-qb", "other")
    note_hint(folder, "attention.softmax", "", 4)
    git("commit", "-qam", "other")
    git("checkout", "-q", "one")
    note_hint(folder, "attention.softmax", "", 2)
    git("commit", "-qam", "one")
    git("merge", "-q", "other")
    assert read_progress(folder).hints["attention.softmax", "-"].count == 4


def test_hints_of_a_module_are_counted(tmp_path: Path, folder: Path) -> None:
    module = load_course(folder).module("attention")
    note_hint(folder, "attention.softmax", "softmax_no_max", 3)
    note_hint(folder, "attention.Linear", "a,b", 1)
    assert read_progress(folder).module_hints(module) == 4


# --- the map ---


def test_map_of_an_untouched_course_says_what_is_next(folder: Path) -> None:
    course = load_course(folder)
    text = as_text(survey(course))
    assert f"{course.title}: 0 of " in text
    assert "week 1  attention" in text
    assert "Next: 1.1 softmax, 12 points to gain.\n  handouts/attention.md\n  grader check attention --watch" in text
    assert current(course) == "attention"


def test_map_goes_on_at_the_first_task_with_points_to_gain(folder: Path) -> None:
    course = load_course(folder)
    note_points(folder, course.module("attention"), record({"softmax": 12, "Linear": 4}))
    found = survey(course)
    assert (found.next_module, found.next_task) == ("attention", "Linear")
    assert "Next: 1.2 Linear, 4 points to gain." in as_text(found)
    assert found.modules[0].done == 1
    assert "changed since: grader check attention" in as_text(found)  # the points are not of this file


def test_map_says_when_a_module_is_due(folder: Path) -> None:
    path = folder / "course.toml"
    path.write_text(path.read_text().replace('title = "Attention"\n', 'title = "Attention"\ndue = "2026-10-01"\n'))
    load_course.cache_clear()
    found = survey(load_course(folder))
    assert "due 2026-10-01, in 3 days" in as_text(found, date(2026, 9, 28))
    assert "due 2026-10-01, today" in as_text(found, date(2026, 10, 1))
    assert "due 2026-10-01, 2 days ago" in as_text(found, date(2026, 10, 3))


def test_map_fits_into_eighty_columns(folder: Path) -> None:
    assert max(map(len, as_text(survey(load_course(folder))).splitlines())) <= 80
