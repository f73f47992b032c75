"""What is taken from a submission, and what is refused in which words. The hostile zips are made here, byte by byte."""

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hand_ins import SOURCE, one, problem, write, zipped

from grader.collect import Submission, collect
from grader.errors import BadRequest

# --- where the file may be ---


def test_lone_file_is_the_module_whatever_its_name(tmp_path: Path) -> None:
    found = one(write(tmp_path / "kim lee.py"))
    assert (found.name, found.files, found.problem) == ("kim lee", {"attention.py": SOURCE}, "")


def test_folder_with_the_module_is_one_submission(tmp_path: Path) -> None:
    write(tmp_path / "kim" / "attention.py")
    write(tmp_path / "kim" / "other.py", "x = 1\n")
    assert one(tmp_path / "kim") == Submission("kim", {"attention.py": SOURCE})


def test_name_is_that_of_the_folder_behind_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "kim" / "attention.py")
    monkeypatch.chdir(tmp_path / "kim")
    assert one(Path(".")).name == "kim"


def test_zip_with_the_module_below_is_one_submission(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention/assignments/attention.py": SOURCE, "__MACOSX/attention.py": "?"})
    assert one(path) == Submission("kim", {"attention.py": SOURCE})


def test_folder_of_all_kinds_gives_one_submission_a_child(tmp_path: Path) -> None:
    write(tmp_path / "c" / "assignments" / "attention.py")
    write(tmp_path / "b.py")
    zipped(tmp_path / "a.zip", {"attention.py": SOURCE})
    write(tmp_path / "README.md", "hello")
    write(tmp_path / "metadata.yml", "hello")
    write(tmp_path / ".git" / "attention.py")
    write(tmp_path / "__MACOSX" / "attention.py")
    write(tmp_path / ".DS_Store", "hello")
    found = collect(tmp_path, "attention")
    assert [submission.name for submission in found] == ["a", "b", "c"]
    assert all(submission.files == {"attention.py": SOURCE} for submission in found)


def test_nearest_file_wins(tmp_path: Path) -> None:
    write(tmp_path / "class" / "kim" / "assignments" / "attention.py")
    write(tmp_path / "class" / "kim" / "assignments" / "given" / "attention.py", "x = 1\n")
    assert one(tmp_path / "class").files == {"attention.py": SOURCE}


def test_file_is_found_four_folders_down_and_no_further(tmp_path: Path) -> None:
    write(tmp_path / "class" / "kim" / "1" / "2" / "3" / "4" / "attention.py")
    assert one(tmp_path / "class").files == {"attention.py": SOURCE}
    zipped(tmp_path / "kim.zip", {"1/2/3/4/5/attention.py": SOURCE})
    assert problem(tmp_path / "kim.zip") == "no attention.py in it (it is empty)"


def test_two_candidates_are_both_named(tmp_path: Path) -> None:
    write(tmp_path / "class" / "kim" / "old" / "attention.py")
    write(tmp_path / "class" / "kim" / "new" / "attention.py")
    expected = "2 files named attention.py in it (new/attention.py, old/attention.py); keep the one to be graded"
    assert problem(tmp_path / "class") == expected


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["model.py", "utils.py", "notes.md"], "found: model.py, utils.py"),
        (["notes.md"], "found: notes.md"),
        ([f"week{i}.py" for i in range(7)], "found: week0.py, week1.py, week2.py, week3.py, week4.py and 2 more"),
        (["Attention.py"], "found Attention.py: rename it to attention.py"),
        (["attention (1).py", "utils.py"], "found attention (1).py: rename it to attention.py"),
        (["attention_v2_final.py"], "found attention_v2_final.py: rename it to attention.py"),
        (["attention.py.txt"], "found attention.py.txt: rename it to attention.py"),
        (["hw/atention.py"], "found hw/atention.py: rename it to attention.py"),
        (["check_attention.py"], "found: check_attention.py"),
        (
            ["attention.ipynb", "utils.py"],
            "attention.ipynb is a Jupyter notebook: export it as attention.py and hand that in",
        ),
        ([], "it is empty"),
    ],
)
def test_missing_module_is_told_with_what_was_found(tmp_path: Path, names: list[str], says: str) -> None:
    (tmp_path / "class" / "kim").mkdir(parents=True)
    for name in names:
        write(tmp_path / "class" / "kim" / name)
    assert problem(tmp_path / "class") == f"no attention.py in it ({says})"


