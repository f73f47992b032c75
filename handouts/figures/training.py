"""Draws the two figures of the training handout: `python handouts/figures/training.py` writes them next to itself.

The numbers in them are those of the docstrings of pack_documents and lr_at. The same call gives the same bytes: no
date, and a fixed salt for the ids.
"""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

INPUT, TARGET, LEFT_OUT, PLAIN = "#8ec5e8", "#f5c76b", "#ffffff", "#e4e4e4"
STYLE: dict[Any, Any] = {"svg.hashsalt": "training", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
MAX_LR, MIN_LR, WARMUP_STEPS, TOTAL_STEPS = 4.0, 0.0, 3, 7


def draw(folder: Path) -> list[Path]:
    """Write training-batches.svg and training-schedule.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            save(draw_batches(), folder / "training-batches.svg"),
            save(draw_schedule(), folder / "training-schedule.svg"),
        ]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def draw_batches() -> Figure:
    """Left a window of a long text and its targets, right two documents packed into rows."""
    figure = Figure(figsize=(11, 3.9), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-5, 28), ylim=(9.9, -1.8), aspect="equal")
    axes.axis("off")
    axes.text(-4.8, -0.1, "get_batch: a window, and the same\nwindow one token later", fontsize=11, weight="bold")
    draw_row(axes, -0.9, 1, "tokens", ["5", "6", "7", "8", "9"], [PLAIN] * 5)
    draw_row(axes, 0.1, 4, "token_ids", ["6", "7", "8"], [INPUT] * 3)
    draw_row(axes, 0.1, 7, "targets", ["7", "8", "9"], [TARGET] * 3)
    for column in range(3):
        x = 0.6 + column
        axes.annotate("", xy=(x, 6.9), xytext=(x, 5.1), arrowprops={"arrowstyle": "->", "color": "#333333", "lw": 1.2})
    axes.text(-4.8, 9.4, "start 1, seq_len 3: at every position\nthe model guesses the token below it", fontsize=9.5)
    axes.text(10.6, -0.1, "pack_documents: [1, 2] and [3],\nseq_len 3, separator 0", fontsize=11, weight="bold")
    draw_row(axes, 14.5, 1, "stream", ["1", "2", "0", "3", "0"], [PLAIN] * 5)
    for row, ids, targets in ((0, "120", "203"), (1, "300", "0")):
        left = 14.5 + 7 * row
        draw_row(axes, left, 4, "token_ids" if row == 0 else "", list(ids), [INPUT] * 3)
        words = [*targets, *["-100"] * (3 - len(targets))]
        colours = [TARGET if word != "-100" else LEFT_OUT for word in words]
        draw_row(axes, left, 7, "targets" if row == 0 else "", words, colours)
        axes.text(left + 1.5, 3.6, f"row {row}", ha="center", fontsize=9)
    words = "the last target of row 0 is the first token of row 1;\nwhat fills up the last row has nothing to predict"
    axes.text(10.6, 9.4, words, fontsize=9.5)
    return figure


def draw_row(axes: Axes, left: float, top: float, name: str, words: list[str], colours: list[str]) -> None:
    """A name, and cells with a word each."""
    axes.text(left - 0.3, top + 0.55, name, ha="right", va="center", fontsize=10)
    for column, (word, colour) in enumerate(zip(words, colours, strict=True)):
        axes.add_patch(Rectangle((left + column, top), 1, 1, facecolor=colour, edgecolor="#555555", lw=0.8))
        size = 11 if len(word) == 1 else 6.5
        axes.text(left + column + 0.5, top + 0.55, word, ha="center", va="center", fontsize=size)


def draw_schedule() -> Figure:
    """The rates of the docstring's example as points on the two curves they are taken from."""
    figure = Figure(figsize=(8.4, 4.4), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    axes = figure.subplots()
    axes.plot([-1, WARMUP_STEPS], [0, MAX_LR], color="#777777", lw=1.2, ls="--")
    fine = [WARMUP_STEPS + (TOTAL_STEPS - WARMUP_STEPS) * i / 200 for i in range(201)]
    axes.plot(fine, [rate(step) for step in fine], color="#777777", lw=1.2)
    steps = list(range(TOTAL_STEPS + 3))
    axes.plot(steps, [rate(step) for step in steps], "o", color="#1f6fa8", ms=7)
    for step in steps:
        side = -1 if step < WARMUP_STEPS else 1  # away from the curve
        options: dict[str, Any] = {"textcoords": "offset points", "ha": "left" if side > 0 else "right", "fontsize": 9}
        axes.annotate(f"{rate(step):.3g}", (step, rate(step)), xytext=(7 * side, 6), **options)
    for step, word in ((WARMUP_STEPS, "warmup_steps"), (TOTAL_STEPS, "total_steps")):
        axes.axvline(step, color="#bbbbbb", lw=0.8, zorder=0)
        axes.text(step - 0.08, 4.55, word, ha="right", fontsize=9)
    axes.text(0.4, 2.9, "a line from 0\nat step -1", ha="right", fontsize=9, color="#555555")
    axes.text(5.2, 2.6, "half a cosine", fontsize=9, color="#555555")
    axes.set(xlim=(-1.6, TOTAL_STEPS + 2.6), ylim=(-0.2, 4.85), xlabel="step", ylabel="lr")
    axes.set_xticks(range(-1, TOTAL_STEPS + 3))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def rate(step: float) -> float:
    """lr_at with the numbers of its docstring."""
    if step >= TOTAL_STEPS:
        return MIN_LR
    if step < WARMUP_STEPS:
        return MAX_LR * (step + 1) / (WARMUP_STEPS + 1)
    progress = (step - WARMUP_STEPS) / (TOTAL_STEPS - WARMUP_STEPS)
    return MIN_LR + (MAX_LR - MIN_LR) * (1 + math.cos(math.pi * progress)) / 2


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
