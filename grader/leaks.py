"""Proof that a kit gives nothing away: every line of what is secret is looked for in every file of it.

Secret are the lines of the reference and of given from the kit's own week on, but for lines that a stub or an earlier
given has too; the hidden rows; what a mutant changes; the words that course.toml lists as private; and where the
checkout lies. White space does not count, and archives, JSON and HTML are looked into. Short lines, imports and the
heads of loops tell nothing; what else is no secret is listed in course.toml as public.
"""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .archive import Files, unzip_files
from .assemble import GIVEN_FOLDER
from .course import REFERENCE, Course, Module
from .errors import BadRequest
from .mutants import apply, load_mutants

SHORTEST = 28  # characters without white space; a shorter line tells nothing
SHOWN = 10  # leaks in a message
NO_SUCH_PATH = re.compile(r"(^|/)(hidden_[^/]*|tests/mutants/.*|reference/.*)$")
TELLS_NOTHING = re.compile(r"\s*(import|from|with|for)\s")
HIDDEN_ROW = re.compile(r"\[hidden-\d")


@dataclass(frozen=True)
class Secret:
    """A text that no kit may hold, without white space, and where it is from."""

    text: str
    origin: str


def find_leaks(known: list[Secret], files: Files) -> list[str]:
    """Which file holds which secret."""
    return [leak for path, contents in sorted(files.items()) for leak in _leaks(path, contents, known)]


def refuse_leaks(known: list[Secret], files: Files) -> None:
    """Raise BadRequest if something secret is in the kit."""
    found = find_leaks(known, files)
    if found:
        rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise BadRequest(f"This kit would give away: {'; '.join(found[:SHOWN])}{rest}. Nothing was written.")


def secrets(course: Course, modules: list[Module]) -> list[Secret]:
    """All that must not be in a kit of these modules."""
    last = max(module.week for module in modules)
    public = _public(course, last)
    allowed = {squeezed(line) for line in course.public}
    found: dict[str, str] = {}
    looked_at = set(allowed)  # a mutant has nearly all its lines from the reference
    for text, origin in _texts(course, last):
        for number, line in enumerate(text.splitlines(), 1):
            bare = squeezed(line)
            if len(bare) < SHORTEST or bare in looked_at:
                continue
            looked_at.add(bare)
            if bare not in public and not TELLS_NOTHING.match(line):
                found[bare] = f"{origin}, line {number}"
    plain = {squeezed(word): "a private word of course.toml" for word in course.private}
    plain[squeezed(str(course.root))] = "the folder of the checkout"
    return [Secret(text, origin) for text, origin in (found | plain).items()]


def squeezed(text: str) -> str:
    """A text without white space."""
    return "".join(text.split())


def _public(course: Course, last: int) -> str:
    """What students may see in any case: the stubs, and given of the weeks before the last."""
    earlier = [module.name for module in course.modules.values() if module.week < last]
    stubs = [course.source("assignments", name) for name in course.modules]
    return squeezed("\n".join([*stubs, *(course.source(GIVEN_FOLDER, name) for name in earlier)]))


def _texts(course: Course, last: int) -> Iterator[tuple[str, str]]:
    """(text, where it is from) of each file whose lines are secret, and of each mutant."""
    for module in course.modules.values():
        reference = course.source(REFERENCE, module.name)
        yield reference, f"{REFERENCE}/{module.name}.py"
        if module.week >= last:
            yield course.source(GIVEN_FOLDER, module.name), f"{GIVEN_FOLDER}/{module.name}.py"
        for file in course.check_files(module.name):
            hidden = file.with_name(file.name.replace("check_", "hidden_").replace(".py", ".toml"))
            if hidden.is_file():
                yield _without_comments(hidden), hidden.name
        for mutant in load_mutants(course.root / "tests" / "mutants" / f"{module.name}.toml", module):
            yield apply(mutant, reference), f"the mutant {mutant.name}"


def _without_comments(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join("" if line.startswith("#") else line for line in lines)


def _leaks(path: str, contents: bytes, known: list[Secret]) -> Iterator[str]:
    if NO_SUCH_PATH.search(path) or path.startswith(f"{REFERENCE}/"):
        yield f"{path} itself"
    if path.endswith((".whl", ".zip")):
        for inner, inside in unzip_files(contents).items():
            yield from _leaks(f"{path}/{inner}", inside, known)
        return
    text = contents.decode("utf-8", errors="replace")
    if path.endswith(".json"):
        text = "\n".join(_strings(json.loads(text)))
    if path.endswith(".html"):
        text = html.unescape(re.sub(r"<[^>]*>", "", text))
    bare = squeezed(text)
    if HIDDEN_ROW.search(bare):
        yield f"{path} names a hidden row"
    for secret in known:
        if secret.text in bare:
            yield f"{path} holds {secret.origin} ({secret.text[:60]})"


def _strings(value: object) -> Iterator[str]:
    """Every text in parsed JSON, as it was before it was escaped."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
