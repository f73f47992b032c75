"""What a submission is and where its files are: one file, a folder, a zip, or a folder of these."""

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from .errors import BadRequest
from .unzip import MAX_SOURCE, Read, Unreadable, ignored, list_folder, list_zip, read_file, shown

MAX_NAME = 100
ACCEPTED = "a .py file, a .zip, or a folder of these"
# Loose files that a student may hand in by mistake: each gets a row that says so, where a README is passed over.
MISTAKEN = (".ipynb", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
PAGES = "modules"  # where a folder of results has the class page of each of several modules
# what a folder of results holds besides a folder a submission
TAKEN = ("", "index.html", "grades.csv", "run.json", PAGES)


@dataclass(frozen=True)
class Submission:
    """One student's files by module file name, or the reason why there are none."""

    name: str
    files: dict[str, str]
    problem: str = ""
    left_out: dict[str, str] = field(default_factory=dict)  # an upstream file that cannot be read -> why

    @property
    def digest(self) -> str:
        """sha256 of the files, or of the problem (no source holds a NUL, so the parts cannot run into each other)."""
        parts = [f"{name}\0{source}\0" for name, source in sorted(self.files.items())]
        return hashlib.sha256("".join([*parts, self.problem]).encode()).hexdigest()


def collect(path: Path, module: str, upstream: Sequence[str] = (), lone: bool = True) -> list[Submission]:
    """The submissions at `path`, sorted by name.

    Args:
        path: a .py file, a .zip, a folder that holds MODULE.py, or a folder with one of these for each student. It may
            be a link; links inside it are not followed.
        module: the module to grade, e.g. attention. A lone .py file is taken as MODULE.py, whatever its name.
        upstream: earlier modules, taken from the folder of MODULE.py as far as they are there.
        lone: whether a .py file may be a submission; of several modules it does not say which.
    Raises:
        BadRequest: there is nothing to grade at `path`, or a lone file where none may be.
    """
    place = _existing(path)
    if place.is_dir():
        # a link of that name counts as well: it is refused later, with its reason
        places = [place] if os.path.lexists(place / f"{module}.py") else _children(path, place)
    else:
        _refuse_kind(path, place, module)
        places = [place]
    if not lone and (files := [shown(place.name) for place in places if _is_loose(place, ".py")]):
        raise BadRequest(
            f"Of which module is {_some(sorted(files))}? For several modules give each student a folder or a .zip."
        )
    # the name that was typed, not what it links to
    labels = [Path(os.path.abspath(path))] if places == [place] else places
    names = _names(_label(label, place) for label, place in zip(labels, places, strict=True))
    return [_submission(name, at, module, upstream) for name, at in zip(names, places, strict=True)]


def _existing(path: Path) -> Path:
    """The path without links; what lies there can be opened."""
    try:
        place = path.resolve(strict=True)
        if place.is_dir():
            next(os.scandir(place), None)
        return place
    except FileNotFoundError:
        near = get_close_matches(path.name, _beside(path), n=1)
        advice = f"Did you mean '{shown(str(path.parent / near[0]))}'?" if near else f"Give {ACCEPTED}."
        raise BadRequest(f"There is no '{shown(str(path))}'. {advice}") from None
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a circle of links, a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRequest(f"'{shown(str(path))}' cannot be read: {reason}. Give {ACCEPTED}.") from None


def _beside(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(os.path.dirname(os.path.abspath(path))))
    except OSError:
        return []


def _refuse_kind(path: Path, place: Path, module: str) -> None:
    if place.suffix.lower() == ".ipynb":
        raise BadRequest(f"'{shown(str(path))}' is a Jupyter notebook: export it as {module}.py and give that.")
    if place.suffix.lower() not in (".py", ".zip") or not place.is_file():
        raise BadRequest(f"'{shown(str(path))}' is nothing that can be graded. Give {ACCEPTED}.")


def _children(path: Path, folder: Path) -> list[Path]:
    """What lies in the folder and looks like a submission, sorted."""
    entries = [entry for entry in os.scandir(folder) if not ignored(entry.name)]
    places = [Path(entry.path) for entry in entries if _looks_like_one(entry)]
    if not entries:
        raise BadRequest(f"'{shown(str(path))}' is an empty folder: there is nothing to grade in it. Give {ACCEPTED}.")
    if not places:
        found = _some(sorted(entry.name for entry in entries))
        raise BadRequest(f"'{shown(str(path))}' holds nothing to grade (found: {found}). Give {ACCEPTED}.")
    return sorted(places, key=lambda place: place.name)


def _looks_like_one(entry: os.DirEntry[str]) -> bool:
    suffix = Path(entry.name).suffix.lower()
    if entry.is_dir(follow_symlinks=False) or suffix in (".py", ".zip", *MISTAKEN):
        return True
    return entry.is_symlink() and not suffix  # most likely a folder elsewhere


def _is_loose(place: Path, *suffixes: str) -> bool:
    """Whether the name ends so and is not the name of a folder."""
    return place.suffix.lower() in suffixes and (place.is_symlink() or not place.is_dir())


def _label(label: Path, place: Path) -> str:
    return label.stem.removesuffix(".tar") if _is_loose(place, ".py", ".zip", *MISTAKEN) else label.name


def _names(labels: Iterable[str]) -> list[str]:
    """Names of submissions: safe as names of folders, and no two alike, also where case does not count."""
    taken = set(TAKEN)
    names = []
    for label in labels:
        base = _safe(label)
        choices = (base if number == 1 else f"{base}-{number}" for number in count(1))
        name = next(choice for choice in choices if choice.casefold() not in taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(label: str) -> str:
    text = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in unicodedata.normalize("NFC", label))
    text = text.strip().rstrip(".")
    text = f"_{text[1:]}" if text.startswith(".") else text
    # Room for "-2" and for ".json"; file systems count bytes, of which a name may have 255.
    return text[: MAX_NAME - 5].encode()[:240].decode(errors="ignore").rstrip(" .") or "unnamed"


def _submission(name: str, place: Path, module: str, upstream: Sequence[str]) -> Submission:
    try:
        if _is_loose(place, ".py", *MISTAKEN):
            return Submission(name, {f"{module}.py": _lone(place, module)})
        tree = _tree(place)
        at = _find(tree, f"{module}.py")
        files = {f"{module}.py": _decode(tree[at](), at, module)}
    except Unreadable as error:
        return Submission(name, {}, str(error))
    left_out = {}
    for earlier in upstream:
        beside = at.removesuffix(f"{module}.py") + f"{earlier}.py"
        if beside in tree:
            try:
                files[f"{earlier}.py"] = _decode(tree[beside](), beside, earlier)
            except Unreadable as error:  # an earlier week's file must not cost this week's points
                left_out[f"{earlier}.py"] = str(error)
    return Submission(name, files, left_out=left_out)


def _lone(place: Path, module: str) -> str:
    if _is_loose(place, ".ipynb"):
        raise Unreadable(_notebook(place.name, module))
    if not _is_loose(place, ".py"):
        raise Unreadable(f"{shown(place.name)} is an archive that is not read; hand in {module}.py or a .zip of it")
    return _decode(read_file(place), place.name, module)


def _tree(place: Path) -> dict[str, Read]:
    if place.is_symlink():
        raise Unreadable(f"{shown(place.name)} is a link, and links are not followed; hand in what it points to")
    return list_folder(place) if place.is_dir() else list_zip(place)


def _find(tree: Iterable[str], wanted: str) -> str:
    """The path of the one file of that name that is nearest to the root."""
    places = sorted((path.count("/"), path) for path in tree if path.rpartition("/")[2] == wanted)
    if not places:
        raise Unreadable(f"no {wanted} in it ({_instead(sorted(tree), wanted)})")
    nearest = [shown(path) for depth, path in places if depth == places[0][0]]
    if len(nearest) > 1:
        raise Unreadable(f"{len(nearest)} files named {wanted} in it ({_some(nearest)}); keep the one to be graded")
    return places[0][1]


def _instead(paths: list[str], wanted: str) -> str:
    """What is there in place of the wanted file, and what to do about it."""
    names = [path for path in paths if path.lower().endswith((".py", ".py.txt", ".txt"))]
    bare = {path: _letters(path) for path in names}
    near = get_close_matches(_letters(wanted), bare.values(), n=1, cutoff=0.85)
    if near:
        found = next(path for path in names if bare[path] == near[0])
        return f"found {shown(found)}: rename it to {wanted}"
    if notebooks := [path for path in paths if path.lower().endswith(".ipynb")]:
        return _notebook(notebooks[0], wanted.removesuffix(".py"))
    if not paths:
        return "it is empty"
    sources = [path for path in paths if path.lower().endswith(".py")]
    return f"found: {_some(sources or paths)}"


def _letters(path: str) -> str:
    """A file name without what computers and people add to it: `Attention_v2 (1).py` gives `attention`."""
    stem = path.rpartition("/")[2].partition(".")[0]
    return re.sub(r"[^a-z]|copy|final|(?<=[^a-z])v(?=\d)", "", stem.casefold())


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + rest


def _decode(raw: bytes, path: str, module: str) -> str:
    """The text of a source file, with newlines as Python reads them."""
    name = shown(path)
    if len(raw) > MAX_SOURCE:
        raise Unreadable(f"{name} is larger than {MAX_SOURCE >> 10} KiB; hand in the source alone")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise Unreadable(f"{name} is not UTF-8 ({byte}); save it as UTF-8") from None
    if "\0" in text:
        raise Unreadable(f"{name} is not a text file (a NUL byte at offset {raw.index(0)}); save it as UTF-8")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if _is_notebook(text):
        raise Unreadable(_notebook(path, module))
    return text


def _is_notebook(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return "cells" in json.loads(text)
    except (ValueError, RecursionError):
        return False


def _notebook(path: str, module: str) -> str:
    return f"{shown(path)} is a Jupyter notebook: export it as {module}.py and hand that in"
