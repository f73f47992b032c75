"""Draws the two figures of the block handout: `python handouts/figures/block.py` writes them next to itself.

The sizes are those of the page (batch 2, seq_len 5, d_model 12, d_ff 48). The same call gives the same bytes: no date,
and a fixed salt for the ids.
"""

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

NORM, MIX, WORK, OTHER = "#f5c76b", "#8ec5e8", "#7fcfb2", "#e4e4e4"  # black text is readable on each
LINE = "#333333"
STYLE: dict[Any, Any] = {"svg.hashsalt": "block", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
COLOURS = {"norm1": NORM, "norm2": NORM, "attention": MIX, "feed_forward": WORK}
STREAM, BRANCH = 1.2, 4.2  # where the residual stream runs, and the parts beside it
MODEL, HIDDEN = "(2, 5, 12)", "(2, 5, 48)"


def draw(folder: Path) -> list[Path]:
    """Write block-wiring.svg and block-activations.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            save(draw_wiring(), folder / "block-wiring.svg"),
            save(draw_activations(), folder / "block-activations.svg"),
        ]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def draw_wiring() -> Figure:
    """The two kinds of block, and the two kinds of feed-forward layer; the data runs downwards."""
    figure = Figure(figsize=(12.4, 7.6), facecolor="white")
    for i, (title, width) in enumerate((("pre-norm", 7), ("post-norm", 7), ("FeedForward", 6), ("SwiGLU", 8))):
        axes = figure.add_axes((sum((7, 7, 6, 8)[:i]) / 28, 0, width / 28, 1))
        axes.set(xlim=(-0.6, width - 0.6), ylim=(15.6, -1.4))
        axes.axis("off")
        axes.text(0, -0.9, title, fontsize=14, weight="bold", va="center")
        (draw_pre, draw_post, draw_feed_forward, draw_swiglu)[i](axes)
    return figure


def draw_pre(axes: Axes) -> None:
    """Each branch begins with its norm; the stream itself runs through untouched."""
    begin(axes)
    draw_step(axes, 1.2, ["norm1", "attention", "dropout"])
    draw_step(axes, 7.4, ["norm2", "feed_forward", "dropout"])
    arrow(axes, (STREAM, 13.05), (STREAM, 14.3))
    axes.text(STREAM, 14.8, MODEL, ha="center", va="center", fontsize=11)


def draw_post(axes: Axes) -> None:
    """The norms stand in the stream, behind each sum."""
    begin(axes)
    draw_step(axes, 1.2, ["attention", "dropout"])
    box(axes, STREAM, 6.3, "norm1", wide=1.9)
    arrow(axes, (STREAM, 5.3), (STREAM, 5.9))
    arrow(axes, (STREAM, 6.7), (STREAM, 7.5), head=False)
    draw_step(axes, 7.4, ["feed_forward", "dropout"])
    arrow(axes, (STREAM, 11.5), (STREAM, 12.2))
    box(axes, STREAM, 12.6, "norm2", wide=1.9)
    arrow(axes, (STREAM, 13.0), (STREAM, 14.3))
    axes.text(STREAM, 14.8, MODEL, ha="center", va="center", fontsize=11)


def begin(axes: Axes) -> None:
    axes.text(STREAM, 0, f"x {MODEL}", ha="center", va="center", fontsize=11)
    arrow(axes, (STREAM, 0.4), (STREAM, 1.3), head=False)


def draw_step(axes: Axes, top: float, parts: list[str]) -> None:
    """A branch that leaves the stream at `top`, runs through the parts and is added again."""
    heights = [top + 1.1 + 1.5 * i for i in range(len(parts))]
    bottom = heights[-1] + 1.2
    axes.plot([STREAM, BRANCH], [top, top], color=LINE, lw=1.2)
    arrow(axes, (BRANCH, top), (BRANCH, heights[0] - 0.45))
    for height, part in zip(heights, parts, strict=True):
        box(axes, BRANCH, height, part, wide=3.2)
    for height in heights[:-1]:
        arrow(axes, (BRANCH, height + 0.4), (BRANCH, height + 1.05))
    axes.plot([BRANCH, BRANCH], [heights[-1] + 0.4, bottom], color=LINE, lw=1.2)
    arrow(axes, (BRANCH, bottom), (STREAM + 0.4, bottom))
    arrow(axes, (STREAM, top), (STREAM, bottom - 0.35), wide=2.6)
    circle(axes, STREAM, bottom, "+")
    if top < 5 and len(parts) == 3:
        arrow(axes, (STREAM, bottom + 0.35), (STREAM, 7.4), head=False)


def draw_feed_forward(axes: Axes) -> None:
    """Out to d_ff, an activation, back."""
    x = 2.4
    axes.text(x, 0, f"x {MODEL}", ha="center", va="center", fontsize=11)
    chain(axes, x, [(2.3, "up_proj", HIDDEN), (5.3, "activation", HIDDEN), (8.3, "down_proj", MODEL)])
    axes.text(x, 11.2, "activation: gelu_tanh,\ngelu or silu", ha="center", va="center", fontsize=9)


def draw_swiglu(axes: Axes) -> None:
    """Two ways out to d_ff, one of them the gate of the other, and one way back."""
    gate, up = 1.5, 5.4
    middle = (gate + up) / 2
    axes.text(middle, 0, f"x {MODEL}", ha="center", va="center", fontsize=11)
    for x, name in ((gate, "gate_proj"), (up, "up_proj")):
        arrow(axes, (middle, 0.4), (x, 1.85))
        box(axes, x, 2.3, name, wide=3.2)
    arrow(axes, (gate, 2.7), (gate, 4.85))
    axes.text(gate + 0.2, 3.8, HIDDEN, va="center", fontsize=10)
    box(axes, gate, 5.3, "silu", wide=3.2)
    arrow(axes, (gate, 5.7), (middle - 0.45, 7.1))
    arrow(axes, (up, 2.7), (middle + 0.45, 7.0))
    axes.text(up - 0.2, 4.9, HIDDEN, va="center", fontsize=10)
    circle(axes, middle, 7.3, "\N{MULTIPLICATION SIGN}")
    chain(axes, middle, [(9.8, "down_proj", MODEL)], top=7.65)
    axes.text(middle + 0.2, 8.5, HIDDEN, va="center", fontsize=10)


def chain(axes: Axes, x: float, boxes: list[tuple[float, str, str]], top: float = 0.4) -> None:
    """Boxes below each other, with the shape behind each."""
    for height, name, shape in boxes:
        arrow(axes, (x, top), (x, height - 0.45))
        box(axes, x, height, name, wide=3.2)
        last = (height, name, shape) == boxes[-1]
        if last:
            arrow(axes, (x, height + 0.4), (x, height + 1.2))
            axes.text(x, height + 1.6, shape, ha="center", va="center", fontsize=11)
        else:
            axes.text(x + 0.2, height + 1.5, shape, va="center", fontsize=10)
        top = height + 0.4


def box(axes: Axes, x: float, y: float, name: str, wide: float) -> None:
    face = COLOURS.get(name, WORK if name.endswith("_proj") else OTHER)
    corner = (x - wide / 2 + 0.1, y - 0.3)
    patch = FancyBboxPatch(corner, wide - 0.2, 0.6, boxstyle="round,pad=0.1", facecolor=face, edgecolor=LINE, lw=0.8)
    axes.add_patch(patch)
    axes.text(x, y + 0.02, name, ha="center", va="center", fontsize=11)


def circle(axes: Axes, x: float, y: float, sign: str) -> None:
    axes.add_patch(Circle((x, y), 0.35, facecolor="white", edgecolor=LINE, lw=1.2, zorder=3))
    axes.text(x, y, sign, ha="center", va="center", fontsize=13, zorder=4)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], head: bool = True, wide: float = 1.2
) -> None:
    style = {"arrowstyle": "->" if head else "-", "color": LINE, "lw": wide, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def draw_activations() -> Figure:
    """relu, gelu and silu; beside them how far the two forms of gelu are apart."""
    figure = Figure(figsize=(11, 3.9), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    left, right = figure.subplots(1, 2)
    xs = [i / 50 for i in range(-200, 201)]
    lines = (("relu", relu, "#555555", ":"), ("gelu", gelu, "#0072b2", "-"), ("silu", silu, "#d55e00", "--"))
    for name, function, colour, style in lines:
        left.plot(xs, [function(x) for x in xs], color=colour, linestyle=style, label=name)
    left.set(xlabel="x", title="three activations", xlim=(-4, 3), ylim=(-0.5, 3))
    right.plot(xs, [1e4 * (gelu_tanh(x) - gelu(x)) for x in xs], color="#0072b2")
    right.set(xlabel="x", ylabel="difference · 10 000", title="gelu(x, 'tanh') minus gelu(x)", xlim=(-4, 4))
    for axes in (left, right):
        axes.axhline(0, color=LINE, lw=0.6)
        axes.axvline(0, color=LINE, lw=0.6)
        axes.grid(alpha=0.3)
    left.legend()
    return figure


def relu(x: float) -> float:
    return max(x, 0.0)


def gelu(x: float) -> float:
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x: float) -> float:
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
