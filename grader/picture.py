"""The pictures of the reports as plain numbers; templates/parts.html turns them into SVG.

A heat map never speaks by colour alone: the range is written out, each cell carries its number, and what is not finite
is crossed out.
"""

import math
from dataclasses import dataclass

from .record import Picture, SubmissionRecord
from .text import number

MOST = 16  # rows and columns that are drawn
FAR = 4  # how many times larger than all that was expected a value is before it no longer sets the scale
BINS = 10

Grid = list[list[float]]


@dataclass(frozen=True)
class Cell:
    """One square: `tone` is low (blue), high (orange) or odd (not finite), `strength` from 0 to 1."""

    row: int
    column: int
    tone: str
    strength: str
    crossed: bool
    says: str


@dataclass(frozen=True)
class Panel:
    """One heat map."""

    name: str
    rows: int
    columns: int
    side: int
    cells: list[Cell]
    says: str


@dataclass(frozen=True)
class Drawing:
    """The heat maps of one picture; `limit` is the shared scale of expected and got, `step` that of the difference."""

    axes: tuple[str, str]
    slice: str
    panels: list[Panel]
    limit: str
    step: str | None
    remarks: list[str]

    @property
    def crossed(self) -> bool:
        return any(cell.crossed for panel in self.panels for cell in panel.cells)


def draw(picture: Picture) -> Drawing:
    """Expected, got and, where the shapes agree, the difference."""
    expected, got = _grid(picture.expected), _grid(picture.got)
    same = [len(row) for row in picture.expected] == [len(row) for row in picture.got]
    difference = _subtract(expected, got) if same else None
    limit, remarks = _scale(expected, got)
    side = max(9, min(20, 160 // max(_size(expected) + _size(got))))
    panels = [_panel(name, grid, limit, side, picture.axes) for name, grid in (("expected", expected), ("got", got))]
    if difference is None:
        shapes = " and got ".join("{} by {}".format(*_size(rows)) for rows in (picture.expected, picture.got))
        remarks.append(f"The shapes differ, so there is no difference to draw: expected {shapes} (rows by columns).")
    else:
        panels.append(_panel("difference", difference, _peak(difference), side, picture.axes))
        remarks += _largest(expected, got, difference, picture.axes)
    if max(_size(picture.expected) + _size(picture.got)) > MOST:
        remarks.append(f"Only the first {MOST} rows and columns are drawn.")
    step = _written(_peak(difference)) if difference and _peak(difference) else None
    return Drawing(picture.axes, picture.slice, panels, _written(limit), step, remarks)


def _grid(rows: list[list[float | str]]) -> Grid:
    return [[float(value) for value in row[:MOST]] for row in rows[:MOST]]


def _size(rows: Grid | list[list[float | str]]) -> tuple[int, int]:
    return len(rows), max(map(len, rows), default=0)


def _subtract(expected: Grid, got: Grid) -> Grid:
    """got - expected; zero where both are the same infinity or both are NaN."""
    return [
        [0.0 if e == g or (math.isnan(e) and math.isnan(g)) else g - e for e, g in zip(one, other, strict=True)]
        for one, other in zip(expected, got, strict=True)
    ]


def _peak(grid: Grid) -> float:
    return max((abs(value) for row in grid for value in row if math.isfinite(value)), default=0.0)


def _scale(expected: Grid, got: Grid) -> tuple[float, list[str]]:
    """The largest finite value of both; a runaway in got would bleach expected, so it is named instead."""
    right, theirs = _peak(expected), _peak(got)
    if 0 < FAR * right < theirs:
        return right, [f"Values in got reach {_written(theirs)}; what lies beyond the scale has its full colour."]
    return max(right, theirs), []


def _panel(name: str, grid: Grid, limit: float, side: int, axes: tuple[str, str]) -> Panel:
    rows, columns = _size(grid)
    cells = [
        _cell(r, c, value, limit, f"{axes[0]} {r}, {axes[1]} {c}: {_written(value)}")
        for r, row in enumerate(grid)
        for c, value in enumerate(row)
    ]
    finite = [value for row in grid for value in row if math.isfinite(value)]
    says = f"{rows} rows ({axes[0]}) by {columns} columns ({axes[1]})"
    says += f", from {_written(min(finite))} to {_written(max(finite))}" if finite else ", no finite value"
    if odd := len(cells) - len(finite):
        says += f", {odd} {'cell is' if odd == 1 else 'cells are'} NaN or infinite"
    return Panel(name, rows, columns, side, cells, says + ".")


def _cell(row: int, column: int, value: float, limit: float, says: str) -> Cell:
    if math.isnan(value):
        return Cell(row, column, "odd", "1", True, says)
    share = min(1.0, abs(value) / limit) if limit and math.isfinite(value) else float(math.isinf(value))
    return Cell(row, column, "low" if value < 0 else "high", f"{share:.3g}", math.isinf(value), says)


def _largest(expected: Grid, got: Grid, difference: Grid, axes: tuple[str, str]) -> list[str]:
    """Where the values lie furthest apart, in words."""
    places = [
        (abs(value), r, c)
        for r, row in enumerate(difference)
        for c, value in enumerate(row)
        if math.isfinite(value) and value
    ]
    if not places:
        return ["No two finite values differ."]
    _, r, c = max(places, key=lambda place: place[0])
    both = f"expected {_written(expected[r][c])}, got {_written(got[r][c])}"
    return [f"Furthest apart at {axes[0]} {r}, {axes[1]} {c}: {both}."]


def _written(value: float) -> str:
    return f"{value:.4g}"


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram: how many graded, and how many that could not be graded and count as zero."""

    start: str
    end: str
    graded: int
    ungraded: int

    @property
    def count(self) -> int:
        return self.graded + self.ungraded


def histogram(records: list[SubmissionRecord], max_score: float) -> list[Bar]:
    """Ten equal bars from zero to the full score; the full score belongs to the last."""
    counts = {True: [0] * BINS, False: [0] * BINS}
    for record in records:
        share = record.score / max_score if max_score else 0.0
        # 70 of 100 is the seventh step, whatever 0.7 · 10 is in binary.
        counts[record.status == "graded"][max(0, min(BINS - 1, math.floor(share * BINS + 1e-9)))] += 1
    edges = [number(max_score * step / BINS) for step in range(BINS + 1)]
    return [Bar(edges[i], edges[i + 1], counts[True][i], counts[False][i]) for i in range(BINS)]
