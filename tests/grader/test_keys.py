"""The keys that bytes from a terminal stand for."""

import pytest

from grader.keys import keys_of


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"n", ["n"]),
        (b"hhn", ["h", "h", "n"]),
        (b"\x1b[C", ["n"]),
        (b"\x1b[A", ["p"]),
        (b"\x1bOD", ["p"]),
        (b"\x1b[Cq", ["n", "q"]),
        (b"\r", ["enter"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[15~", []),
        (b"\x01\x7f", []),
        ("ü".encode(), []),
        (b"", []),
    ],
)
def test_bytes_become_keys(typed: bytes, keys: list[str]) -> None:
    assert keys_of(typed) == keys
