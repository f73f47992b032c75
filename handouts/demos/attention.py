"""The payoff of module 1: an attention of your own reads a sentence and learns to write a sequence backwards.

`run` works with any module that has the eight tasks: the reference, given, or a student's file. It draws who attends
to whom in a sentence (vectors made by hand), then trains one attention layer to reverse random letters and draws
what the layer has learnt to look at. The model has no residual connection, so the answer can only come through
attention: each slot of the answer must find one letter, another one each time, at the mirrored place.
"""

import math
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SEED = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz"
BLANK = len(LETTERS)  # the token id of an answer slot: the model reads 12 letters, then sees 12 blanks
LENGTH = 12
D_MODEL, N_HEADS = 64, 2
STEPS, BATCH, LR = 600, 64, 1e-3
REPORT_EVERY = 50
LEARNT = 0.99  # share of the letters of fresh sequences that must be right

# What each word offers as a key and asks for as a query, in four features that we chose by hand.
FEATURES = ("thing", "action", "quality", "other")
SENTENCE = (
    ("The", "other", "thing"),
    ("small", "quality", "thing"),
    ("cat", "thing", "quality"),
    ("slept", "action", "thing"),
    ("because", "other", "action"),
    ("it", "other", "thing"),
    ("was", "other", "quality"),
    ("tired", "quality", "thing"),
)
ASKING = 7.0  # length of a query: the longer, the sharper the weights

Say = Callable[[str], None]


def run(impl: types.ModuleType, folder: Path, say: Say, steps: int | None = None) -> list[Path]:
    """Draw the two attention maps into `folder` and tell the progress of the training through `say`.

    Args:
        impl: a module with the eight tasks of the attention module.
        folder: where the pictures go; made if it does not exist.
        say: takes one line of text.
        steps: training steps; fewer than the default are for trying things out.
    Returns:
        The pictures: sentence.png and reversal.png. The second is named reversal-not-learnt.png if the model got
        less than 99 % of the letters of fresh sequences right.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        sentence = draw_sentence(impl, folder)
        say(f"Who attends to whom in a sentence: {sentence}")
        result = learn_reversal(impl, say, STEPS if steps is None else steps)
        return [sentence, draw_reversal(impl, result, folder)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors this small are no faster on two threads, and much slower when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Reverser(nn.Module):
    """Token and position vectors, one attention, one linear layer. Nothing leads past the attention."""

    def __init__(self, impl: types.ModuleType) -> None:
        super().__init__()
        self.token = nn.Embedding(len(LETTERS) + 1, D_MODEL)
        self.position = nn.Embedding(2 * LENGTH, D_MODEL)
        self.attention = impl.MultiHeadAttention(D_MODEL, N_HEADS)
        self.output = impl.Linear(D_MODEL, len(LETTERS))

    def embed(self, letters: Tensor) -> Tensor:
        """The letters, then as many blanks: (batch, LENGTH) -> (batch, 2 LENGTH, d_model)."""
        token_ids = torch.cat([letters, torch.full_like(letters, BLANK)], dim=1)
        return self.token(token_ids) + self.position.weight

    def forward(self, letters: Tensor) -> Tensor:
        """(batch, LENGTH) -> logits (batch, LENGTH, 26), read at the blanks."""
        return self.output(self.attention(self.embed(letters))[:, LENGTH:])


@dataclass(frozen=True)
class Result:
    """A model after training, with two fresh sequences and the share of letters right on many more."""

    model: Reverser
    accuracy: float
    letters: Tensor
    answers: Tensor

    @property
    def learnt(self) -> bool:
        return self.accuracy >= LEARNT


def learn_reversal(impl: types.ModuleType, say: Say, steps: int) -> Result:
    """Train on random letters, then test on fresh ones and say honestly what came out."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]):  # the initial values that impl draws are replaced below
        model = Reverser(impl)
    fill(model, generator)
    n_parameters = sum(p.numel() for p in model.parameters())
    say(f"Now one attention layer ({n_parameters:,} parameters) learns to write {LENGTH} random letters backwards.")
    start = time.perf_counter()
    train(model, generator, say, steps)
    accuracy = share_right(model, random_letters(512, generator))
    letters = random_letters(2, generator)
    with torch.no_grad():
        result = Result(model, accuracy, letters, model(letters).argmax(dim=-1))
    report(result, say, time.perf_counter() - start)
    return result


