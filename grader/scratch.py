"""The one folder a worker may write to, for checks that save and load: empty before it starts, gone when it ends.

In a mount namespace each worker has a small file system in memory of its own, so nobody's disk fills. Elsewhere it is a
folder of the machine's temporary ones, where only the size of a single file is bounded.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import namespaces

FOLDER_MIB = 64  # all files of a worker together, where it has a file system of its own
FILE_MIB = 16


class Folders:
    """The writable folders of a zygote's workers."""

    def __init__(self, namespaced: bool) -> None:
        self._namespaced = namespaced
        self._parent = namespaces.SCRATCH if namespaced else Path(tempfile.mkdtemp(prefix="grader-"))
        self._parent.chmod(0o711)
        self._numbers = itertools.count()

    def take(self, uid: int | None) -> Path:
        """An empty folder for this user alone."""
        folder = self._parent / str(next(self._numbers))
        folder.mkdir(mode=0o700)
        if self._namespaced:
            namespaces.small_disk(folder, FOLDER_MIB)
        if uid is not None:
            os.chown(folder, uid, uid)
        return folder

    def give_back(self, folder: Path) -> None:
        """Take a folder away, whatever a worker has built inside."""
        if self._namespaced:
            namespaces.hide(str(folder))
            folder.rmdir()
        else:
            subprocess.run(["rm", "-rf", str(folder)], check=False)  # it may be nested too deeply for shutil

    def close(self) -> None:
        if not self._namespaced:
            shutil.rmtree(self._parent, ignore_errors=True)


def is_small(folder: Path | None) -> bool:
    """Whether what can be written there is bounded as a whole."""
    if folder is None:
        return True
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize <= FOLDER_MIB << 20
