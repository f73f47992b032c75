"""Zips of strangers: what is refused, and that nothing is ever unpacked to the disk."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hand_ins import SOURCE, one, problem, write, zipped


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
