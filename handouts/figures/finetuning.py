"""Draws the two figures of the finetuning handout: `python handouts/figures/finetuning.py` writes them next to itself.

The same call gives the same bytes: no date, and a fixed salt for the ids.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

PLAIN, LEARNT, FROZEN, PADDING = "#ffffff", "#f5c76b", "#d9d9d9", "#eeeeee"
STYLE: dict[Any, Any] = {"svg.hashsalt": "finetuning", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
TOKENS = ("<|user|>", "2", "+", "2", "?", "<|end…|>", "<|assis…|>", "4", "<|end…|>")
IDS = (11, 50, 43, 50, 63, 10, 12, 52, 10)
FIRST_TARGET = 7  # the answer and its end
ROW = 11  # seq_len of the batch: the example fills 8 positions


def draw(folder: Path) -> list[Path]:
    """Write finetuning-chat.svg and finetuning-lora.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [save(draw_chat(), folder / "finetuning-chat.svg"), save(draw_lora(), folder / "finetuning-lora.svg")]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def draw_chat() -> Figure:
    """The tokens of a chat, which are to be learnt, and the row of the batch that they become."""
    figure = Figure(figsize=(11, 4.2), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-2.6, ROW + 0.3), ylim=(6.1, -0.3))
    axes.axis("off")
    learnt = [i >= FIRST_TARGET for i in range(len(IDS))]
    colours = [LEARNT if flag else PLAIN for flag in learnt]
    rest = ROW - len(IDS) + 1
    draw_row(axes, 0.2, "text", TOKENS, colours)
    draw_row(axes, 1.3, "token_ids", IDS, colours)
    draw_row(axes, 2.4, "is_target", ["T" if flag else "F" for flag in learnt], colours)
    axes.plot([-2.5, ROW + 0.2], [3.55, 3.55], color="#999999", lw=0.8)
    draw_row(axes, 3.8, "what is read", [*IDS[:-1], *[10] * rest], [*[PLAIN] * (len(IDS) - 1), *[PADDING] * rest])
    targets = [i if flag else -100 for i, flag in zip(IDS, learnt, strict=True)][1:]
    draw_row(axes, 4.9, "targets", [*targets, *[-100] * rest], [*colours[1:], *[PADDING] * rest])
    return figure


def draw_row(axes: Axes, top: float, name: str, texts: Any, colours: list[str]) -> None:
    axes.text(-0.2, top + 0.45, name, ha="right", va="center", fontsize=12)
    for i, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        axes.add_patch(Rectangle((i, top), 1, 0.9, facecolor=colour, edgecolor="#555555", lw=0.8))
        axes.text(i + 0.5, top + 0.47, str(text), ha="center", va="center", fontsize=10 if len(str(text)) < 7 else 8)


def draw_lora() -> Figure:
    """A frozen weight beside two thin factors, drawn to scale: d_in = 12, d_out = 8, rank = 2."""
    figure = Figure(figsize=(10.4, 4.4), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 44), ylim=(14.5, -3.2), aspect="equal")
    axes.axis("off")
    draw_box(axes, 0, 1, 12, 8, FROZEN, "base.weight", "(d_out, d_in) = (8, 12)\nfrozen: 96 numbers")
    axes.text(14.2, 5, "+   alpha / rank  ·", va="center", fontsize=14)
    draw_box(axes, 23, 1, 2, 8, LEARNT, "lora_B", "(d_out, rank) = (8, 2)\nzero at first")
    axes.text(26.8, 5, "·", va="center", fontsize=18)
    draw_box(axes, 29, 1, 12, 2, LEARNT, "lora_A", "")
    axes.text(35, 3.5, "(rank, d_in) = (2, 12)\nuniform in ±1/sqrt(d_in)", ha="center", va="top", fontsize=10)
    axes.text(32, 9.2, "learnt: 16 + 24 = 40 numbers", ha="center", va="top", fontsize=10)
    axes.text(0, 13.6, "merge() adds the product to base.weight; unmerge() takes it out again.", fontsize=11)
    return figure


def draw_box(
    axes: Axes, left: float, top: float, width: float, height: float, face: str, name: str, below: str
) -> None:
    axes.add_patch(Rectangle((left, top), width, height, facecolor=face, edgecolor="#333333", lw=1))
    axes.text(left + width / 2, top - 0.5, name, ha="center", va="bottom", fontsize=12, weight="bold")
    axes.text(left + width / 2, top + height + 0.4, below, ha="center", va="top", fontsize=10)


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
