"""The payoff of module 6: a model that continues text learns to answer, on two tasks at once, and forgets little.

`run` works with any module that has the tasks of the finetuning module. GPT, tokenizer and training are your own where
they lie beside it and work, and the given ones if not. A base model learns from Python's own documentation; then
LoRA layers learn from questions and summaries about these handouts (see records.py), once with some of the old text
mixed in and once without. The table says what that did to both tasks and to the old text; the texts of the tests are
about tasks that training told of (`known`) and about tasks that it did not (`new`).
"""

import copy
import importlib
import importlib.util
import math
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HANDOUTS = Path(__file__).resolve().parents[1]
END = "<|endoftext|>"
SPECIALS = ("<|system|>", "<|user|>", "<|assistant|>", END)
LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "up_proj", "down_proj")
KINDS = ("known", "new")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The sizes of a run."""

    old_characters: int = 400_000
    vocab_size: int = 768
    tokenizer_characters: int = 60_000
    context_length: int = 192
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    base_steps: int = 400
    batch: int = 16
    window: int = 128  # tokens of an example of old text
    base_lr: float = 2e-3
    rank: int = 16
    alpha: float = 32.0
    tune_steps: int = 400
    tune_lr: float = 1.5e-3
    questions_share: float = 0.6  # of the examples; an answer has two targets where a summary has twenty
    summaries_share: float = 0.15
    replay: float = 0.25  # old text
    replay_window: int = 24  # tokens of an example of old text, which are all targets
    questions: int = 24  # of each kind that are asked
    summaries: int = 10
    threads: int = 2
    device: str = "cpu"  # on cuda in bfloat16


@dataclass(frozen=True)
class World:
    """What every part of the run needs: the modules, the tokenizer and the texts."""

    impl: types.ModuleType
    gpt: types.ModuleType
    training: types.ModuleType
    tokenizer: Any
    old: np.ndarray
    old_held_out: np.ndarray
    chats: dict[str, list[tuple[list[int], list[bool]]]]  # questions and summaries, to be learnt from
    tests: dict[str, list[dict[str, Any]]]  # "questions known" … → examples with messages and answers
    plan: Plan

    @property
    def end_id(self) -> int:
        return int(self.tokenizer.encode(END)[0])


def run(impl: types.ModuleType, folder: Path, say: Say, plan: Plan | None = None, device: str = "cpu") -> list[Path]:
    """Train a base model, tune it twice, and compare the three through `say` and in a picture.

    Args:
        impl: a module with the tasks of the finetuning module.
        folder: where the records and the picture go; made if it does not exist.
        say: takes one line of text.
        plan: other sizes, to try things out.
        device: where to train, cpu or cuda.
    Returns:
        The picture: forgetting.png.
    """
    plan, start = replace(plan or Plan(), device=device), time.perf_counter()
    with untouched_state(plan.threads):
        rehearse(impl)
        world = prepare(impl, folder, plan, say)
        base = make_base(world, say)
        say(f"The base model is ready ({time.perf_counter() - start:.0f} s). Tuning on both tasks, twice:")
        tuned, alone = (tune(world, base, replay, say) for replay in (plan.replay, 0.0))
        models = {"before": base, "after": tuned, "without replay": alone}
        table = {name: scores(world, model) for name, model in models.items()}
        tell(table, world, say)
        side_by_side(world, base, tuned, say)
        say(f"{time.perf_counter() - start:.0f} s in all.")
    return [draw(table, folder)]


@contextmanager
def untouched_state(threads: int) -> Iterator[None]:
    """Whatever the run does with torch's own generator and its threads, the caller finds them as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def rehearse(impl: types.ModuleType) -> None:
    """Call what comes late once, so that a task that is not done yet shows at once and not after minutes."""
    layer = impl.LoRALinear(nn.Linear(3, 2), 1, 1.0)
    layer(torch.zeros(1, 3))
    layer.merge()
    impl.apply_lora(nn.Sequential(nn.Linear(3, 2)), ["0"], 1, 1.0)
    impl.collate([([1, 2], [False, True])], 0, 4)
    next(impl.mix_datasets([[1]], [1.0], torch.Generator()))
    for metric in (impl.exact_match, impl.token_f1):
        metric("a", ["a"])
    impl.rouge_l("a", "a")
    impl.bleu(["a"], [["a"]])


# ---- the texts and the base model ----


