"""The payoff of module 2: why GPT-2 moved the norms. Gradient size against depth, pre-norm and post-norm.

`run` works with any module that has the eight tasks: the reference, given, or a student's file. It stacks 32 blocks of
each kind, measures how large the gradient of each block is before any training, and then trains two stacks of 12, one
of each kind, on the same easy task: say the letter that came one place earlier. Both curves go into one picture.
"""

import math
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SEED = 1
D_MODEL, N_HEADS = 32, 4
NORMS = ("pre", "post")
DEPTH, DRAWS = 32, 4  # of the stacks whose gradients are measured, and how many of each
DEPTH_TRAINED, STEPS, LR = 12, 120, 3e-3  # no warm-up
BATCH, SEQ_LEN, LETTERS = 8, 12, 16
GUESSING = math.log(LETTERS)  # the loss of a model that knows nothing
LEARNT = 1.0  # loss, far below guessing
REPORT_EVERY = 20
COLOURS = {"pre": "#0072b2", "post": "#d55e00"}  # told apart with any kind of colour vision
MARKERS = {"pre": "o", "post": "s"}

Say = Callable[[str], None]


def run(impl: types.ModuleType, folder: Path, say: Say, steps: int | None = None) -> list[Path]:
    """Draw both experiments into one picture in `folder` and tell what comes out through `say`.

    Args:
        impl: a module with the eight tasks of the block module.
        folder: where the picture goes; made if it does not exist.
        say: takes one line of text.
        steps: training steps; fewer than the default are for trying things out.
    Returns:
        The picture: depth.png, or depth-not-learnt.png if pre-norm did not learn the task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread(), torch.random.fork_rng(devices=[]):  # initial values that impl draws are replaced below
        sizes = {norm: gradient_sizes(impl, norm) for norm in NORMS}
        report_sizes(sizes, say)
        losses = {norm: train(impl, norm, say, STEPS if steps is None else steps) for norm in NORMS}
    result = Result(sizes, losses)
    report(result, say)
    names = ("depth.png", "depth-not-learnt.png")
    (folder / names[result.learnt("pre")]).unlink(missing_ok=True)  # what an earlier run left would tell a lie
    return [draw(result, folder / names[not result.learnt("pre")])]


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors this small are no faster on two threads, and much slower when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Result:
    """For each norm: the gradient of each block, and the loss of each step of training."""

    sizes: dict[str, list[float]]
    losses: dict[str, list[float]] = field(default_factory=dict)

    def final(self, norm: str) -> float:
        """The mean loss of the last ten steps."""
        last = self.losses[norm][-10:]
        return sum(last) / len(last)

    def learnt(self, norm: str) -> bool:
        return self.final(norm) < LEARNT


class Stack(nn.Module):
    """Blocks of one kind, then a norm, without which the output of pre-norm would grow with the depth."""

    def __init__(self, impl: types.ModuleType, norm: str, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(impl.TransformerBlock(D_MODEL, N_HEADS, 4 * D_MODEL, norm) for _ in range(depth))
        self.norm_f = impl.LayerNorm(D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, seq_len, d_model) -> the same shape."""
        for block in self.blocks:
            x = block(x)
        return self.norm_f(x)


class Echo(nn.Module):
    """Letter and position vectors, a stack, one score a letter."""

    def __init__(self, impl: types.ModuleType, norm: str) -> None:
        super().__init__()
        self.letter = nn.Embedding(LETTERS, D_MODEL)
        self.position = nn.Embedding(SEQ_LEN, D_MODEL)
        self.stack = Stack(impl, norm, DEPTH_TRAINED)
        self.output = nn.Linear(D_MODEL, LETTERS)

    def forward(self, letters: Tensor) -> Tensor:
        """(batch, seq_len) -> logits (batch, seq_len, LETTERS)."""
        return self.output(self.stack(self.letter(letters) + self.position.weight))


