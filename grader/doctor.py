"""A look at this machine: what a student or an instructor should know before the first run."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from . import isolation
from .run import jobs_by_default

MEMORY_NEEDED = 2 << 30  # bytes; torch and two workers
DISK_NEEDED = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    fine: bool
    advice: str = ""


def examine() -> list[Finding]:
    """Everything worth knowing, in the order to mend it."""
    return [_python(), *_packages(), _device(), _cores(), _memory(), _disk(), _isolation()]


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding(
        "python", f"{platform.python_version()} at {sys.executable}", fine, "" if fine else "Use 3.11 or newer."
    )


def _packages() -> list[Finding]:
    """The packages of the base install: the version found beside the one wanted."""
    from packaging.requirements import Requirement

    found = []
    for line in requires("llm-from-scratch-kit") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            found.append(Finding(wanted.name, "not installed", False, f"Wanted {wanted}; run `make setup`."))
            continue
        fine = wanted.specifier.contains(have, prereleases=True)
        found.append(Finding(wanted.name, have, fine, "" if fine else f"Wanted {wanted}; run `make setup`."))
    return found


def _device() -> Finding:
    driver = Path("/proc/driver/nvidia/version")
    text = driver.read_text().splitlines()[0] if driver.exists() else "cpu (no NVIDIA driver seen; none is needed)"
    return Finding("device", text, True)


def _cores() -> Finding:
    return Finding("cores", f"{jobs_by_default()}, one worker each", True)


def _memory() -> Finding:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", "unknown", True)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fine = total >= MEMORY_NEEDED
    return Finding("memory", f"{total / 2**30:.1f} GiB", fine, "" if fine else "Grade with --jobs 1.")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    fine = free >= DISK_NEEDED
    return Finding("disk", f"{free / 2**30:.1f} GiB free here", fine, "" if fine else "Free some space.")


def _isolation() -> Finding:
    return Finding("isolation", ", ".join(f"{name} {state}" for name, state in isolation.possible().items()), True)