def prepare(impl: types.ModuleType, folder: Path, plan: Plan, say: Say) -> World:
    """The tokenizer, the old text as ids, and the records as chats."""
    earlier = load_file(Path(__file__).with_name("parts.py")).earlier
    gpt, bpe, training = (earlier(impl, name, say) for name in ("gpt", "tokenizer", "training"))
    records = load_file(Path(__file__).with_name("records.py"))
    paths = records.write(folder / "records", HANDOUTS)
    made = {name: examples_of(impl, name, path) for name, path in paths.items()}
    learnt = {what: made[f"{what}-train"] for what in ("questions", "summaries")}
    tests = {name.replace("-", " "): found for name, found in made.items() if not name.endswith("train")}
    old = old_text()[: plan.old_characters]
    contents = [message["content"] for found in learnt.values() for example in found for message in example["messages"]]
    spoken = " ".join(contents)
    text = old[: plan.tokenizer_characters] + spoken[: plan.tokenizer_characters]
    tokenizer = bpe.Tokenizer(*bpe.train_bpe(text, plan.vocab_size, SPECIALS), SPECIALS)
    ids = np.array(tokenizer.encode(old), dtype=np.uint16)
    chats = {what: [impl.format_chat(e["messages"], tokenizer) for e in found] for what, found in learnt.items()}
    numbers = f"{len(chats['questions'])} questions and {len(chats['summaries'])} summaries"
    say(f"Old text: {len(ids):,} tokens of Python's documentation. New: {numbers}.")
    cut = len(ids) * 19 // 20
    return World(impl, gpt, training, tokenizer, ids[:cut], ids[cut:], chats, tests, plan)


def examples_of(impl: types.ModuleType, name: str, path: Path) -> list[dict[str, Any]]:
    """The records of a file as chats with the answers that count."""
    records = impl.read_records(path)
    if name.startswith("questions"):
        return [impl.squad_example(record) for record in records]
    return [impl.summary_example(record, max_words=80) for record in records]


