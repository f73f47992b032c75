"""Files as path → contents, written to a folder or to a zip.

The bytes of a zip depend on nothing but the files: sorted names, one time stamp, one mode.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

OLDEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say
READABLE = 0o100644 << 16
UNIX = 3

Files = dict[str, bytes]


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """The zip of path → contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, contents in sorted(files.items()):
            info = zipfile.ZipInfo(path, OLDEST)
            info.create_system, info.external_attr = UNIX, READABLE
            archive.writestr(info, contents, zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def unzip_files(data: bytes) -> dict[str, bytes]:
    """Path → contents of a zip of our own making."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write path → contents below a folder."""
    for path, contents in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(contents)
