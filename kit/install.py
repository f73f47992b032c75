"""Sets up this kit, and brings an older one up to date. Needs nothing but Python 3.11 or newer.

python3 install.py                     make .venv here and install the grader into it
python3 install.py --update FOLDER     bring the kit in FOLDER up to this one; your files stay as they are
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANIFEST = "kit.json"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP_LINES = 15
NO_VENV = (
    "On Debian and Ubuntu run `sudo apt install python3-venv` once, elsewhere look at the disk; then run this again."
)
NOT_INSTALLED = (
    "install.py: not everything could be installed; the lines above are pip's last ones.\n"
    "Mend what they name (network, disk space, a proxy) and run this again: it goes on from there."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", metavar="FOLDER", type=Path, help="the kit to bring up to date")
    update_of = parser.parse_args().update
    if sys.version_info < (3, 11):  # noqa: UP036 - a student may run this with any Python
        sys.exit(f"This is Python {sys.version.split()[0]}; the kit needs 3.11 or newer.")
    if os.name == "nt":
        sys.exit("The kit needs Linux or macOS. Run `wsl --install` once, open Ubuntu, and unpack the kit there.")
    if update_of is not None:
        update(update_of.resolve())
    install(update_of.resolve() if update_of else HERE)


def install(folder):
    """Make the virtual environment of a kit and install what it needs."""
    scripts = folder / ".venv" / "bin"
    python = scripts / "python"
    if not python.exists() or not has(python, "pip"):
        try:
            venv.create(folder / ".venv", with_pip=True, clear=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"install.py: {folder / '.venv'} could not be made ({error}).\n{NO_VENV}")
    print("Installing PyTorch and the grader (about 1 GB, once; a few minutes).", flush=True)
    if sys.platform == "linux" and not Path("/proc/driver/nvidia/version").exists() and not has(python, "torch"):
        # without a GPU the default index would bring 5 GB of CUDA
        quick = ["--retries", "0", "--timeout", "10", "-c", "constraints.txt", "--index-url", TORCH_CPU_INDEX]
        if why := pip(folder, python, *quick, "torch"):
            print(f"No torch from {TORCH_CPU_INDEX} ({why[-1]}); going on with the default index.", flush=True)
    wheel = next((folder / "wheels").glob("*.whl"))
    again = ["--force-reinstall", "--no-deps", str(wheel)]  # an update may bear the same version
    if why := pip(folder, python, "-r", "requirements.txt") or pip(folder, python, *again):
        print("\n".join(why[-PIP_LINES:]), file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    print(f"Ready. Next: {next_step(folder, Path.cwd())}")


def next_step(folder, here):
    """What to type: the grader looks at the kit that it is started in, which after an update is the older folder."""
    go = "" if here.resolve() == folder else f"cd {shlex.quote(os.path.relpath(folder, here))} && "
    return f"{go}.venv/bin/grader check"


def pip(folder, python, *words):
    """Run pip install; what it said if it failed, else nothing."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, cwd=folder, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return (lines or [f"pip ended with code {done.returncode}"]) if done.returncode else []


def has(python, name):
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([str(python), "-c", look], check=False).returncode == 0


def is_students(path):
    """Whether a path of the kit is a file that a student writes: a module directly in assignments/."""
    folder, _, name = path.rpartition("/")
    return folder == "assignments" and name != "__init__.py"


def update(folder):
    """Bring the kit in `folder` up to this one. A file of ours that was changed there is kept as NAME.yours."""
    if folder == HERE:
        sys.exit("--update takes the folder of your older kit, not this one.")
    if not (folder / MANIFEST).is_file():
        sys.exit(f"{folder} is no kit: it holds no {MANIFEST}.")
    old = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    new = json.loads((HERE / MANIFEST).read_text(encoding="utf-8"))["files"]
    for path in [*new, MANIFEST]:
        place = folder / path
        if place.exists() and (is_students(path) or digest(place) == new.get(path)):
            continue
        keep_changed(place, old.get(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / path, place)
        print(f"wrote {path}")
    for path in old.keys() - new.keys():
        place = folder / path
        if place.exists() and not is_students(path):
            keep_changed(place, old[path])
            place.unlink()
            print(f"removed {path}")


def keep_changed(place, shipped):
    """Copy a file of ours aside if it is not what was shipped."""
    if place.exists() and shipped is not None and digest(place) != shipped:
        aside = place.with_name(f"{place.name}.yours")
        shutil.copyfile(place, aside)
        print(f"kept your {place.name} as {aside.name}")


def digest(place):
    return hashlib.sha256(place.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
