"""Setting up, here and in a kit: an installer that fails is heard, in its last lines, with what to do next."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAILS = """#!/bin/sh
case "$*" in *find_spec*) exit 0;; esac
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo "line $i" >&2; done
echo "ERROR: No space left on device" >&2
exit 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A kit whose Python cannot install anything."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAILS)
    python.chmod(0o755)
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "kit.whl").write_text("")
    return tmp_path


def run(*command: object, **options: object) -> "subprocess.CompletedProcess[str]":
    words = list(map(str, command))
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def install(folder: Path) -> "subprocess.CompletedProcess[str]":
    call = "import runpy, sys; m = runpy.run_path(sys.argv[1]); m['install'](m['Path'](sys.argv[2]))"
    return run(sys.executable, "-c", call, ROOT / "kit" / "install.py", folder)


def test_setup_shows_the_last_lines_of_a_failing_installer(folder: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin"}  # where there is no uv
    done = run("sh", ROOT / "scripts" / "setup.sh", folder / ".venv", sys.executable, "no-index", env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "line 2"
    assert done.stderr.splitlines()[-3:] == [
        "ERROR: No space left on device",
        "setup: not everything could be installed; the lines above are the installer's last ones.",
        "setup: mend what they name (network, disk space, a proxy) and run 'make setup' again: it goes on from there.",
    ]


def test_setup_refuses_an_old_python() -> None:
    done = run("sh", ROOT / "scripts" / "setup.sh", "nowhere", "/bin/false", "no-index")
    assert done.returncode == 2
    assert "setup: '/bin/false' is not Python 3.11 or newer; run: make PYTHON=" in done.stderr


def test_kit_shows_the_last_lines_of_a_failing_pip(folder: Path) -> None:
    done = install(folder)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "line 2"
    assert done.stderr.splitlines()[-3:] == [
        "ERROR: No space left on device",
        "install.py: not everything could be installed; the lines above are pip's last ones.",
        "Mend what they name (network, disk space, a proxy) and run this again: it goes on from there.",
    ]
    assert "Ready" not in done.stdout


def test_kit_says_what_is_missing_for_an_environment(folder: Path) -> None:
    shutil.rmtree(folder / ".venv")
    (folder / ".venv").write_text("a file where the folder should be")
    done = install(folder)
    assert done.returncode == 1
    assert f"install.py: {folder / '.venv'} could not be made (" in done.stderr
    assert "On Debian and Ubuntu run `sudo apt install python3-venv` once" in done.stderr
    assert "Traceback" not in done.stderr