def test_upstream_files_come_from_the_same_folder(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"hw/block.py": "b\n", "hw/attention.py": SOURCE, "gpt.py": "g\n"})
    (found,) = collect(path, "block", ("attention", "gpt"))
    assert found == Submission("kim", {"block.py": "b\n", "attention.py": SOURCE})


def test_unreadable_upstream_file_costs_nothing(tmp_path: Path) -> None:
    write(tmp_path / "kim" / "attention.py")
    write(tmp_path / "kim" / "block.py", b"\xff")
    found = one(tmp_path / "kim", upstream=("block",))
    assert found.files == {"attention.py": SOURCE}
    assert found.left_out == {"block.py": "block.py is not UTF-8 (byte 0xff at offset 0); save it as UTF-8"}


def test_digest_follows_the_text_and_the_problem(tmp_path: Path) -> None:
    first, again, other = (one(write(tmp_path / f"{i}.py", text)) for i, text in enumerate([SOURCE, SOURCE, "x\n"]))
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 64
    assert Submission("a", {}, "one").digest != Submission("a", {}, "two").digest


# --- text ---


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x = 1\nname = \xff\n", "kim.py is not UTF-8 (byte 0xff at offset 13); save it as UTF-8"),
        ("x = 1".encode("utf-16"), "kim.py is not UTF-8 (byte 0xff at offset 0); save it as UTF-8"),
        (b"x = 1\0", "kim.py is not a text file (a NUL byte at offset 5); save it as UTF-8"),
        (b"#" * (2**18 + 1), "kim.py is larger than 256 KiB; hand in the source alone"),
        (
            json.dumps({"cells": [], "nbformat": 4}),
            "kim.py is a Jupyter notebook: export it as attention.py and hand that in",
        ),
    ],
)
def test_unusable_text_is_told(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert problem(write(tmp_path / "kim.py", content)) == says


@pytest.mark.parametrize("content", ['{"a": 1}\n', "{1, 2}\n", '{"cells": ' * 20_000])
def test_text_that_only_begins_like_a_notebook_is_kept(tmp_path: Path, content: str) -> None:
    assert one(write(tmp_path / "kim.py", content)).files == {"attention.py": content}


def test_byte_order_mark_and_carriage_returns_are_dropped(tmp_path: Path) -> None:
    found = one(write(tmp_path / "kim.py", b"\xef\xbb\xbfx = 1\r\ny = 2\rz = 3\n"))
    assert found.files == {"attention.py": "x = 1\ny = 2\nz = 3\n"}


def test_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    assert one(write(tmp_path / "kim.py", b"#" * 2**18)).problem == ""


# --- links and other things that are no files ---


def test_link_typed_on_purpose_is_followed_and_names_the_submission(tmp_path: Path) -> None:
    write(tmp_path / "2024-kim" / "attention.py")
    (tmp_path / "kim").symlink_to(tmp_path / "2024-kim")
    assert one(tmp_path / "kim") == Submission("kim", {"attention.py": SOURCE})


def test_module_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kim").mkdir()
    (tmp_path / "kim" / "attention.py").symlink_to(write(tmp_path / "secret.py"))
    says = "attention.py is a link, and links are not followed; hand in the file itself"
    assert problem(tmp_path / "kim") == says
    (tmp_path / "kim" / "attention.py").unlink()
    (tmp_path / "kim" / "attention.py").symlink_to(tmp_path / "nowhere")
    assert problem(tmp_path / "kim") == says


def test_child_that_is_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "attention.py")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "kim").symlink_to(tmp_path / "secret")
    (tmp_path / "class" / "lee.py").symlink_to(tmp_path / "secret" / "attention.py")
    (tmp_path / "class" / "notes.md").symlink_to(tmp_path / "secret" / "attention.py")
    assert [(found.name, found.files, found.problem) for found in collect(tmp_path / "class", "attention")] == [
        ("kim", {}, "kim is a link, and links are not followed; hand in what it points to"),
        ("lee", {}, "lee.py is a link, and links are not followed; hand in the file itself"),
    ]


