"""The payoff of module 4: a tokenizer of your own, trained on 2 MB of English, cuts one paragraph in three ways.

`run` works with any module that has the eight tasks: the reference, given, or a student's file. It trains once: the
merges of a smaller vocabulary are the first ones of a larger. A training that counts everything anew for each merge is
right but slow; it gets a smaller text and smaller vocabularies, and is told so.
"""

import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus  # beside this file

PARAGRAPH = (
    "A tokenizer cuts a text before a model may read it. What occurs often becomes one token, what is rare falls into "
    "many: the word 'function' may be one, 'dysfunctional' is not, and neither are 3.14159, naïve or λόγος."
)
SIZES = (300, 1_000, 10_000)
SMALLER = (300, 500, 1_000)  # for a slow training
SMALL_TEXT = 100_000  # characters
TRIAL, PATIENCE = 400, 10  # merges on the small text, and how many times as long as one merge they may take
COLUMNS = 92  # characters a line of the picture
COLOURS = ("#cfe4f3", "#fbe3b5", "#cdeadf", "#f3d3e2")

Say = Callable[[str], None]
Vocab = dict[int, bytes]
Merges = list[tuple[bytes, bytes]]


def run(impl: types.ModuleType, folder: Path, say: Say, sizes: tuple[int, ...] = (), text: str = "") -> list[Path]:
    """Draw the paragraph cut by three vocabularies into `folder` and tell through `say` what was learnt.

    Args:
        impl: a module with the eight tasks of the tokenizer module.
        folder: where the picture goes; made if it does not exist.
        say: takes one line of text.
        sizes: of the vocabularies, the smallest first; by default as large as the training is fast.
        text: what to train on, by default the corpus.
    Returns:
        The picture: tokens.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokens.png").unlink(missing_ok=True)  # what an earlier run left would tell a lie
    cut(impl, *impl.train_bpe("a b", 257), 257)  # what is not written yet is told before the corpus is read
    text = text or corpus.text()
    if not sizes:
        text, sizes = affordable(impl, text, say)
    say(
        f"Training on {len(text.encode()):,} bytes of English from Python's own documentation, to {sizes[-1]:,} tokens."
    )
    start = time.perf_counter()
    vocab, merges = impl.train_bpe(text, sizes[-1])
    say(f"  {len(merges):,} merges ({time.perf_counter() - start:.1f} s)")
    tell_tokens(merges, say)
    cuts = [cut(impl, vocab, merges, size) for size in sizes]
    tell_cuts(cuts, say)
    return [draw(cuts, folder / "tokens.png")]


def affordable(impl: types.ModuleType, text: str, say: Say) -> tuple[str, tuple[int, ...]]:
    """The whole corpus and SIZES, or less of both if merges take long beside all that comes before the first one."""
    small = text[:SMALL_TEXT]
    seconds = []
    for merges in (1, TRIAL):
        start = time.process_time()
        impl.train_bpe(small, 256 + merges)
        seconds.append(time.process_time() - start)
    if seconds[1] <= PATIENCE * seconds[0]:
        return text, SIZES
    times = f"{seconds[1] / seconds[0]:.0f} times as long as one"
    say(f"{TRIAL} merges take {times}: train_bpe counts everything anew for each.")
    say("  That is right but slow, so the demo stays with a small text and small vocabularies.")
    return small, SMALLER


@dataclass(frozen=True)
class Cut:
    """The paragraph, cut by a vocabulary of some size."""

    size: int
    tokens: list[bytes]
    back: str

    @property
    def bytes_each(self) -> float:
        return len(PARAGRAPH.encode()) / max(1, len(self.tokens))

    @property
    def right(self) -> bool:
        return self.back == PARAGRAPH and b"".join(self.tokens) == PARAGRAPH.encode()


def cut(impl: types.ModuleType, vocab: Vocab, merges: Merges, size: int) -> Cut:
    """A smaller vocabulary is the beginning of a larger one."""
    smaller = {token_id: token for token_id, token in vocab.items() if token_id < size}
    tokenizer = impl.Tokenizer(smaller, merges[: size - 256])
    token_ids = tokenizer.encode(PARAGRAPH)
    return Cut(size, [smaller[token_id] for token_id in token_ids], tokenizer.decode(token_ids))


def tell_tokens(merges: Merges, say: Say) -> None:
    """What was learnt first, what last, and the longest words."""
    learnt = [first + second for first, second in merges]
    say(f"  learnt first:  {shown_list(learnt[:12])}")
    say(f"  learnt last:   {shown_list(learnt[-6:])}")
    words = [token for token in learnt if token.strip().isalpha()]
    say(f"  longest words: {shown_list(sorted(words, key=len, reverse=True)[:5])}")


def shown_list(tokens: list[bytes]) -> str:
    return "  ".join("".join(shown(token)) for token in tokens)


def tell_cuts(cuts: list[Cut], say: Say) -> None:
    """One line a vocabulary, then whether the paragraph came back."""
    say(f"A paragraph of {len(PARAGRAPH.encode())} bytes, which is not in the corpus:")
    say("  vocab_size   tokens   bytes a token")
    for one in cuts:
        say(f"  {one.size:>10,}   {len(one.tokens):>6}   {one.bytes_each:>13.2f}")
    wrong = [one for one in cuts if not one.right]
    if not wrong:
        say("Decoding the ids gives the paragraph again, byte for byte.")
    for one in wrong:
        say(f"NOT right: with {one.size:,} tokens, decoding the ids gives {one.back!r}.")
        say("  `grader check tokenizer` says where.")


def shown(token: bytes) -> list[str]:
    """A token as characters to print: a space as a dot; what is no printable text byte by byte, as two digits."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return [f"{byte:02x}" for byte in token]
    return [c.replace(" ", "·") if c.isprintable() else f"{ord(c):02x}" for c in text]


