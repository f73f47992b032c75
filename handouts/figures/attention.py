"""Draws the two figures of the attention handout: `python handouts/figures/attention.py` writes them next to itself.

The sizes are real ones (batch 2, seq_len 5, d_model 12, n_heads 3, head_dim 4), all different, so that an axis can
be told from another by its length. The same call gives the same bytes: no date, and a fixed salt for the ids.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as MplPath
from matplotlib.transforms import Affine2D

SEQ_LEN, D_MODEL, N_HEADS, HEAD_DIM = 5, 12, 3, 4
HEADS = ("#8ec5e8", "#f5c76b", "#7fcfb2")  # told apart with any kind of colour vision, black text readable on each
PLAIN, YES, NO = "#d9d9d9", "#8ec5e8", "#ffffff"
STYLE: dict[Any, Any] = {"svg.hashsalt": "attention", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
Grid = list[list[bool]]


def draw(folder: Path) -> list[Path]:
    """Write attention-shapes.svg and attention-masks.svg into `folder`."""
    with mpl.rc_context(STYLE):
        return [
            save(draw_shapes(), folder / "attention-shapes.svg"),
            save(draw_masks(), folder / "attention-masks.svg"),
        ]


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def draw_shapes() -> Figure:
    """From x down to the output: the step, the tensor of one sequence, its shape."""
    figure = Figure(figsize=(10.4, 8.2), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-21, 71), ylim=(74.5, 1.5), aspect="equal")
    axes.axis("off")
    write_row(axes, 4, "x", "(2, 5, 12)", "batch, seq_len, d_model")
    draw_cells(axes, 19, 4, [PLAIN] * D_MODEL)
    write_row(axes, 15, "q_proj, k_proj, v_proj", "(2, 5, 12) each", "batch, seq_len, d_model")
    write_row(axes, 26, "split_heads", "(2, 3, 5, 4) each", "batch, n_heads, seq_len, head_dim")
    for left, name in ((0, "q"), (18, "k"), (36, "v")):
        draw_arrow(axes, (25, 9.4), (left + 7, 14.4))
        draw_cells(axes, left + 1, 15, [colour for colour in HEADS for _ in range(HEAD_DIM)])
        axes.text(left + 7, 17.5, name, ha="center", va="center", fontsize=14, weight="bold")
        draw_arrow(axes, (left + 7, 20.4), (left + 7, 25.4))
        draw_heads(axes, left, 26, HEAD_DIM)
    write_row(axes, 37, "attention_weights", "(2, 3, 5, 5)", "batch, n_heads, q_len, k_len")
    draw_arrow(axes, (7, 33), (14, 36.4))
    draw_arrow(axes, (25, 33), (18, 36.4))
    draw_heads(axes, 7.5, 37, SEQ_LEN, causal=True)
    write_row(axes, 48, "scaled_dot_product_attention", "(2, 3, 5, 4)", "batch, n_heads, seq_len, head_dim")
    draw_arrow(axes, (17, 44), (23, 47.4))
    draw_arrow(axes, (43, 33), (29, 47.4))
    draw_heads(axes, 18, 48, HEAD_DIM)
    write_row(axes, 59, "merge_heads", "(2, 5, 12)", "batch, seq_len, d_model")
    draw_arrow(axes, (25, 55), (25, 58.4))
    draw_cells(axes, 19, 59, [colour for colour in HEADS for _ in range(HEAD_DIM)])
    write_row(axes, 68, "out_proj", "(2, 5, 12)", "batch, seq_len, d_model")
    draw_arrow(axes, (25, 64.4), (25, 67.4))
    draw_cells(axes, 19, 68, [PLAIN] * D_MODEL)
    return figure


def write_row(axes: Axes, top: float, step: str, shape: str, words: str) -> None:
    """The step on the left, the shape and its words on the right."""
    axes.text(-20.5, top + 2.5, step.replace("scaled_dot_product_", "scaled_dot_product_\n"), va="center", fontsize=11)
    axes.text(53, top + 1.7, shape, va="center", fontsize=11, weight="bold")
    axes.text(53, top + 3.1, words.replace("n_heads, ", "n_heads,\n"), va="top", fontsize=9)


def draw_cells(axes: Axes, left: float, top: float, colours: list[str], causal: bool = False) -> None:
    """A matrix with SEQ_LEN rows, one colour a column; a causal one is blank where a key comes after the query."""
    cells: dict[str, list[MplPath]] = {}
    for row in range(SEQ_LEN):
        for column, colour in enumerate(colours):
            square = MplPath.unit_rectangle().transformed(Affine2D().translate(left + column, top + row))
            cells.setdefault(NO if causal and column > row else colour, []).append(square)
    for colour, squares in cells.items():  # one path a colour keeps the file small
        path = MplPath.make_compound_path(*squares)
        axes.add_patch(PathPatch(path, facecolor=colour, edgecolor="#555555", lw=0.5))


def draw_heads(axes: Axes, left: float, top: float, width: int, causal: bool = False) -> None:
    """One matrix a head, side by side."""
    for head, colour in enumerate(HEADS):
        corner = left + head * (width + 1)
        draw_cells(axes, corner, top, [colour] * width, causal=causal)
        axes.text(corner + width / 2, top + SEQ_LEN + 0.9, f"head {head}", ha="center", va="center", fontsize=8)


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "->", "color": "#333333", "lw": 1.2})


def draw_masks() -> Figure:
    """Who may look at whom: rows are queries, columns are keys."""
    causal = [[key <= query for key in range(5)] for query in range(5)]
    padding = [[key >= 2 for key in range(5)] for _ in range(5)]
    both = [[a and b for a, b in zip(*rows, strict=True)] for rows in zip(causal, padding, strict=True)]
    figure = Figure(figsize=(11, 3.5), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.12)
    panels = figure.subplots(1, 4)
    draw_mask(panels[0], causal, range(5), "causal_mask(5)")
    draw_mask(panels[1], causal[3:], range(3, 5), "causal_mask(2, 5)")
    draw_mask(panels[2], padding, range(5), "padding:\nkeys 0 and 1 are not words")
    draw_mask(panels[3], both, range(5), "both: rows 0 and 1\nhave nothing to attend to")
    return figure


def draw_mask(axes: Axes, mask: Grid, positions: range, title: str) -> None:
    """T and F in cells, so that the colour is never the only sign."""
    for row, values in enumerate(mask):
        for column, value in enumerate(values):
            face = YES if value else NO
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor="#555555", lw=0.8))
            axes.text(column + 0.5, row + 0.55, "T" if value else "F", ha="center", va="center", fontsize=11)
    axes.set(xlim=(-0.05, 5.05), ylim=(5.05, -0.05), aspect="equal")
    axes.set_xticks([i + 0.5 for i in range(5)], [str(i) for i in range(5)])
    axes.set_yticks([i + 0.5 for i in range(len(mask))], [str(i) for i in positions])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=11, pad=10)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("key")
    axes.set_ylabel("query")


if __name__ == "__main__":
    for path in draw(Path(__file__).parent):
        print(path)