def test_linked_folder_inside_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "attention.py")
    (tmp_path / "class" / "kim").mkdir(parents=True)
    (tmp_path / "class" / "kim" / "assignments").symlink_to(tmp_path / "secret")
    assert problem(tmp_path / "class") == "no attention.py in it (found: assignments)"


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "kim").mkdir()
    os.mkfifo(tmp_path / "kim" / "attention.py")
    os.mkfifo(tmp_path / "lee.py")
    assert [found.problem for found in collect(tmp_path, "attention")] == [
        "attention.py is not a regular file",
        "lee.py is not a regular file",
    ]


def test_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grader.unzip.MAX_ENTRIES", 3)
    for i in range(4):
        write(tmp_path / "class" / "kim" / f"{i}.py")
    assert problem(tmp_path / "class") == "more than 3 files in it; hand in the source files alone"


# --- names of submissions ---


def names_of(folder: Path, *files: str) -> list[str]:
    for file in files:
        write(folder / file)
    return [submission.name for submission in collect(folder, "attention")]


def test_clashing_names_are_numbered(tmp_path: Path) -> None:
    write(tmp_path / "kim" / "attention.py")
    zipped(tmp_path / "kim.zip", {"attention.py": SOURCE})
    assert names_of(tmp_path, "kim.py", "Kim.py", "lee.py") == ["Kim", "kim-2", "kim-3", "kim-4", "lee"]


def test_names_of_the_report_are_left_free(tmp_path: Path) -> None:
    write(tmp_path / "index.html" / "attention.py")
    write(tmp_path / "Grades.csv" / "attention.py")
    assert names_of(tmp_path) == ["Grades.csv-2", "index.html-2"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a\u202eb\x1b[1m\n.py", "a_b_[1m_"),
        ("a\\b:c.py", "a_b_c"),
        ("cafe\u0301.py", "caf\u00e9"),
        (" ...py", "unnamed"),
        ("x" * 150 + ".py", "x" * 95),
        ("\u5b57" * 80 + ".py", "\u5b57" * 80),
        ("\u0e01 kim.py", "\u0e01 kim"),
    ],
)
def test_name_is_safe_for_folders_and_reports(tmp_path: Path, file: str, name: str) -> None:
    found = names_of(tmp_path, file)
    assert found == [name]
    assert unicodedata.is_normalized("NFC", found[0])


def test_name_that_is_not_unicode_is_safe(tmp_path: Path) -> None:
    write(tmp_path / os.fsdecode(b"kim\xff.py"))
    assert names_of(tmp_path) == ["kim_"]


def test_strange_name_in_a_message_is_plain(tmp_path: Path) -> None:
    write(tmp_path / "class" / "kim\x1b]0;owned\x07\u202e" / "x\x1b[2J\n.py")
    assert problem(tmp_path / "class") == "no attention.py in it (found: x .py)"


# --- nothing to grade ---


def test_path_that_is_not_there_suggests_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("in", "submissions", "attention.py"))
    with pytest.raises(BadRequest, match=r"There is no 'in/submision'\. Did you mean 'in/submissions'\?"):
        collect(Path("in", "submision"), "attention")
    with pytest.raises(BadRequest, match=r"There is no 'q/q'\. Give a \.py file, a \.zip, or a folder of these\."):
        collect(Path("q", "q"), "attention")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"is an empty folder: there is nothing to grade in it\. Give a \.py file"):
        collect(tmp_path, "attention")


def test_folder_without_anything_to_grade_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "notes.md")
    with pytest.raises(BadRequest, match=r"holds nothing to grade \(found: notes\.md\)\. Give a \.py file"):
        collect(tmp_path, "attention")


@pytest.mark.parametrize("name", ["kim.tar.gz", "kim.txt", "kim"])
def test_file_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(Path(name))
    with pytest.raises(BadRequest, match=rf"'{name}' is nothing that can be graded\. Give a \.py file, a \.zip, or"):
        collect(path, "attention")


def test_notebook_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "kim.ipynb", "{}")
    with pytest.raises(BadRequest, match=r"is a Jupyter notebook: export it as attention\.py and give that\."):
        collect(path, "attention")


def test_mistaken_kinds_in_a_class_get_a_row(tmp_path: Path) -> None:
    write(tmp_path / "kim.ipynb", "{}")
    write(tmp_path / "lee.tar.gz")
    assert [(found.name, found.problem) for found in collect(tmp_path, "attention")] == [
        ("kim", "kim.ipynb is a Jupyter notebook: export it as attention.py and hand that in"),
        ("lee", "lee.tar.gz is an archive that is not read; hand in attention.py or a .zip of it"),
    ]
