"""The payoff of module 3: your GPT with weights that somebody trained writes text.

`run` works with any module that has the tasks of the gpt module. It loads a checkpoint in the layout of the published
GPT-2 with load_gpt2_weights, compares the logits with those of the given model, writes text with several settings of
generate and draws what temperature, top_k and top_p make of one distribution. gpt_weights.py, beside this file, says
where the weights come from.
"""

import importlib.util
import sys
import textwrap
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 1
# name, and what is passed to generate and to next_token_distribution
SETTINGS: dict[str, dict[str, Any]] = {
    "temperature 0": {"temperature": 0},
    "temperature 1": {},
    "temperature 0.6": {"temperature": 0.6},
    "top_k 5": {"top_k": 5},
    "top_p 0.8": {"top_p": 0.8},
}
PROMPTS = {True: "The value of the e", False: "The best way to understand a language model is to"}  # of bytes or not
NEW_TOKENS = {True: 240, False: 50}
HEAD_DIM = 64
SHOWN = 12  # bars in a panel of the picture
AGREES = 1e-3  # times the largest logit

Say = Callable[[str], None]


def run(impl: types.ModuleType, folder: Path, say: Say, new_tokens: int | None = None, **options: Any) -> list[Path]:
    """Load, compare, write and draw; what is written also goes into a file.

    Args:
        impl: a module with the tasks of the gpt module.
        folder: where the picture and the text go; made if it does not exist.
        say: takes one line of text.
        new_tokens: tokens a sample; fewer than the default are for trying things out.
        options: plan, cache and wish of gpt_weights.find, for trying things out too.
    Returns:
        gpt-distribution.png and gpt-samples.txt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, threads = beside("gpt_weights"), torch.get_num_threads()
    with untouched_state():
        rehearse(impl, source)
        try:
            weights = source.find(say, options.pop("plan", source.Plan()), own=impl, **options)
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from None
        sizes = weights.sizes()
        of_bytes = sizes["vocab_size"] == 256
        torch.set_num_threads(1 if of_bytes else threads)  # a small model is no faster on two
        model = load(impl, weights, say)
        prompt = PROMPTS[of_bytes]
        token_ids = torch.tensor([weights.encode(prompt)[-sizes["context_length"] :]])
        if (given := source.given_gpt()) is not None:
            compare(model, load(given, weights), token_ids, say)
        else:
            say("  whether its logits are right says `grader check gpt`: this kit has no given GPT to compare with")
        picture = draw(impl, model, token_ids, weights, folder / "gpt-distribution.png")
        written = write(impl, model, prompt, weights, new_tokens or NEW_TOKENS[of_bytes], say)
    if of_bytes:
        say("It has read half a megabyte, letter by letter. For GPT-2 itself (548 MB) set GPT2=download.")
    texts = folder / "gpt-samples.txt"
    texts.write_text(written, encoding="utf-8")
    return [picture, texts]


def beside(name: str) -> types.ModuleType:
    """A file of this folder as a module."""
    spec = importlib.util.spec_from_file_location(f"demo_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # a dataclass looks for its module there
    spec.loader.exec_module(module)
    return module


@contextmanager
def untouched_state() -> Iterator[None]:
    """torch's generator and its threads are as they were afterwards; inside there is one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)


def rehearse(impl: types.ModuleType, source: types.ModuleType) -> None:
    """Everything once on a tiny model: what is not written yet shows before anything is fetched or trained."""
    state = source.published((source.given_gpt() or impl).GPT(256, 4, HEAD_DIM, 1, 1))
    model = load(impl, source.Weights("", state, list, str))
    impl.count_parameters(model)
    impl.generate(model, torch.zeros(1, 2, dtype=torch.int64), 1, top_k=3, top_p=0.5)


def load(impl: types.ModuleType, weights: Any, say: Say | None = None) -> nn.Module:
    """A model of the checkpoint's sizes with its weights."""
    model: nn.Module = impl.GPT(**weights.sizes())
    impl.load_gpt2_weights(model, weights.state)
    if say is not None:
        sizes = ", ".join(f"{name} {size:,}" for name, size in weights.sizes().items())
        without = impl.count_parameters(model, non_embedding=True)
        say(f"Loaded {weights.name}: {sizes}")
        say(f"  {impl.count_parameters(model):,} parameters, {without:,} without the tables")
    return model.eval()


def compare(model: nn.Module, given: nn.Module, token_ids: Tensor, say: Say) -> bool:
    """Say whether the logits of both models are the same but for rounding."""
    with torch.no_grad():
        ours, theirs = model(token_ids), given(token_ids)
    off, scale = (float((ours - theirs).abs().max()), float(theirs.abs().max()))
    agrees = off <= AGREES * scale
    verdict = "the same model" if agrees else "NOT the same model: `grader check gpt` says where to look"
    say(f"  the logits differ from the given model's by at most {off:.1e}, of up to {scale:.1f}: {verdict}")
    return agrees


def write(impl: types.ModuleType, model: nn.Module, prompt: str, weights: Any, new_tokens: int, say: Say) -> str:
    """One text a setting, told as it is written; all of them as one string."""
    written = []
    for name, options in SETTINGS.items():
        generator, start = torch.Generator().manual_seed(SEED), time.perf_counter()
        token_ids = torch.tensor([weights.encode(prompt)])
        longer = impl.generate(model, token_ids, new_tokens, **options, generator=generator)
        speed = new_tokens / (time.perf_counter() - start)
        text = weights.decode(longer[0].tolist())
        say(f"\n{name} ({speed:.0f} tokens a second)")
        for line in folded(text):
            say(f"    {line}")
        written.append(f"--- {name}\n{text}\n")
    say("")
    return "\n".join(written)


def folded(text: str) -> list[str]:
    """The lines of a text, none of them long; what a terminal would obey is replaced."""
    clean = "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)
    return [part for line in clean.splitlines() for part in textwrap.wrap(line, 96) or [""]]


def draw(impl: types.ModuleType, model: nn.Module, token_ids: Tensor, weights: Any, path: Path) -> Path:
    """The most probable next tokens after the prompt, and what each setting leaves of them."""
    from matplotlib.figure import Figure  # only the picture needs it

    with torch.no_grad():
        logits = model(token_ids)[0, -1]
    plain = impl.next_token_distribution(logits)
    order = plain.argsort(descending=True)[:SHOWN]
    labels = [repr(weights.decode([token_id])) for token_id in order.tolist()]
    panels = {name: options for name, options in SETTINGS.items() if options.get("temperature") != 0}
    figure = Figure(figsize=(4 * len(panels), 5.4), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    for axes, (name, options) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        probabilities = impl.next_token_distribution(logits, **options)[order].tolist()
        axes.barh(range(len(order)), plain[order].tolist(), color="#e3e3e3")
        bars = axes.barh(range(len(order)), probabilities, height=0.55, color="#3b7fb5")
        axes.bar_label(bars, ["0" if p == 0 else f"{p:.2f}" for p in probabilities], padding=3, fontsize=9)
        axes.set_yticks(range(len(order)), labels, family="monospace")
        axes.set(title=name, xlabel="probability", xlim=(0, 1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.axes[0].invert_yaxis()
    caption = (
        f"The {len(order)} likeliest next tokens after {weights.decode(token_ids[0].tolist())!r}, by {weights.name}.\n"
        "Grey: as the model gives them, temperature 1. Blue: what is drawn from; 0 is excluded for good."
    )
    figure.supxlabel(caption, fontsize=10, x=0.01, ha="left")
    figure.savefig(path, dpi=130)
    return path