def old_text() -> str:
    """English that every Python brings along."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def load_file(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"demo_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_base(world: World, say: Say) -> nn.Module:
    """A GPT that has learnt to continue the old text."""
    plan = world.plan
    model = world.gpt.GPT(len(world.tokenizer.vocab), plan.context_length, plan.d_model, plan.n_heads, plan.n_layers)
    world.gpt.init_weights(model, torch.Generator().manual_seed(1))
    model = model.to(plan.device)
    sizes = (plan.base_steps, plan.batch, plan.window, plan.base_lr, plan.base_lr / 10, plan.base_steps // 20)
    config = world.training.TrainConfig(*sizes, eval_every=plan.base_steps, autocast=plan.device == "cuda")
    size = sum(parameter.numel() for parameter in model.parameters())
    say(f"A GPT of {size:,} parameters learns the old text: {plan.base_steps} steps.")

    def report(record: dict[str, float]) -> None:
        if record["step"] % max(1, plan.base_steps // 4) == 0:
            say(f"  step {record['step']:>4.0f}  loss {record['loss']:.2f}")

    world.training.train(model, world.old, world.old_held_out, config, on_step=report)
    return model


# ---- finetuning ----


def tune(world: World, base: nn.Module, replay: float, say: Say) -> nn.Module:
    """A copy of the base that has learnt both tasks by LoRA layers and token vectors, with a share of old text."""
    plan, impl, generator = world.plan, world.impl, torch.Generator().manual_seed(2)
    model = copy.deepcopy(base).cpu()
    impl.apply_lora(model, LAYERS, plan.rank, plan.alpha, generator=generator)
    model = model.to(plan.device)
    model.token_embedding.weight.requires_grad_(True)  # the old text has no <|user|>: its vector is untrained
    groups = world.training.parameter_groups(model, 0.0)
    optimizer = world.training.AdamW(groups, lr=plan.tune_lr, betas=(0.9, 0.95))
    size = plan.replay_window
    starts = range(0, len(world.old) - size, size)
    windows = [(world.old[start : start + size].tolist(), [True] * size) for start in starts]
    shares = [plan.questions_share, plan.summaries_share, replay]
    mixed = impl.mix_datasets([world.chats["questions"], world.chats["summaries"], windows], shares, generator)
    started, losses = time.perf_counter(), [0.0]
    for step in range(plan.tune_steps):
        rows = impl.collate(list(islice(mixed, plan.batch)), world.end_id, plan.context_length)
        batch = tuple(tensor.to(plan.device) for tensor in rows)
        lr = world.training.lr_at(step, plan.tune_lr, plan.tune_lr / 20, plan.tune_steps // 20, plan.tune_steps)
        losses.append(world.training.train_step(model, optimizer, [batch], lr, autocast=plan.device == "cuda")[0])
    seconds, trained = time.perf_counter() - started, sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"  replay {replay:.0%}: {trained:,} parameters, loss {np.mean(losses[-20:]):.2f} at the end, {seconds:.0f} s")
    return model


def reply(world: World, model: nn.Module, messages: Sequence[dict[str, str]], most: int = 40) -> str:
    """What the model writes behind the question, at temperature 0, until it ends its turn."""
    token_ids, _ = world.impl.format_chat(messages, world.tokenizer, ask=True)
    asked = torch.tensor([token_ids[-world.plan.context_length + 8 :]], device=world.plan.device)
    written = world.gpt.generate(model, asked, most, temperature=0.0, stop=world.end_id)[0, asked.shape[1] :].tolist()
    kept = written[: written.index(world.end_id)] if world.end_id in written else written
    return str(world.tokenizer.decode(kept)).strip()


def scores(world: World, model: nn.Module) -> dict[str, float]:
    """Row of the table → number, for one model."""
    impl, plan, found = world.impl, world.plan, {}
    for kind in KINDS:
        asked = world.tests[f"questions {kind}"][: plan.questions]
        said = [reply(world, model, example["messages"][:1], 12) for example in asked]
        pairs = [(text, example["answers"]) for text, example in zip(said, asked, strict=True)]
        found[f"questions, {kind}: exact match"] = 100 * mean([impl.exact_match(*pair) for pair in pairs])
        found[f"questions, {kind}: token F1"] = 100 * mean([impl.token_f1(*pair) for pair in pairs])
        asked = world.tests[f"summaries {kind}"][: plan.summaries]
        said = [reply(world, model, example["messages"][:1]) for example in asked]
        wanted = [example["answers"] for example in asked]
        rouge = [impl.rouge_l(text, answers[0])[2] for text, answers in zip(said, wanted, strict=True)]
        found[f"summaries, {kind}: ROUGE-L"] = 100 * mean(rouge)
        found[f"summaries, {kind}: BLEU"] = impl.bleu(said, wanted)
    windows = torch.from_numpy(world.old_held_out.astype(np.int64)).unfold(0, plan.window + 1, plan.window)[:24]
    windows = windows.to(plan.device)
    loss = world.training.evaluate(model, [(windows[:, :-1], windows[:, 1:])])
    return found | {"old text: perplexity": math.exp(loss)}


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def tell(table: dict[str, dict[str, float]], world: World, say: Say) -> None:
    """The table, and what its rows are."""
    names = list(table)
    say("")
    say(f"{'':32}" + "".join(f"{name:>15}" for name in names))
    for row in table["before"]:
        say(f"{row:32}" + "".join(f"{table[name][row]:>15.1f}" for name in names))
    say(
        "Scores are from 0 to 100. known: texts about tasks that training told of. new: about tasks that it did not, "
        "so that the answer can only come from the text: a low number there means facts were learnt, and not reading."
    )


def side_by_side(world: World, base: nn.Module, tuned: nn.Module, say: Say) -> None:
    """One question of each task, answered by the base, the tuned and the merged model."""
    merged = copy.deepcopy(tuned)
    layers = [module for module in merged.modules() if isinstance(module, world.impl.LoRALinear)]
    for layer in layers:
        layer.merge()
    with torch.no_grad():
        ids = world.old_held_out[: world.plan.window].astype(np.int64)
        probe = torch.from_numpy(ids).to(world.plan.device)[None]
        apart = (tuned.eval()(probe) - merged.eval()(probe)).abs().max().item()
    for kind in ("questions known", "questions new", "summaries known"):
        example = world.tests[kind][0]
        say("")
        for line in example["messages"][0]["content"].split("\n"):
            say(f"  {line}")
        for name, model in (("base", base), ("tuned", tuned), ("merged", merged)):
            say(f"    {name:>7}: {one_line(reply(world, model, example['messages'][:1]))}")
        say(f"    {'right':>7}: {example['answers'][0]}")
    say("")
    say(f"Merged and tuned logits differ by at most {apart:.1e}; {len(layers)} layers merged.")


def one_line(text: str) -> str:
    return " ".join(text.split())[:100]


# ---- the picture ----


def draw(table: dict[str, dict[str, float]], folder: Path) -> Path:
    """Forgetting: what the old text costs, beside what was learnt."""
    from matplotlib.figure import Figure  # only the picture needs it

    names = list(table)
    figure = Figure(figsize=(10.5, 4.6), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = ("#999999", "#2a78b0", "#d98a1f")
    perplexities = [table[name]["old text: perplexity"] for name in names]
    bars = left.bar(names, perplexities, color=colours)
    left.bar_label(bars, fmt="%.1f", padding=2)
    left.set(title="What was forgotten: perplexity of the old text", ylabel="perplexity (lower is better)")
    left.margins(y=0.12)
    rows = [row for row in table["before"] if "exact match" in row or "ROUGE" in row]
    for i, name in enumerate(names):
        at = np.arange(len(rows)) + (i - 1) * 0.27
        right.bar(at, [table[name][row] for row in rows], 0.25, color=colours[i], label=name)
    right.set_xticks(range(len(rows)), [row.replace(": ", "\n").replace(", ", "\n") for row in rows], fontsize=9)
    right.set(title="What was learnt", ylim=(0, 105), ylabel="score")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path = folder / "forgetting.png"
    figure.savefig(path, dpi=130)
    return path