def draw(cuts: list[Cut], path: Path) -> Path:
    """The paragraph once for each vocabulary, a box for each token."""
    from matplotlib.figure import Figure  # only the picture needs it

    layouts = [lay_out(one.tokens) for one in cuts]
    heights = [boxes[-1].line + 1 if boxes else 1 for boxes in layouts]
    figure = Figure(figsize=(13.6, 1.1 + sum(0.42 * height + 0.75 for height in heights)), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.12)
    panels = figure.subplots(len(cuts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, one, boxes, height in zip(panels, cuts, layouts, heights, strict=True):
        draw_boxes(axes, boxes, height)
        title = f"vocab_size {one.size:,}: {len(one.tokens)} tokens, {one.bytes_each:.1f} bytes each"
        axes.set_title(title + ("" if one.right else " (NOT the paragraph)"), loc="left", fontsize=13, weight="bold")
    caption = (
        "A box is a token, a dot a space. Two small digits are one byte of a character that has no token of its own."
    )
    figure.supxlabel(caption, fontsize=10, x=0.02, ha="left")
    figure.savefig(path, dpi=130)
    return path


@dataclass(frozen=True)
class Box:
    """A token in the picture: what is written in it, and where."""

    signs: list[str]
    line: int
    left: float
    width: float


def lay_out(tokens: list[bytes]) -> list[Box]:
    """Boxes from left to right, a new line where one does not fit; a character is 1 wide."""
    boxes: list[Box] = []
    line, left = 0, 0.0
    for token in tokens:
        signs = shown(token)
        width = sum(1.4 if len(sign) > 1 else 1.0 for sign in signs) + 0.5
        if left and left + width > COLUMNS:
            line, left = line + 1, 0.0
        boxes.append(Box(signs, line, left, width))
        left += width + 0.15
    return boxes


def draw_boxes(axes: Any, boxes: list[Box], height: int) -> None:
    """Colours in turn only tell neighbours apart; every box has an edge as well."""
    from matplotlib.patches import FancyBboxPatch

    edge = {"boxstyle": "round,pad=0,rounding_size=0.18", "edgecolor": "#777777", "lw": 0.7}
    centred = {"ha": "center", "va": "center", "family": "DejaVu Sans Mono", "in_layout": False}  # in_layout is slow
    for i, box in enumerate(boxes):
        top = box.line + 0.1
        face = COLOURS[i % len(COLOURS)]
        axes.add_patch(FancyBboxPatch((box.left, top), box.width, 0.8, facecolor=face, in_layout=False, **edge))
        left = box.left + 0.25
        for sign in box.signs:
            width, size = (1.4, 8) if len(sign) > 1 else (1.0, 12.5)
            axes.text(left + width / 2, top + 0.42, sign, fontsize=size, **centred)
            left += width
    axes.set(xlim=(-0.3, COLUMNS + 0.6), ylim=(height, 0))
    axes.axis("off")
