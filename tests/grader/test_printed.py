"""What a submission prints is kept, bounded."""

from grader.sandbox import Printed


def test_printed_keeps_everything_that_fits() -> None:
    printed = Printed(kib=1)
    assert printed.write("hello ") == 6
    print("world", file=printed)
    assert printed.take() == "hello world\n"
    assert printed.take() == ""


def test_printed_keeps_the_first_and_the_last_and_says_how_much_was_cut() -> None:
    for pieces in (["a" * 600, "b" * 600, "c" * 600], [*("a" * 600), *("b" * 600), *("c" * 600)]):
        printed = Printed(kib=1)
        for piece in pieces:
            printed.write(piece)
        assert printed.take() == "a" * 512 + "\n[… 776 characters cut …]\n" + "c" * 512


def test_printed_holds_no_more_than_its_size_however_much_is_written() -> None:
    printed = Printed(kib=2)
    for _ in range(100):
        printed.write("x" * 10_000)
    assert printed.take() == "x" * 1024 + "\n[… 997952 characters cut …]\n" + "x" * 1024


def test_printed_is_writable_text_only() -> None:
    printed = Printed(kib=1)
    assert printed.writable()
    assert not printed.readable()
    assert not printed.isatty()