def fill(model: nn.Module, generator: torch.Generator) -> None:
    """Initial values by parameter name, so that no order of registration and no global state plays a part."""
    for name, parameter in sorted(model.named_parameters()):
        with torch.no_grad():
            if name in ("token.weight", "position.weight"):
                parameter.normal_(0, 0.02, generator=generator)
            elif parameter.dim() > 1:
                bound = 1 / math.sqrt(parameter.shape[-1])
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                parameter.zero_()


def train(model: Reverser, generator: torch.Generator, say: Say, steps: int) -> None:
    """Adam on fresh random letters at every step; stops early only when the loss is no number any more."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    say(f"    step    loss   letters right   (guessing: {1 / len(LETTERS):.1%})")
    for step in range(1, steps + 1):
        letters = random_letters(BATCH, generator)
        logits = model(letters)
        loss = cross_entropy(logits.flatten(0, 1), letters.flip(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finite = math.isfinite(loss.item())
        if step in (1, steps) or step % REPORT_EVERY == 0 or not finite:
            say(f"  {step:>6}  {loss.item():>6.3f}   {share_right(model, random_letters(256, generator)):>13.1%}")
        if not finite:
            return


def random_letters(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(len(LETTERS), (batch, LENGTH), generator=generator)


def share_right(model: Reverser, letters: Tensor) -> float:
    with torch.no_grad():
        return (model(letters).argmax(dim=-1) == letters.flip(1)).double().mean().item()


def report(result: Result, say: Say, seconds: float) -> None:
    """Two fresh sequences with the answers, then the verdict."""
    for letters, answer in zip(result.letters, result.answers, strict=True):
        say(f"  letters  {spell(letters)}")
        say(f"  answer   {spell(answer)}")
        if not torch.equal(answer, letters.flip(0)):
            say(f"  wanted   {spell(letters.flip(0))}")
    says = "Learnt" if result.learnt else "NOT learnt"
    say(f"{says}: {result.accuracy:.1%} of the letters of 512 fresh sequences are right ({seconds:.1f} s).")
    if not result.learnt:
        say(f"  {suspicion(result.model)}")


def spell(letters: Tensor) -> str:
    return " ".join(LETTERS[i] for i in letters.tolist())


def suspicion(model: nn.Module) -> str:
    """The likeliest reason that can be seen in the parameters."""
    parameters = dict(model.named_parameters())
    wanted = [f"attention.{name}_proj.weight" for name in ("q", "k", "v", "out")]
    missing = [name for name in wanted if name not in parameters]
    if missing:
        return f"The model has no parameter {', '.join(missing)}: is each projection an attribute of its own?"
    if not all(p.isfinite().all() for p in parameters.values()):
        return "The weights became nan: is there a row of scores without a finite entry?"
    idle = [name for name, p in sorted(parameters.items()) if p.grad is None or not p.grad.any()]
    if idle:
        return f"No gradient reaches {', '.join(idle)}: the answer does not depend on them."
    return (
        "Every parameter gets a gradient: the training was too short, or the layer mixes up positions or heads. "
        "`grader check attention` says where."
    )


def draw_reversal(impl: types.ModuleType, result: Result, folder: Path) -> Path:
    """Where each slot of the answer looks among the letters, averaged over the heads."""
    weights = slots_to_letters(impl, result)
    letters = spell(result.letters[0]).split()
    answer = spell(result.answers[0]).split()
    figure = blank_figure(8.4, 8.6)
    axes = figure.add_subplot()
    rows = [f"slot {i + 1}: {letter}" for i, letter in enumerate(answer)]
    draw_map(axes, weights, rows, letters)
    axes.set_ylabel("query: a slot of the answer, and the letter written there")
    axes.set_xlabel("key: a letter that was read")
    learnt = "Learnt: each slot looks at the mirrored letter"
    axes.set_title(learnt if result.learnt else "Not learnt: there is no anti-diagonal of bright cells", pad=12)
    caption = (
        f"Attention weights of the trained layer, mean of {N_HEADS} heads; {result.accuracy:.1%} of the letters of\n"
        "512 fresh sequences are right. A cell without a number is below 0.005; what a row lacks to 1\n"
        "is in these cells and in the blank slots, which are not shown."
    )
    figure.supxlabel(caption, fontsize=9, x=0.02, ha="left")
    names = ("reversal.png", "reversal-not-learnt.png")
    (folder / names[result.learnt]).unlink(missing_ok=True)  # what an earlier run left would tell a lie
    return save(figure, folder / names[not result.learnt])


def slots_to_letters(impl: types.ModuleType, result: Result) -> Tensor:
    """The attention weights of the first sequence: the rows of the slots, the columns of the letters."""
    attention = result.model.attention
    with torch.no_grad():
        x = result.model.embed(result.letters[:1])
        q = impl.split_heads(attention.q_proj(x), N_HEADS)
        k = impl.split_heads(attention.k_proj(x), N_HEADS)
        weights = impl.attention_weights(q, k, impl.causal_mask(2 * LENGTH))  # (1, n_heads, 2 LENGTH, 2 LENGTH)
    return weights[0].mean(dim=0)[LENGTH:, :LENGTH]


def draw_sentence(impl: types.ModuleType, folder: Path) -> Path:
    """The same sentence twice: every word sees all others, and every word sees only what came before."""
    words = [word for word, _, _ in SENTENCE]
    q, k = sentence_vectors()
    figure = blank_figure(13.6, 7.5)
    left, right = figure.subplots(1, 2)
    draw_map(left, impl.attention_weights(q, k), words, words)
    draw_map(right, impl.attention_weights(q, k, impl.causal_mask(len(words))), words, words)
    left.set_title("not causal: every word sees the whole sentence", pad=12)
    right.set_title("causal: a word sees itself and the words before it", pad=12)
    for axes in (left, right):
        axes.set_ylabel("query: the word that looks")
        axes.set_xlabel("key: the word that is looked at")
    caption = (
        "Each row sums to 1. Hatched: exactly 0, excluded by the mask. The vectors are made by hand, not learnt:\n"
        "each word offers one of four features as its key (cat a thing, slept an action, small and tired a quality)\n"
        "and asks for one with its query (small, it and tired ask for a thing). A trained model finds its own vectors."
    )
    figure.supxlabel(caption, fontsize=10, x=0.02, ha="left")
    return save(figure, folder / "sentence.png")


def sentence_vectors() -> tuple[Tensor, Tensor]:
    """q and k of the sentence, (8 words, 4 features): one-hot vectors, the queries ASKING times as long."""
    one_hot = torch.eye(len(FEATURES))
    asks = torch.stack([one_hot[FEATURES.index(asked)] for _, _, asked in SENTENCE])
    offers = torch.stack([one_hot[FEATURES.index(offered)] for _, offered, _ in SENTENCE])
    return ASKING * asks, offers


def blank_figure(width: float, height: float) -> Any:
    """A matplotlib figure that needs no window."""
    from matplotlib.figure import Figure  # only the pictures need it

    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    return figure


def draw_map(axes: Any, weights: Tensor, rows: list[str], columns: list[str]) -> None:
    """Attention weights as coloured cells with their numbers; a cell whose weight is exactly zero is hatched."""
    shown = weights.detach().double()
    shown = shown.masked_fill(shown == 0, math.nan)
    axes.patch.set(facecolor="white", hatch="//", edgecolor="silver")  # seen through the cells that are nan
    axes.imshow(shown.numpy(), cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labeltop=True, labelbottom=False, length=0)
    axes.hlines([i + 0.5 for i in range(len(rows) - 1)], -0.5, len(columns) - 0.5, color="white", linewidth=0.5)
    axes.vlines([i + 0.5 for i in range(len(columns) - 1)], -0.5, len(rows) - 0.5, color="white", linewidth=0.5)
    for row, values in enumerate(shown.tolist()):
        for column, value in enumerate(values):
            if value >= 0.005:
                colour = "black" if value >= 0.5 else "white"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)


def save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=150)
    return path
