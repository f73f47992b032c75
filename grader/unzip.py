"""Read a stranger's folder or zip: no link is followed, nothing is extracted, no header is believed."""

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

from .text import one_line

Read = Callable[[], bytes]  # the bytes of one file, cut off after MAX_SOURCE + 1

MIB = 1024 * 1024
MAX_SOURCE = MIB // 4  # of one .py file; parsing a hostile one takes 2 s and 250 MB at this size
MAX_DEPTH = 4  # folders above a file that is still found, as in kim/attention/assignments/attention.py
MAX_ENTRIES = 10_000  # looked at in one folder
MAX_ZIP = 50 * MIB  # of a zip, as it lies there and unpacked
MAX_MEMBERS = 500
MAX_RATIO = 200  # zip bombs start at 1000, source code ends at 20
# zipfile has no cap on what one read of bzip2 or LZMA inflates to.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1 | 0x40 | 0x2000  # by password, strongly, names too
ENTRY = b"PK\x01\x02"  # starts each entry of the directory of a zip
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError, ArithmeticError, OSError)
CLUTTER = ("__MACOSX", "__pycache__", "__init__.py")


class Unreadable(Exception):
    """Why a submission cannot be graded, in words for the student."""


def shown(name: str) -> str:
    """A stranger's file name, fit for one line of a report."""
    return one_line(name, 80)


def ignored(name: str) -> bool:
    """Whether a file or folder of this name is left by a tool, not written by a student."""
    return name.startswith(".") or name in CLUTTER


def read_file(path: Path, limit: int = MAX_SOURCE) -> bytes:
    """The first limit + 1 bytes of a regular file. A link is not followed, a pipe not waited for, a device not opened.

    Raises:
        Unreadable: it is something else, or the system refuses.
    """
    name = shown(path.name)
    try:
        _refuse_special(path.lstat().st_mode, name)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            _refuse_special(os.fstat(file.fileno()).st_mode, name)  # it may have been swapped since
            return file.read(limit + 1)
    except OSError as error:
        raise Unreadable(f"{name} cannot be read ({error.strerror})") from None


def _refuse_special(mode: int, name: str) -> None:
    if stat.S_ISLNK(mode):
        raise Unreadable(f"{name} is a link, and links are not followed; hand in the file itself")
    if not stat.S_ISREG(mode):
        raise Unreadable(f"{name} is not a regular file")


def list_folder(folder: Path) -> dict[str, Read]:
    """The files of a folder by their path in it, each with a function that reads it.

    Raises:
        Unreadable: it holds too many files, or the system refuses.
    """
    found: dict[str, Read] = {}
    level, seen = [("", folder)], 0
    for _ in range(MAX_DEPTH + 1):
        below = []
        for prefix, at in level:
            entries = _entries(at, MAX_ENTRIES - seen)
            seen += len(entries)
            for entry in entries:
                if ignored(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append((f"{prefix}{entry.name}/", Path(entry.path)))
                else:
                    found[prefix + entry.name] = partial(read_file, Path(entry.path))
        level = below
    return found


def _entries(folder: Path, limit: int) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            entries = list(islice(scan, limit + 1))
    except OSError as error:
        raise Unreadable(f"the folder {shown(folder.name)} cannot be read ({error.strerror})") from None
    if len(entries) > limit:
        raise Unreadable(f"more than {MAX_ENTRIES} files in it; hand in the source files alone")
    return entries


def list_zip(path: Path) -> dict[str, Read]:
    """The files of a zip by their path in it, each with a function that reads it.

    Raises:
        Unreadable: it is damaged, a bomb, encrypted, or holds a name or a kind of file that no honest zip holds.
    """
    name = shown(path.name)
    data = read_file(path, MAX_ZIP)
    if len(data) > MAX_ZIP:
        raise Unreadable(f"{name} is larger than {MAX_ZIP // MIB} MiB; zip the source files alone")
    # Counted before zipfile builds an object for each: a zip of 50 MiB has room for a million entries.
    if (members := data.count(ENTRY)) > MAX_MEMBERS:
        raise Unreadable(f"{name} holds {members} files, at most {MAX_MEMBERS} are read; zip the source files alone")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (*BROKEN, RuntimeError) as error:
        raise Unreadable(f"{name} is not a zip that can be read ({_reason(error)}); zip it again") from None
    infos = archive.infolist()
    _refuse_bomb(name, infos, len(data))
    found: dict[str, Read] = {}
    for member, info in _members(name, infos).items():
        parts = member.split("/")
        if len(parts) <= MAX_DEPTH + 1 and not any(ignored(part) for part in parts):
            found[member] = partial(_read_member, archive, info, member)
    return found


def _refuse_bomb(name: str, infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse by what the headers admit; what they hide is cut off in _read_member."""
    total = sum(info.file_size for info in infos)
    if total > MAX_ZIP:
        raise Unreadable(f"{name} unpacks to {total // MIB} MiB, at most {MAX_ZIP // MIB} are read")
    if total > MAX_RATIO * size:
        raise Unreadable(f"{name} unpacks to {total // size} times its size, at most {MAX_RATIO} times is read")


def _members(name: str, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The files by name, all entries checked."""
    found: dict[str, zipfile.ZipInfo] = {}
    seen: dict[str, str] = {}
    for info in infos:
        _refuse_entry(name, info)
        member = "/".join(part for part in info.filename.split("/") if part not in ("", "."))
        if info.is_dir():
            continue
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", member).casefold())
        if key in seen:
            pair = f"'{shown(seen[key])}' and '{shown(member)}'"
            raise Unreadable(f"{name} holds {pair}, which are one file on many computers; remove one")
        seen[key] = member
        found[member] = info
    return found


def _refuse_entry(name: str, info: zipfile.ZipInfo) -> None:
    # zipfile cuts a name at its first NUL; orig_filename is what the zip says.
    for member in (info.orig_filename, info.filename):
        if fault := _fault(member):
            raise Unreadable(f"{name} holds '{shown(member)}', {fault}; zip the source files alone")
    member = shown(info.filename)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise Unreadable(f"{name} holds '{member}', which is a link; put the file itself in")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Unreadable(f"{name} holds '{member}', which is not a regular file; zip the source files alone")
    if info.flag_bits & ENCRYPTED:
        raise Unreadable(f"{name} is encrypted ('{member}'); zip it again without a password")


def _fault(member: str) -> str:
    """What is wrong with the name of a member, or nothing."""
    if "\0" in member:
        return "a name with a NUL in it"
    if "\\" in member:
        return "a name with a backslash in it"
    if member.startswith("/") or re.match(r"[A-Za-z]:", member):
        return "an absolute path"
    if ".." in member.split("/"):
        return "a path that leads out of it"
    return ""


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: str) -> bytes:
    if info.compress_type not in METHODS:
        raise Unreadable(
            f"'{shown(member)}' is compressed in an unusual way (method {info.compress_type}); zip it again"
        )
    try:
        with archive.open(info) as file:
            return file.read(MAX_SOURCE + 1)
    except (*BROKEN, RuntimeError) as error:
        raise Unreadable(f"'{shown(member)}' in the zip is damaged ({_reason(error)}); zip it again") from None


def _reason(error: Exception) -> str:
    """zipfile quotes the names of members in its errors."""
    return shown(str(error) or type(error).__name__)
