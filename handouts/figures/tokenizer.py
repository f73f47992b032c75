"""Draws the two figures of the tokenizer handout: `python handouts/figures/tokenizer.py` writes them next to itself.

What they show is computed here: the merges by counting, the pieces by the pattern. The same call gives the same bytes:
no date, and a fixed salt for the ids.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import regex
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

TEXT = "hot pot, hot pots, not hot"
MERGES = 5
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PLAIN, MERGED, SPECIAL = "#ffffff", "#8ec5e8", "#f5c76b"
STYLE: dict[Any, Any] = {"svg.hashsalt": "tokenizer", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
MONO = {"family": "DejaVu Sans Mono", "ha": "center", "va": "center"}


def draw(folder: Path) -> list[Path]:
    """Write tokenizer-training.svg and tokenizer-path.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            save(draw_training(), folder / "tokenizer-training.svg"),
            save(draw_path(), folder / "tokenizer-path.svg"),
        ]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def pieces(text: str) -> list[str]:
    return [match.group() for match in regex.finditer(PATTERN, text)]


def draw_training() -> Figure:
    """A column for each merge: which pair, how frequent, and the words after it."""
    counts = Counter(pieces(TEXT))
    words = {word: tuple(word) for word in counts}
    figure, axes = canvas(12.4, 4.3, 96, 33)
    for row, word in enumerate(words):
        axes.text(9, 11 + 4 * row, f"{counts[word]} \u00d7", ha="right", va="center", fontsize=11)
    axes.text(10.5, 5, "words", fontsize=11, va="center")
    for column in range(MERGES + 1):
        left = 10.5 + 14.4 * column
        for row, tokens in enumerate(words.values()):
            draw_tokens(axes, left, 9.5 + 4 * row, tokens)
        if column < MERGES:
            pairs = Counter[tuple[str, str]]()
            for word, tokens in words.items():
                for pair in pairwise(tokens):
                    pairs[pair] += counts[word]
            best = max(pairs, key=lambda pair: (pairs[pair], pair))
            rivals = sum(count == pairs[best] for count in pairs.values()) - 1
            write_merge(axes, left + 14.4, column, best, pairs[best], rivals)
            words = {word: merge(tokens, best) for word, tokens in words.items()}
    return figure


def write_merge(axes: Axes, left: float, rank: int, pair: tuple[str, str], count: int, rivals: int) -> None:
    names = " + ".join(shown(token) for token in pair)
    axes.text(left, 2.6, f"merge {rank}", fontsize=10, va="center")
    axes.text(left, 4.8, names, fontsize=11, va="center", family="DejaVu Sans Mono", weight="bold")
    tie = f", tie of {rivals + 1}" if rivals else ""
    axes.text(left, 7.0, f"{count} times{tie}", fontsize=9, va="center")


def merge(tokens: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return tuple(merged)


def shown(token: str) -> str:
    return token.replace(" ", "·")


def draw_tokens(axes: Axes, left: float, top: float, tokens: tuple[str, ...]) -> None:
    """Boxes side by side; a merged token has a colour and no line inside."""
    for token in tokens:
        width = 2.0 * len(token)
        face = MERGED if len(token) > 1 else PLAIN
        axes.add_patch(Rectangle((left, top), width - 0.25, 3, facecolor=face, edgecolor="#555555", lw=0.8))
        axes.text(left + width / 2 - 0.12, top + 1.55, shown(token), fontsize=10.5, **MONO)
        left += width


def draw_path() -> Figure:
    """From text to ids and back, with the merges of the first figure."""
    figure, axes = canvas(12.4, 4.6, 100, 37)
    stages = [
        ("text", [("shot poté<|end|>", PLAIN)]),
        ("split_special_tokens", [("shot poté", PLAIN), ("<|end|>", SPECIAL)]),
        ("pretokenize", [("shot", PLAIN), (" poté", PLAIN), ("<|end|>", SPECIAL)]),
        ("encode_word", [("s", PLAIN), ("hot", MERGED), (" pot", MERGED), ("c3", PLAIN), ("a9", PLAIN)]),
        ("vocab", [("115", PLAIN), ("257", MERGED), ("259", MERGED), ("195", PLAIN), ("169", PLAIN)]),
    ]
    words = ["str", "parts", "pieces", "tokens (bytes)", "token ids"]
    for row, ((step, boxes), word) in enumerate(zip(stages, words, strict=True)):
        top = 2 + 7 * row
        end = {3: [("<|end|>", SPECIAL)], 4: [("261", SPECIAL)]}.get(row, [])
        axes.text(1, top + 1.7, step if row else "", va="center", fontsize=11, weight="bold")
        axes.text(99, top + 1.7, word, va="center", ha="right", fontsize=11)
        draw_row(axes, top, [*boxes, *end])
        if row:
            axes.annotate("", xy=(24, top + 0.2), xytext=(24, top - 3.4), arrowprops={"arrowstyle": "->", "lw": 1.2})
    return figure


def draw_row(axes: Axes, top: float, boxes: list[tuple[str, str]]) -> None:
    left = 28.0
    for text, face in boxes:
        width = 2.0 * len(text) + 1.4
        axes.add_patch(Rectangle((left, top), width, 3.4, facecolor=face, edgecolor="#555555", lw=0.8))
        axes.text(left + width / 2, top + 1.75, shown(text), fontsize=12, **MONO)
        left += width + 1.2


def canvas(width: float, height: float, right: float, bottom: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, right), ylim=(bottom, 0))
    axes.axis("off")
    return figure, axes


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
