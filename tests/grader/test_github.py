"""What GitHub gets: nothing of a student's text can act as a command, break the page, or claim points."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from grader.course import Module
from grader.errors import BadRequest
from grader.github import (
    annotations,
    classroom,
    line_of,
    quoted_log,
    require_actions,
    summary,
    write_outputs,
    write_refusal,
)
from grader.record import Chain, CheckRecord, Diagnosis, SubmissionRecord

SOURCE = "import torch\n\n\ndef softmax(x, dim):\n    return x\n\n\nclass Linear:\n    pass\n"
NOTICE = "::notice title=Autograding complete::Points 100/100"
HOSTILE = f"a % b\n{NOTICE}\r\n```\n# big\n```\n<img src=x onerror=alert(1)> \x1b[31m"


def check(task: str, status: str, message: str = "", name: str = "check_x", points: float = 0.0) -> CheckRecord:
    return CheckRecord(name, task, status, points, 2.0, message, None, 0.25, 0.0, "It is right.")


def record(*checks: CheckRecord, problem: str = "") -> SubmissionRecord:
    score = sum(one.points for one in checks)
    status = "not_importable" if problem else "graded"
    return SubmissionRecord(
        "kim", "attention", score, 100.0, status, 0, "cpu", [], {}, 1.0, list(checks), problem=problem
    )


def test_annotation_stands_on_the_head_of_the_task(attention: Module) -> None:
    found = annotations(record(check("Linear", "failed", "all 9 entries differ")), attention, SOURCE)
    assert found == [
        "::error file=assignments/attention.py,line=8,title=1.2 Linear%3A failed::It is right.%0Aall 9 entries differ"
    ]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("TypeError: no\nattention.py, line 4, in softmax\n    x\nattention.py, line 77, in helper\n    y", 77),
        ("line 5: torch.softmax is what this module has you build yourself.", 5),
        ("all entries differ", 4),
    ],
)
def test_line_is_the_last_frame_or_the_call_or_the_task(attention: Module, message: str, line: int) -> None:
    assert line_of(check("softmax", "error", message), attention, SOURCE) == line


def test_annotation_of_hostile_text_is_one_line_that_says_nothing_else(attention: Module) -> None:
    [line] = annotations(record(check("softmax", "failed", HOSTILE)), attention, SOURCE)
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert line.count("::") - line.split("::", 2)[2].count("::") == 2
    assert "a %25 b%0A" in line


def test_at_most_ten_annotations_and_a_failure_of_each_task_first(attention: Module) -> None:
    many = [check("softmax", "failed", str(i)) for i in range(12)]
    found = annotations(record(*many, check("Linear", "error", "last")), attention, SOURCE)
    assert len(found) == 11
    assert "Linear" in found[1]
    assert found[-1] == "::notice::3 more failing checks: see the summary."


def test_stub_is_no_error(attention: Module) -> None:
    assert annotations(record(check("softmax", "missing", "Not written yet.")), attention, SOURCE) == []


def test_file_that_does_not_parse_is_annotated_at_its_line(attention: Module) -> None:
    broken = record(check("softmax", "blocked"), problem="attention.py does not parse: line 12: invalid syntax")
    [line] = annotations(broken, attention, "def (")
    assert line.startswith("::error file=assignments/attention.py,line=12,title=Attention::")


def test_summary_has_the_points_and_keeps_hostile_text_in_a_fence(attention: Module) -> None:
    text = summary(record(check("softmax", "failed", HOSTILE), check("Linear", "passed", points=8.0)), attention)
    assert text.startswith("## Attention: 8 of 100 points\n")
    assert "| 1.1 | softmax | 0 of 12 | 1 of 1 checks fail |" in text
    fence = next(line for line in text.splitlines() if line.endswith("text"))
    assert fence == "````text"
    inside = text.split(fence)[1].split("\n````\n")[0]
    assert "<img" in inside
    assert "<img" not in text.replace(inside, "")


def test_summary_says_what_the_student_s_earlier_files_do(attention: Module) -> None:
    chain = Chain(["attention", "block"], 9, 2, "block", f"It is causal.\n{HOSTILE}")
    text = summary(replace(record(check("softmax", "passed")), chain=chain), attention)
    assert "2 of 9 examples that are right with given parts are not; block is to blame. No points hang on it." in text
    assert "\n````text\nIt is causal." in text
    assert not [line for line in text.splitlines() if line.startswith("Points")]


def test_summary_stays_below_the_size_that_github_refuses(attention: Module) -> None:
    text = summary(record(*[check("softmax", "failed", "ü" * 5000) for _ in range(900)]), attention)
    assert len(text.encode()) < 1 << 20
    assert "The messages are too long for here: see the log." in text


def test_classroom_result_is_what_the_reporter_reads(attention: Module) -> None:
    known = Diagnosis("softmax_no_max", "The maximum is not subtracted.")
    failed = CheckRecord("check_x", "softmax", "failed", 0.0, 2.0, "nan", known, 0.25, 0.0, "It is right.")
    whole = classroom(record(failed, check("Linear", "passed", points=8.0)), attention, SOURCE)
    result = json.loads(base64.b64decode(whole))
    assert (result["version"], result["status"], result["max_score"]) == (1, "fail", 100.0)
    assert result["tests"][0] == {
        "name": "softmax: It is right.",
        "status": "fail",
        "score": 0.0,
        "message": "This is exactly the output of a known mistake: The maximum is not subtracted.\nnan",
        "test_code": "check_x",
        "filename": "attention.py",
        "line_no": 4,
        "duration": 250,
    }
    assert sum(test["score"] for test in result["tests"]) == 8.0


def test_points_of_the_classroom_result_add_up_to_the_score(attention: Module) -> None:
    thirds = [check("softmax", "passed", points=100 / 7) for _ in range(7)]
    result = json.loads(base64.b64decode(classroom(record(*thirds), attention, SOURCE)))
    assert sum(test["score"] for test in result["tests"]) == 100
    lost = record(*thirds[1:], check("softmax", "failed"))
    result = json.loads(base64.b64decode(classroom(lost, attention, SOURCE)))
    assert sum(test["score"] for test in result["tests"]) == pytest.approx(600 / 7, abs=0.01)
    assert result["tests"][-1]["score"] == 0


def test_known_mistake_is_annotated_once(attention: Module) -> None:
    known = Diagnosis("softmax_no_max", "The maximum is not subtracted.")
    same = [replace(check("softmax", "failed", str(i)), diagnosis=known) for i in range(12)]
    lines = annotations(record(*same, check("Linear", "failed")), attention, SOURCE)
    assert [line.split("title=")[1].split("::")[0] for line in lines] == [
        "1.1 softmax%3A failed",
        "1.2 Linear%3A failed",
    ]


def test_classroom_result_of_a_file_that_does_not_import_is_an_error(attention: Module) -> None:
    broken = record(check("softmax", "blocked"), problem="ModuleNotFoundError: No module named 'tensorflow'")
    result = json.loads(base64.b64decode(classroom(broken, attention, SOURCE)))
    assert (result["status"], result["tests"][0]["status"]) == ("error", "error")
    assert "tensorflow" in result["tests"][0]["message"]


def test_log_stands_between_stop_commands_with_a_token_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with quoted_log():
            print("::notice::Points 100/100")
    first, _, _, last, again, *_ = capsys.readouterr().out.splitlines()
    token = first.removeprefix("::stop-commands::")
    assert (len(token), last) == (32, f"::{token}::")
    assert token not in again


def test_outputs_are_appended_where_github_says(attention: Module, tmp_path: Path) -> None:
    places = {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    for _ in range(2):
        write_outputs(record(check("softmax", "failed", HOSTILE)), attention, SOURCE, places)
    lines = (tmp_path / "out").read_text().splitlines()
    assert [line.split("=")[0] for line in lines] == ["result", "result"]
    assert (tmp_path / "summary").read_text().count("## Attention") == 2


def test_module_that_cannot_be_checked_has_a_result_too(attention: Module, tmp_path: Path) -> None:
    places = {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    write_refusal(attention, f"There is no 'attention.py'.\n{HOSTILE}", places)
    [line] = (tmp_path / "out").read_text().splitlines()
    result = json.loads(base64.b64decode(line.removeprefix("result=")))
    assert (result["version"], result["status"], result["max_score"]) == (1, "error", 100)
    [test] = result["tests"]
    assert (test["name"], test["status"], test["score"]) == ("Attention", "error", 0)
    assert test["message"].startswith("There is no 'attention.py'.")
    assert (tmp_path / "summary").read_text().startswith("## Attention: not checked\n\n````text\nThere is no")


def test_ci_refuses_to_run_elsewhere() -> None:
    with pytest.raises(BadRequest, match=r"GITHUB_OUTPUT is not set; use `check`\."):
        require_actions({"GITHUB_STEP_SUMMARY": "x"})
