"""Two lists of plain values that differ, such as token ids: both sides, and where they part.

The leaves of an outcome stand alone; a difference in one entry, or in the number of entries, says little without the
list that it stands in.
"""

import re
from collections.abc import Mapping

from .outcome import Container, Leaf

SHORT = 160  # characters of a list that is shown whole
PLAIN = (bool, int, str, bytes, type(None))

Sides = tuple[str, list[object], list[object]]  # the path of the list, what was expected there, what came


def sides(expected: Mapping[str, Leaf], got: Mapping[str, Leaf], path: str) -> Sides | None:
    """The outermost list around a path that holds nothing but plain values on both sides; None if there is none."""
    ends = [match.start() for match in re.finditer(r"\[\d+\]", path)] + [len(path)]
    for above in dict.fromkeys(path[:end] for end in ends):
        one = _rebuilt(expected, above)
        if isinstance(one, list) and isinstance(other := _rebuilt(got, above), list):
            return above, one, other
    return None


def tell(expected: list[object], got: list[object]) -> str:
    """What differs between two lists, in one sentence without a full stop."""
    whole = f"expected {shown(expected)}, got {shown(got)}"
    if len(whole) <= 2 * SHORT:
        return whole
    pairs = zip(expected, got, strict=False)
    first = next(
        (i for i, (one, other) in enumerate(pairs) if shown(one) != shown(other)), min(len(expected), len(got))
    )
    one, other = (_entry(entries, first) for entries in (expected, got))
    before = f"; the {first} before it {'is' if first == 1 else 'are'} right" if first else ""
    counts = f" ({len(got)} entries in all, {len(expected)} expected)" if len(got) != len(expected) else ""
    return f"entry {first}: expected {one}, got {other}{before}{counts}"


def shown(value: object) -> str:
    """repr, but an int of more digits than Python prints is told by their number."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    huge = isinstance(value, int) and value.bit_length() > 4096
    return f"an int of {value.bit_length()} bits" if huge else repr(value)  # type: ignore[attr-defined]


def _entry(entries: list[object], index: int) -> str:
    text = shown(entries[index]) if index < len(entries) else "no more"
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"


def _rebuilt(leaves: Mapping[str, Leaf], path: str) -> object:
    """The lists and plain values at a path; a tuple where something else is among them."""
    leaf = leaves.get(path, ())
    if not isinstance(leaf, Container):
        return leaf if isinstance(leaf, PLAIN) else ()
    if leaf.kind != "list":
        return ()
    entries = [_rebuilt(leaves, f"{path}[{key}]") for key in leaf.keys]
    return () if () in entries else entries
