"""`grader release`: freeze, gather, prove, and only then write DIR/student/ and DIR/student.zip."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from .archive import Files, write_files, zip_files
from .course import MANIFEST, Course
from .errors import BadRequest
from .freeze import SEEDS, freeze
from .kit import kit_files, modules_until
from .leaks import refuse_leaks, secrets
from .opening import open_session
from .proof import Say, prove
from .record import write_bytes
from .stubs import write_stubs

FOLDER = "student"


def release(course: Course, week: int | None, out: Path, say: Say, seeds: Sequence[int] = SEEDS) -> list[Path]:
    """Make the kit of a week and return what was written.

    Raises:
        BadRequest: a stub is out of date, the kit would give something away, or it does not work.
    """
    _refuse_other(out / FOLDER)
    modules = modules_until(course, week)
    stale = write_stubs(course, check=True)
    if stale:
        raise BadRequest(f"{', '.join(stale)}: not what the reference gives; run `make stubs` first.")
    frozen = {}
    for module in modules:
        with open_session(course, module, seeds[0]) as session:
            frozen[module.name] = freeze(session, seeds)
        say(f"{module.name}: froze the public checks for the seeds {', '.join(map(str, seeds))}")
    files = kit_files(course, modules, frozen)
    refuse_leaks(secrets(course, modules), files)
    say(f"{len(files)} files, nothing secret in them")
    prove(course, modules, files, say)
    return write_kit(files, out)


def write_kit(files: Files, out: Path) -> list[Path]:
    """Write the folder and the zip; an older kit there goes."""
    folder, archive = out / FOLDER, out / f"{FOLDER}.zip"
    _refuse_other(folder)
    fresh = out / f".{FOLDER}"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        write_files(fresh, files)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except OSError as error:
        raise BadRequest(f"{folder} cannot be written: {error.strerror}") from None
    write_bytes(archive, zip_files({f"{FOLDER}/{path}": contents for path, contents in files.items()}))
    return [folder, archive]


def _refuse_other(folder: Path) -> None:
    """An existing folder is replaced only if it is a kit."""
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise BadRequest(f"{folder} exists and is no kit of ours; give another folder with -o.")
