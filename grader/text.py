"""Text from a stranger, made safe to show. HTML, CSV and terminal all pass what they show through plain()."""

import re
import unicodedata

# Escape sequences of terminals. A string (window title, link, clipboard) counts only where it is ended before the next
# control character: one left open would swallow the grader's own text after it.
ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
BREAKS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
# Letters and marks without ink or width that Unicode does not count among the format characters.
INKLESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}


def plain(text: str) -> str:
    """The text without escape sequences, control, bidi and zero-width characters; newline and tab stay.

    A carriage return becomes a newline, so nothing can overwrite the start of its line. A lone surrogate, which no
    file could hold, becomes U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, BREAKS.sub("\n", ESCAPES.sub("", text))))


def _shown(char: str) -> str:
    if char in "\n\t":
        return char
    category = unicodedata.category(char)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return "" if category in {"Cc", "Cf"} or char in INKLESS or 0xE0100 <= ord(char) <= 0xE01EF else char


def one_line(text: str, width: int = 200) -> str:
    """The plain text on one line, cut to at most `width` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def number(value: float) -> str:
    """Points as a reader writes them: 8, 7.5, 3.33."""
    return f"{round(value, 2):.2f}".rstrip("0").rstrip(".")
