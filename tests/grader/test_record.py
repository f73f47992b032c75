"""What a run leaves on disk: it comes back the same, and a reader never sees half of it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from grader.errors import BadRequest
from grader.record import SCHEMA, CheckRecord, Diagnosis, Picture, SubmissionRecord, from_json, write_whole

PASSED = CheckRecord("check_sums", "softmax", "passed", 6.0, 6.0, "", None, 0.001, 0.002, "Rows sum to one.")
FAILED = CheckRecord(
    name="check_scores",
    task="attention_weights",
    status="failed",
    points=0.0,
    max_points=5.5,
    message="expected shape (2, q_len 3), got (2, 4).\n≈ ½ 김지우",
    diagnosis=Diagnosis("no-scale", "Scores are not scaled.", ["Look at eq. 1.", "sqrt(head_dim)"]),
    seconds=0.5,
    reference_seconds=0.25,
    sentence="Scores are scaled.",
    cause="softmax",
    picture=Picture(("q_len", "k_len"), "output, axis 0 1", [[1.0, "nan"]], [["-inf", 2.5]]),
    printed="hello\n",
)
RECORD = SubmissionRecord(
    submission="ann",
    module="attention",
    score=6.0,
    max_score=11.5,
    status="graded",
    seed=2**31 - 1,
    device="cpu",
    isolation=["landlock", "seccomp"],
    versions={"torch": "2.9.1"},
    seconds=1.25,
    checks=[PASSED, FAILED],
    problem="",
    notes=["line 3: torch.softmax"],
    digest="abc",
)


def test_record_comes_back_the_same() -> None:
    assert from_json(RECORD.to_json()) == RECORD
    empty = replace(RECORD, checks=[], status="unreadable", problem="not a zip")
    assert from_json(empty.to_json()) == empty


def test_record_is_the_json_that_the_design_promises() -> None:
    data = json.loads(RECORD.to_json())
    assert data["schema"] == SCHEMA
    assert {"submission", "module", "score", "max_score", "status", "seed", "device"} < set(data)
    assert {"isolation", "versions", "seconds", "checks"} < set(data)
    names = {"name", "task", "status", "points", "max_points", "message", "diagnosis", "seconds", "reference_seconds"}
    assert names < set(data["checks"][0])
    assert data["checks"][0]["diagnosis"] is None
    assert data["checks"][1]["diagnosis"]["mutant"] == "no-scale"


def test_record_is_text_that_ends_with_a_newline() -> None:
    assert RECORD.to_json().endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_json_has_not_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(RECORD, seconds=number).to_json()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"checks": [{}]}', '{"checks": [], "colour": 1}'])
def test_text_that_is_no_record_raises_what_a_reader_catches(text: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        from_json(text)


def test_record_with_a_lone_surrogate_can_be_written_and_read(tmp_path: Path) -> None:
    """A student's message may hold any character that Python has; it must not stop the run."""
    record = replace(RECORD, checks=[replace(FAILED, message="\ud800 is no character", printed="\udc80")])
    write_whole(tmp_path / "record.json", record.to_json())
    assert from_json((tmp_path / "record.json").read_text(encoding="utf-8")).checks[0].task == FAILED.task


# --- writing ---


def test_write_whole_makes_the_folder_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ann" / "deep" / "attention.json"
    write_whole(path, "one ½\n")
    write_whole(path, "two ½\n")
    assert path.read_bytes() == "two ½\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["attention.json"]


def test_next_write_clears_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "attention.json"
    ended = subprocess.Popen(["true"])
    ended.wait()
    killed = tmp_path / f".attention.json.{ended.pid}"
    others = [".attention.json.1", ".attention.json.old", ".attention.json.07"]
    others += [f".block.json.{ended.pid}", f"attention.json.{ended.pid}", f".attention.json.b.{ended.pid}"]
    for file in (killed, *(tmp_path / name for name in others)):
        file.write_text("half")
    write_whole(path, "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*others, "attention.json"])


def test_old_file_stays_when_the_text_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "grades.csv"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["grades.csv"]


def test_old_file_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grades.csv"
    write_whole(path, "old")
    write_bytes = Path.write_bytes

    def half(self: Path, contents: bytes) -> int:
        write_bytes(self, contents[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(BadRequest, match=r"grades\.csv cannot be written: No space left on device\. The same command"):
        write_whole(path, "new text")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["grades.csv"]


def test_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grades.csv"
    write_whole(path, "old")
    seen: list[tuple[str, str]] = []
    replace_file = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append((path.read_text(), self.read_text()))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write_whole(path, "new")
    assert seen == [("old", "new")]
    assert path.read_text() == "new"
