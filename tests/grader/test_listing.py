"""Two lists that differ are shown whole where they are short, and where they part where they are long."""

import pytest

from grader.listing import sides, tell
from grader.outcome import flatten

LONG = list(range(1000, 1100))


@pytest.mark.parametrize(
    ("right", "got", "text"),
    [
        ([1, 2], [1], "expected [1, 2], got [1]"),
        ([], [b"\x00"], "expected [], got [b'\\x00']"),
        (LONG, [7, *LONG[1:]], "entry 0: expected 1000, got 7"),
        (LONG, [1000, 7, *LONG[2:]], "entry 1: expected 1001, got 7; the 1 before it is right"),
        (
            LONG,
            LONG[:-1],
            "entry 99: expected 1099, got no more; the 99 before it are right (99 entries in all, 100 expected)",
        ),
        (
            LONG,
            [*LONG, 5],
            "entry 100: expected no more, got 5; the 100 before it are right (101 entries in all, 100 expected)",
        ),
        ([1] * 200, [1] * 199 + [True], "entry 199: expected 1, got True; the 199 before it are right"),
        (
            [[b"a", b"b"]] * 50,
            [[b"a", b"b"]] * 49 + [[b"b", b"a"]],
            "entry 49: expected [b'a', b'b'], got [b'b', b'a']; the 49 before it are right",
        ),
        ([1], [10**5000], "expected [1], got [an int of 16610 bits]"),
        (["a" * 400], ["b"], f"entry 0: expected '{'a' * 159}…, got 'b'"),
    ],
)
def test_lists_are_told_apart(right: list[object], got: list[object], text: str) -> None:
    assert tell(right, got) == text


@pytest.mark.parametrize(
    ("right", "got", "path", "found"),
    [
        ([1, 2], [1], "", ("", [1, 2], [1])),
        ([[1], [2]], [[1], [3]], "[1][0]", ("", [[1], [2]], [[1], [3]])),
        ({"ids": [1]}, {"ids": [2]}, "ids[0]", ("ids", [1], [2])),
        ([1.5, [1]], [1.5, [2]], "[1][0]", ("[1]", [1], [2])),
        ({"ids": 1}, {"ids": 2}, "ids", None),
        ([1.5], [2.5], "[0]", None),
        ([1], {"a": 1}, "", None),
        ([1], [object()], "[0]", None),
    ],
)
def test_sides_are_the_outermost_lists_of_plain_values(right: object, got: object, path: str, found: object) -> None:
    assert sides(dict(flatten(right)), dict(flatten(got)), path) == found
