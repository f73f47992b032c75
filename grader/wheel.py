"""The grader as a wheel, made from pyproject.toml and the package as it stands.

A build backend would write the time of the day into it, and needs a network to be fetched.
"""

import base64
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from .archive import zip_files

PACKAGE = "grader"


def build_wheel(root: Path) -> tuple[str, bytes]:
    """File name and contents of the wheel of the checkout at `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    files = package_files(root)
    files[f"{info}/METADATA"] = _metadata(project).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: grader\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = _entry_points(project).encode()
    files[f"{info}/licenses/LICENSE"] = (root / "LICENSE").read_bytes()
    record = [f"{path},sha256={_hash(contents)},{len(contents)}" for path, contents in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    return f"{stem}-py3-none-any.whl", zip_files(files)


def package_files(root: Path) -> dict[str, bytes]:
    """Every file of the package."""
    places = [place for place in (root / PACKAGE).rglob("*") if place.is_file() and "__pycache__" not in place.parts]
    return {place.relative_to(root).as_posix(): place.read_bytes() for place in sorted(places)}


def _metadata(project: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {needed}" for needed in project["dependencies"]),
    ]
    for needed in project.get("optional-dependencies", {}).get("demo", []):
        lines += ["Provides-Extra: demo", f'Requires-Dist: {needed}; extra == "demo"']
    return "\n".join([*dict.fromkeys(lines), ""])


def _entry_points(project: dict[str, Any]) -> str:
    groups = {"console_scripts": project["scripts"], **project.get("entry-points", {})}
    parts = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()), ""])
        for group, entries in sorted(groups.items())
    ]
    return "\n".join(parts)


def _hash(contents: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).rstrip(b"=").decode()
