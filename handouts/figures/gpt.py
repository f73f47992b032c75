"""Draws the two figures of the gpt handout: `python handouts/figures/gpt.py` writes them next to itself.

The sizes are real ones (batch 2, seq_len 5, vocab_size 7, context_length 8, d_model 12, two blocks), all different.
The same call gives the same bytes: no date, and a fixed salt for the ids.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

TABLE, BLOCK, PLAIN = "#f5c76b", "#8ec5e8", "#e6e6e6"  # told apart with any kind of colour vision
STYLE: dict[Any, Any] = {"svg.hashsalt": "gpt", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
WORDS = {"mat": 0.38, "floor": 0.22, "sofa": 0.15, "roof": 0.10, "dog": 0.07, "moon": 0.05, "of": 0.03}


def draw(folder: Path) -> list[Path]:
    """Write gpt-assembly.svg and gpt-filters.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            save(draw_assembly(), folder / "gpt-assembly.svg"),
            save(draw_filters(), folder / "gpt-filters.svg"),
        ]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def draw_assembly() -> Figure:
    """From token ids down to logits: the parts in the middle, GPT-2's names on the left, shapes on the right."""
    figure = Figure(figsize=(9.6, 8.0), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 96), ylim=(80, 0))
    axes.axis("off")
    for left, text in ((3, "GPT-2's name"), (66, "what flows, and its shape")):
        axes.text(left, 4, text, fontsize=11, style="italic", va="center")
    for y, name in ((20, "wte and wpe"), (36, "h.0"), (46, "h.1"), (56, "ln_f"), (68, "no tensor: wte again")):
        axes.text(3, y, name, fontsize=11, family="monospace" if " " not in name else None, va="center")
    box(axes, 26, 20, 16, "token_embedding\nweight (7, 12)", TABLE)
    box(axes, 46, 20, 16, "position_embedding\nweight (8, 12)", TABLE)
    box(axes, 36, 36, 20, "blocks[0]", BLOCK)
    box(axes, 36, 46, 20, "blocks[1]", BLOCK)
    box(axes, 36, 56, 20, "norm_f", PLAIN)
    box(axes, 36, 68, 20, "lm_head\nweight (7, 12)", TABLE)
    axes.text(34, 8, "token_ids", ha="center", va="center", fontsize=11, weight="bold")
    axes.text(54, 8, "0 1 2 3 4", ha="center", va="center", fontsize=11, weight="bold")
    for start, end in (((34, 10), (34, 16)), ((54, 10), (54, 16)), ((34, 24), (45, 27.4)), ((54, 24), (47, 27.4))):
        arrow(axes, start, end)
    axes.text(46, 28.6, "+", ha="center", va="center", fontsize=15, weight="bold")
    for top, bottom in ((29.8, 33), (39, 43), (49, 53), (59, 64), (72, 76)):
        arrow(axes, (46, top), (46, bottom))
    axes.text(46, 77.6, "logits", ha="center", va="center", fontsize=11, weight="bold")
    arrow(axes, (25.5, 22), (35.5, 68), style="<->", bend=0.42, dashed=True)
    axes.text(19, 41, "tied:\none Parameter", fontsize=10, ha="right", va="center")
    shapes = {8: "ids (2, 5), positions (5)", 28.6: "x (2, 5, 12)", 41: "x (2, 5, 12)", 51: "x (2, 5, 12)"}
    shapes |= {61.5: "features (2, 5, 12)", 77.6: "logits (2, 5, 7)"}
    for y, shape in shapes.items():
        axes.text(66, y, shape, fontsize=11, va="center")
    return figure


def box(axes: Axes, left: float, middle: float, width: float, text: str, colour: str) -> None:
    height = 8 if "\n" in text else 6
    style = "round,pad=0,rounding_size=0.8"
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - height / 2), width, height, boxstyle=style, facecolor=colour, edgecolor="#555555"
        )
    )
    axes.text(left + width / 2, middle, text, ha="center", va="center", fontsize=10)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    style: str = "->",
    bend: float = 0,
    dashed: bool = False,
) -> None:
    look = {"arrowstyle": style, "color": "#333333", "lw": 1.2, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=look | ({"linestyle": "--"} if dashed else {}))


def draw_filters() -> Figure:
    """One distribution, and what each setting makes of it; what is excluded has no bar."""
    plain = list(WORDS.values())
    panels = {
        "as the model gives it": plain,
        "temperature 0.5": normalised([p**2 for p in plain]),
        "temperature 2": normalised([p**0.5 for p in plain]),
        "top_k 3": normalised([p if i < 3 else 0 for i, p in enumerate(plain)]),
        "top_p 0.8: 0.38 + 0.22 + 0.15\nis not enough, + 0.10 is": normalised(
            [p if i < 4 else 0 for i, p in enumerate(plain)]
        ),
    }
    figure = Figure(figsize=(13.5, 3.7), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.1)
    for axes, (title, probabilities) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        bars = axes.barh(range(len(WORDS)), probabilities, color=BLOCK, edgecolor="#555555", lw=0.6)
        axes.bar_label(bars, ["0" if p == 0 else f"{p:.2f}" for p in probabilities], padding=3, fontsize=10)
        axes.set(xlim=(0, 0.85), title=title)
        axes.set_yticks(range(len(WORDS)), list(WORDS))
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0)
        axes.title.set_fontsize(11)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    return figure


def normalised(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [weight / total for weight in weights]


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
