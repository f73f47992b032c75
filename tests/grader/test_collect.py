"""What is taken from a submission, and what is refused in which words. The hostile zips are made here, byte by byte."""

import io
import json
import os
import stat
import struct
import unicodedata
import zipfile
from pathlib import Path

import pytest

from grader.collect import Submission, collect
from grader.errors import BadRequest

SOURCE = "def softmax(x, dim):\n    return x\n"


def one(path: Path, upstream: tuple[str, ...] = ()) -> Submission:
    (found,) = collect(path, "attention", upstream)
    return found


def problem(path: Path) -> str:
    found = one(path)
    assert found.files == {}
    return found.problem


def write(path: Path, content: str | bytes = SOURCE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def special(path: Path, mode: int, content: str = "/etc/passwd") -> Path:
    info = zipfile.ZipInfo("attention.py")
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, content)
    return path


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """Change bytes of a zip that zipfile would not write so."""
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


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


# --- hostile zips ---


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("../attention.py", "'../attention.py', a path that leads out of it"),
        ("a/../../attention.py", "'a/../../attention.py', a path that leads out of it"),
        ("/attention.py", "'/attention.py', an absolute path"),
        ("C:/attention.py", "'C:/attention.py', an absolute path"),
        ("a\\attention.py", "'a\\attention.py', a name with a backslash in it"),
    ],
)
def test_zip_with_a_strange_name_is_refused(tmp_path: Path, member: str, says: str) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE, member: "x"})
    assert problem(path) == f"kim.zip holds {says}; zip the source files alone"


def test_zip_with_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = patched(zipped(tmp_path / "kim.zip", {"attention.py!.txt": SOURCE}), b"attention.py!", b"attention.py\0")
    says = "kim.zip holds 'attention.py.txt', a name with a NUL in it; zip the source files alone"
    assert problem(path) == says


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (stat.S_IFLNK | 0o777, "which is a link; put the file itself in"),
        (stat.S_IFCHR | 0o666, "which is not a regular file; zip the source files alone"),
        (stat.S_IFBLK | 0o666, "which is not a regular file; zip the source files alone"),
        (stat.S_IFIFO | 0o666, "which is not a regular file; zip the source files alone"),
    ],
)
def test_zip_with_a_link_or_device_is_refused(tmp_path: Path, mode: int, says: str) -> None:
    assert problem(special(tmp_path / "kim.zip", mode)) == f"kim.zip holds 'attention.py', {says}"


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flags of the entry in the directory
    path.write_bytes(data)
    assert problem(path) == "kim.zip is encrypted ('attention.py'); zip it again without a password"


@pytest.mark.parametrize("pair", [("a/Notes.md", "a/notes.md"), ("caf\u00e9.py", "cafe\u0301.py"), ("x.py", "./x.py")])
def test_zip_with_names_that_clash_is_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE, pair[0]: "1", pair[1]: "2"})
    second = pair[1].removeprefix("./")
    says = f"kim.zip holds '{pair[0]}' and '{second}', which are one file on many computers; remove one"
    assert problem(path) == says


def test_zip_with_too_many_members_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {f"{i}.py": "" for i in range(501)})
    assert problem(path) == "kim.zip holds 501 files, at most 500 are read; zip the source files alone"


def test_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    big = os.urandom(2**20) + bytes(50 * 2**20)
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE, "big.bin": big})
    assert problem(path) == "kim.zip unpacks to 51 MiB, at most 50 are read"


def test_zip_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE, "big.bin": bytes(10 * 2**20)})
    times = (10 * 2**20 + len(SOURCE)) // path.stat().st_size
    assert problem(path) == f"kim.zip unpacks to {times} times its size, at most 200 times is read"


def test_zip_larger_than_what_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grader.unzip.MAX_ZIP", 2**20)
    path = zipped(tmp_path / "kim.zip", {"big.bin": os.urandom(2**20)})
    assert problem(path) == "kim.zip is larger than 1 MiB; zip the source files alone"


def test_zipped_module_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": os.urandom(2**18 + 1)})
    assert problem(path) == "attention.py is larger than 256 KiB; hand in the source alone"


def test_zip_whose_headers_lie_about_a_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": bytes(40 * 2**20)})
    patched(path, struct.pack("<L", 40 * 2**20), struct.pack("<L", 20))
    says = "'attention.py' in the zip is damaged (Bad CRC-32 for file 'attention.py'); zip it again"
    assert problem(path) == says


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_by_a_method_without_a_cap_is_refused(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE}, method)
    assert problem(path) == f"'attention.py' is compressed in an unusual way (method {method}); zip it again"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + bytes(100)])
def test_corrupt_zip_is_told(tmp_path: Path, content: bytes) -> None:
    says = problem(write(tmp_path / "kim.zip", content))
    assert says.startswith("kim.zip is not a zip that can be read (")
    assert says.endswith("); zip it again")


def test_no_damage_to_a_zip_raises(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE}).read_bytes()
    for at in range(len(whole)):
        for byte in (0, 0xFF):
            one(write(tmp_path / "kim.zip", whole[:at] + bytes([byte]) + whole[at + 1 :]))
        one(write(tmp_path / "kim.zip", whole[:at]))


def test_zip_is_never_extracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "kim.zip", {"attention.py": SOURCE})
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    one(path)
    assert list((tmp_path / "empty").iterdir()) == []


def test_zip_in_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("attention.py", SOURCE)
    path = zipped(tmp_path / "kim.zip", {"inner.zip": inner.getvalue()})
    assert problem(path) == "no attention.py in it (found: inner.zip)"


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
