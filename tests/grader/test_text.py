"""Text from a stranger before it reaches a terminal, a page or a spreadsheet."""

import unicodedata

import pytest

from grader.text import number, one_line, plain


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x9cafter", "after"),
        ("\x1b(0boxes", "boxes"),
        ("\x1b\x1b[1mbold", "bold"),
        ("a\x08\x7f\x00b", "ab"),
        ("user\u202etxt.exe\u202c", "usertxt.exe"),
        ("\u2066a\u2069\u200f\u061cb", "ab"),
        ("pass\u200bed\ufeff\u2060", "passed"),
        ("tag\U000e0041\u3164\u00ad\ufe0f\U000e0100", "tag"),
        ("lone \udc80 surrogate", "lone \ufffd surrogate"),
    ],
)
def test_plain_drops_what_a_reader_cannot_see(hostile: str, shown: str) -> None:
    assert plain(hostile) == shown


def test_plain_lets_nothing_overwrite_the_start_of_a_line() -> None:
    assert plain("0 of 8\r8 of 8\r\nnext\x85last\u2028end") == "0 of 8\n8 of 8\nnext\nlast\nend"


@pytest.mark.parametrize("opened", ["\x1b]", "\x9d", "\x1bP", "\x1b_"])
def test_plain_keeps_the_text_after_a_sequence_left_open(opened: str) -> None:
    assert plain(f"{opened}theirs\nthe grader's own line\x07").endswith("\nthe grader's own line")


@pytest.mark.parametrize("text", ["", "plain", "a\tb\nc", "Zoë 김지우 محمد שלום ½ · 10⁻⁶ …", "x = {a: [1, 2]}"])
def test_plain_keeps_honest_text(text: str) -> None:
    assert plain(text) == text


def test_plain_leaves_no_control_or_format_character_whatever_comes() -> None:
    every = "".join(map(chr, range(0x110000)))
    left = {unicodedata.category(char) for char in set(plain(every)) - {"\n", "\t"}}
    assert not left & {"Cc", "Cf", "Cs"}


def test_plain_is_idempotent_where_removal_makes_new_neighbours() -> None:
    once = plain("\x1b\u200b[31m\u202e\x1b[\x1b[0m31m")
    assert plain(once) == once


def test_one_line_joins_and_cuts() -> None:
    assert one_line("two\r\n  lines\t here") == "two lines here"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(("value", "written"), [(8.0, "8"), (7.5, "7.5"), (10 / 3, "3.33"), (100, "100"), (0.0, "0")])
def test_number_is_written_without_idle_digits(value: float, written: str) -> None:
    assert number(value) == written