def fill(model: nn.Module, generator: torch.Generator) -> None:
    """Initial values by parameter name, so that no order of registration and no global state plays a part."""
    for name, parameter in sorted(model.named_parameters()):
        with torch.no_grad():
            if parameter.dim() > 1:
                spread = 0.7 if name.startswith(("letter", "position")) else 1 / math.sqrt(parameter.shape[-1])
                parameter.normal_(0, spread, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                parameter.fill_(1)


def gradient_sizes(impl: types.ModuleType, norm: str) -> list[float]:
    """The norm of the gradient of each block's weights, the mean of a few new stacks."""
    total = torch.zeros(DEPTH, dtype=torch.float64)
    for draw_number in range(DRAWS):
        generator = torch.Generator().manual_seed(SEED + draw_number)
        stack = Stack(impl, norm, DEPTH)
        fill(stack, generator)
        output = stack(torch.randn(BATCH, SEQ_LEN, D_MODEL, generator=generator))
        direction = torch.randn(output.shape, generator=generator)
        (output * direction).sum().backward()
        total += torch.tensor([size_of(block) for block in stack.blocks], dtype=torch.float64)
    return (total / DRAWS / math.sqrt(BATCH * SEQ_LEN * D_MODEL)).tolist()


def size_of(block: nn.Module) -> float:
    """The norm of the gradient of all matrices of a block together; one that gets none counts as zero."""
    squares = [p.grad.double().square().sum().item() for p in block.parameters() if p.dim() > 1 and p.grad is not None]
    return math.sqrt(sum(squares))


def train(impl: types.ModuleType, norm: str, say: Say, steps: int) -> list[float]:
    """Adam on fresh random letters at every step; stops early only when the loss is no number any more."""
    generator = torch.Generator().manual_seed(SEED)
    model = Echo(impl, norm)
    fill(model, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    say(f"Training {DEPTH_TRAINED} blocks, {norm}-norm (guessing: {GUESSING:.2f})")
    start, losses = time.perf_counter(), list[float]()
    for step in range(1, steps + 1):
        letters = torch.randint(LETTERS, (BATCH, SEQ_LEN), generator=generator)
        logits = model(letters)[:, 1:]
        loss = cross_entropy(logits.flatten(0, 1), letters[:, :-1].flatten())  # the letter one place earlier
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step in (1, steps) or step % REPORT_EVERY == 0:
            say(f"  step {step:>3}   loss {losses[-1]:.3f}   ({time.perf_counter() - start:.1f} s)")
        if not math.isfinite(losses[-1]):
            break
    return losses


def report_sizes(sizes: dict[str, list[float]], say: Say) -> None:
    """A few of the numbers of the left panel."""
    shown = [0, *range(7, DEPTH, 8)]
    say(f"Gradient of each of {DEPTH} new blocks")
    say("  block     " + "".join(f"{i + 1:>8}" for i in shown))
    for norm in NORMS:
        say(f"  {norm + '-norm':<10}" + "".join(f"{sizes[norm][i]:>8.2f}" for i in shown))
    for norm in NORMS:
        if idle := [block for block, size in enumerate(sizes[norm], start=1) if not size]:
            say(f"  With {norm}-norm no gradient comes down to block {idle[-1]}: is something detached, or not used?")


def report(result: Result, say: Say) -> None:
    """What came out, for each norm."""
    for norm in NORMS:
        final = result.final(norm)
        if result.learnt(norm):
            verdict = "learnt"
        elif final > GUESSING - 0.1 or not math.isfinite(final):
            verdict = "NOT learnt: no better than guessing"
        else:
            verdict = "NOT learnt: better than guessing, but slow"
        say(f"{norm}-norm: {verdict} (loss {final:.2f} after {len(result.losses[norm])} steps).")
    if not result.learnt("pre"):
        say("  Pre-norm should learn this: `grader check block` says where to look.")


def draw(result: Result, path: Path) -> Path:
    """Left: gradient size against depth. Right: what that does to training."""
    from matplotlib.figure import Figure  # only the picture needs it

    figure = Figure(figsize=(12.6, 5.8), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12)
    left, right = figure.subplots(1, 2)
    draw_sizes(left, result.sizes)
    draw_losses(right, result)
    caption = (
        f"Left: stacks of {DEPTH} new blocks (d_model {D_MODEL}), the gradient of a random sum of their outputs with "
        f"respect to each block's matrices, mean of {DRAWS}.\nRight: {DEPTH_TRAINED} blocks learn to say the letter "
        f"one place earlier; Adam, learning rate {LR:g}, no warm-up, the same letters for both."
    )
    figure.supxlabel(caption, fontsize=9, x=0.02, ha="left")
    figure.savefig(path, dpi=150)
    return path


def draw_sizes(axes: Any, sizes: dict[str, list[float]]) -> None:
    """One line a norm on logarithmic axes, with the slope that theory gives to pre-norm."""
    blocks = range(1, DEPTH + 1)
    for norm in NORMS:
        shown = [size if size > 0 else math.nan for size in sizes[norm]]
        axes.plot(blocks, shown, color=COLOURS[norm], marker=MARKERS[norm], markersize=4, label=f"{norm}-norm")
    if sizes["pre"][0] > 0:
        slope = [sizes["pre"][0] / math.sqrt(block) for block in blocks]
        axes.plot(blocks, slope, color="#555555", linestyle=":", label="1 / sqrt(block), from the first block")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([2**i for i in range(6)], [str(2**i) for i in range(6)])
    seen = [size for norm in NORMS for size in sizes[norm] if size > 0] or [1.0]
    ticks = [digit * 10.0**power for power in range(-9, 9) for digit in (1, 2, 5)]
    axes.set_yticks([tick for tick in ticks if min(seen) / 2 <= tick <= max(seen) * 2])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    ratio = sizes["post"][-1] / sizes["pre"][-1] if sizes["pre"][-1] else math.nan
    axes.set_title(f"Before training: at the last block post-norm's is {ratio:.1f} times as large")
    axes.set(xlabel="block (1 is next to the input)", ylabel="size of the gradient")
    axes.grid(alpha=0.3)
    axes.legend()


def draw_losses(axes: Any, result: Result) -> None:
    """One curve a norm, and where guessing is."""
    for norm in NORMS:
        losses = result.losses[norm]
        axes.plot(range(1, len(losses) + 1), losses, color=COLOURS[norm], label=f"{norm}-norm")
        axes.plot(len(losses), losses[-1], color=COLOURS[norm], marker=MARKERS[norm], clip_on=False)
    axes.axhline(GUESSING, color="#555555", linestyle=":", label=f"guessing: ln {LETTERS} = {GUESSING:.2f}")
    verdicts = [f"{norm}-norm {'learns' if result.learnt(norm) else 'does not learn'}" for norm in NORMS]
    axes.set(xlabel="step", ylabel="loss", title="Training: " + ", ".join(verdicts), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
