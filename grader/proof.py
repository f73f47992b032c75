"""Proof that a kit works: it is set up in a fresh environment, its stubs score nothing, the reference everything.

The environment is new and holds the kit's own wheel; torch and the other packages are borrowed from this one, so that
a release does not fetch a gigabyte. `python3 install.py` in a kit is the same with everything fetched.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from .archive import Files, unzip_files, write_files
from .course import REFERENCE, Course, Module
from .errors import BadRequest

SECONDS = 300  # for one command
Say = Callable[[str], None]


def prove(course: Course, modules: list[Module], files: Files, say: Say) -> None:
    """Unpack the kit in a temporary folder and use it as a student would.

    Raises:
        BadRequest: a stub scores, the reference does not score full marks, or a test of the kit fails.
    """
    with TemporaryDirectory(prefix="kit-") as name:
        kit = Path(name).resolve() / "student"
        write_files(kit, files)
        python = set_up(kit, files)
        for module in modules:
            _expect(python, kit, module, kit / "assignments" / f"{module.name}.py", 0.0, "its stub")
            _expect(python, kit, module, course.root / REFERENCE / f"{module.name}.py", module.points, "the reference")
            say(f"{module.name}: the stub scores 0, the reference {module.points:g}")
        done = _run(python, kit, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_kit.py")
        if done.returncode:
            raise BadRequest(f"The kit's own tests fail, nothing was written:\n{done.stdout[-2000:]}")
        say("the kit's own tests pass in a fresh environment")


def set_up(kit: Path, files: Files) -> Path:
    """A kit's new virtual environment with the kit's wheel, which borrows the packages of this one; its Python."""
    folder = kit / ".venv"
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin/python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip())
    [wheel] = [contents for path, contents in files.items() if path.endswith(".whl")]
    write_files(packages, unzip_files(wheel))
    borrowed = [sysconfig.get_path("purelib"), *(entry for entry in sys.path if entry.endswith("site-packages"))]
    (packages / "borrowed.pth").write_text("\n".join([*dict.fromkeys(borrowed), ""]), encoding="utf-8")
    script = python.with_name("grader")  # as pip would make it
    script.write_text(f"#!{python}\nfrom grader.__main__ import main\n\nmain()\n", encoding="utf-8")
    script.chmod(0o755)
    return python


def _expect(python: Path, kit: Path, module: Module, impl: Path, points: float, what: str) -> None:
    done = _run(python, kit, "grader", "check", module.name, "--impl", str(impl), "--json")
    try:
        score = json.loads(done.stdout)["score"]
    except (ValueError, KeyError):
        raise BadRequest(f"The kit cannot check {module.name}, nothing was written: {done.stderr[-2000:]}") from None
    if score != points:
        raise BadRequest(f"In the kit {what} of {module.name} scores {score:g}, not {points:g}. Nothing was written.")


def _run(python: Path, kit: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-B", "-m", *arguments]
    return subprocess.run(
        command, cwd=kit, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
