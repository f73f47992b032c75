"""The payoff of module 5: a loop of your own trains a tokenizer and a GPT on English, in at most five minutes.

`run` works with any module that has the tasks of the training module. The GPT and the tokenizer are the ones
beside it, if they are done, and given ones if not. The text is what every Python brings
along. A twentieth of it is kept apart, in blocks of neighbours, since docstrings of one file resemble each other; on
that the model is compared with single tokens, 5-grams and gzip, in bits a byte.

Everything is kept below `folder`/training, so that a run stopped with Ctrl-C goes on from there.
"""

import dataclasses
import hashlib
import importlib.util
import json
import math
import shutil
import signal
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
END_OF_TEXT = "<|endoftext|>"
BEGINNINGS = ("Return the number of", "If the file is")

Say = Callable[[str], None]
Record = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """The sizes of a run. The number of steps is what fits into `seconds` on this machine, unless it is given."""

    vocab_size: int = 1024
    context_length: int = 128
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 4
    batch: int = 16
    max_lr: float = 1.5e-3
    warmup_share: float = 0.1
    seconds: float = 200.0
    total_steps: int | None = None
    tokenizer_text: int = 200_000  # characters that merges are learnt from
    block: int = 50  # documents in a row that are learnt from or held out together
    held_out: int = 20  # one block in so many is held out
    evaluations: int = 10
    samples: int = 5
    sample_tokens: int = 60
    device: str = "cpu"  # on cuda in bfloat16, compiled where that works


@dataclass(frozen=True)
class Data:
    """Token ids from the disk, and what is needed to turn them into text again."""

    tokenizer: Any
    separator_id: int
    train: Any
    val: Any
    val_bytes: int
    val_text: bytes  # a NUL behind each document, as the separator stands behind it in the ids

    @property
    def bits_a_token(self) -> float:
        """Bits a byte for each nat a token of the validation text."""
        return len(self.val) / (self.val_bytes * math.log(2))


def run(impl: types.ModuleType, folder: Path, say: Say, plan: Plan | None = None, device: str = "cpu") -> list[Path]:
    """Train, or go on training, and tell how it goes.

    Args:
        impl: a module with the tasks of the training module.
        folder: where the pictures go; the run itself is kept in the folder training below it.
        say: takes one line of text.
        plan: other sizes, to try things out.
        device: where to train, cpu or cuda.
    Returns:
        The picture: training.png, or training-so-far.png of a run that was stopped.
    """
    try_one_step(impl)
    plan, kept = dataclasses.replace(plan or Plan(), device=device), folder / "training"
    kept.mkdir(parents=True, exist_ok=True)
    if (kept / "done").exists():  # the run before is finished: this is a new one
        shutil.rmtree(kept)
        kept.mkdir()
    with untouched_state():
        gpt, bpe = (beside("parts").earlier(impl, name, say) for name in ("gpt", "tokenizer"))
        data = prepare_data(bpe, kept, plan, say)
        model = make_model(gpt, plan, say)
        config = configure(impl, model, data, kept, plan, say)
        size = gpt.count_parameters(model)
        say(f"A GPT of {size:,} parameters, {config.total_steps:,} steps. Ctrl-C stops and saves.")
        records = train(impl, gpt, model, data, config, kept, plan, say)
        finished = len(records) == config.total_steps
        if finished:
            finish(impl, gpt, model, data, plan, say)
            (kept / "done").touch()
        else:
            say(f"Stopped after {len(records):,} of {config.total_steps:,} steps; the same command goes on from there.")
    return [draw_curves(records, data, folder, finished)]


def try_one_step(impl: Any) -> None:
    """Raise what an unfinished task raises before minutes are spent on it; a table of logits is model enough."""
    tokens = np.arange(5)
    config = impl.TrainConfig(total_steps=1, batch=1, seq_len=2, max_lr=1e-3, min_lr=0.0, warmup_steps=0)
    with untouched_state(), tempfile.TemporaryDirectory() as folder:
        for _ in range(2):  # the second time, from the checkpoint
            impl.train(nn.Embedding(5, 5), tokens, tokens, config, Path(folder) / "run.pt")


@contextmanager
def untouched_state() -> Iterator[None]:
    """Whatever the run does with torch's generator and its threads, the caller finds them as they were."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def beside(name: str) -> types.ModuleType:
    """A file or package of this folder, which is no package itself."""
    file = HERE / name / "__init__.py" if (HERE / name).is_dir() else HERE / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"demo_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare_data(bpe: types.ModuleType, kept: Path, plan: Plan, say: Say) -> Data:
    """Tokenizer and token files; what an earlier run has made of them is used again."""
    corpus, token_files = beside("corpus"), beside("data")
    documents = [text.replace("\0", "") for text in corpus.documents()]
    held_out = [i // plan.block % plan.held_out == plan.held_out // 2 for i in range(len(documents))]
    val_documents, train_documents = (
        [text for text, held in zip(documents, held_out, strict=True) if held == wanted] for wanted in (True, False)
    )
    file = kept / "tokenizer.json"
    if not file.exists():
        start = time.perf_counter()
        some = "\n\n".join(train_documents[:: max(1, sum(map(len, train_documents)) // plan.tokenizer_text)])
        vocab, merges = bpe.train_bpe(some, plan.vocab_size, [END_OF_TEXT])
        bpe.Tokenizer(vocab, merges, [END_OF_TEXT]).save(file)
        say(f"A tokenizer of {len(vocab):,} tokens from {len(some):,} characters ({time.perf_counter() - start:.0f} s)")
    tokenizer = bpe.Tokenizer.load(file)
    encode_piece = lru_cache(None)(tokenizer.encode)  # most pieces occur again and again

    def encode(text: str) -> list[int]:
        return [token_id for piece in bpe.pretokenize(text) for token_id in encode_piece(piece)]

    (separator_id,) = tokenizer.encode(END_OF_TEXT)
    options = {"tokenizer": hashlib.sha256(file.read_bytes()).hexdigest(), "separator_id": separator_id}
    for name, texts in (("train", train_documents), ("val", val_documents)):
        checksum = hashlib.sha256("\0".join(texts).encode()).hexdigest()

        def from_number(start: int, texts: list[str] = texts) -> Iterator[str]:
            return islice(texts, start, None)

        token_files.prepare(
            from_number, encode, kept / name, source=checksum, vocab_size=max(tokenizer.vocab) + 1, **options
        )
    train, val = (token_files.open_tokens(kept / name) for name in ("train", "val"))
    val_text = "".join(f"{text}\0" for text in val_documents if text).encode()
    say(f"{len(train):,} tokens to learn from, {len(val):,} ({len(val_text):,} bytes) to be tested on")
    return Data(tokenizer, separator_id, train, val, len(val_text), val_text)


def make_model(gpt: types.ModuleType, plan: Plan, say: Say) -> nn.Module:
    """A new model on its device; on a GPU compiled, where torch can."""
    model = gpt.GPT(plan.vocab_size, plan.context_length, plan.d_model, plan.n_heads, plan.n_layers)
    gpt.init_weights(model, torch.Generator().manual_seed(1))
    model = model.to(plan.device)
    if plan.device == "cuda":
        try:
            model.compile(dynamic=True)
            with torch.autocast(plan.device, dtype=torch.bfloat16):
                logits = model(torch.zeros(plan.batch, plan.context_length, dtype=torch.int64, device=plan.device))
            logits.float().mean().backward()  # it is compiled only now
            model.zero_grad()
        except Exception as error:  # a compiler that is missing, or a model that it cannot take
            say(f"Not compiled: {error!r:.80}")
            model._compiled_call_impl = None
    return model


def configure(impl: Any, model: nn.Module, data: Data, kept: Path, plan: Plan, say: Say) -> Any:
    """The config of the run: of the one that was begun, or a new one with as many steps as there is time for."""
    file = kept / "config.json"
    if file.exists():
        begun = json.loads(file.read_text(encoding="utf-8"))
        torch.set_num_threads(begun.pop("threads"))
        return impl.TrainConfig(**begun)
    options = {"batch": plan.batch, "seq_len": plan.context_length, "max_lr": plan.max_lr, "min_lr": plan.max_lr / 10}
    options["autocast"] = plan.device == "cuda"
    steps = plan.total_steps or steps_in_time(impl, model, data, options, plan.seconds, say)
    every = max(1, steps // plan.evaluations)
    options |= {"total_steps": steps, "warmup_steps": int(plan.warmup_share * steps), "save_every": every}
    options |= {"eval_every": every, "eval_batches": 4, "seed": 1}
    config = impl.TrainConfig(**options)
    begun = dataclasses.asdict(config) | {"threads": torch.get_num_threads()}
    file.write_text(json.dumps(begun), encoding="utf-8")
    return config


def steps_in_time(impl: Any, model: nn.Module, data: Data, options: dict[str, Any], seconds: float, say: Say) -> int:
    """How many steps fit, measured on a few; the model is put back. On a busy machine one thread may be the faster."""
    speeds = {n: seconds_a_step(impl, model, data, options, n) for n in {torch.get_num_threads(), 1}}
    threads, step = min(speeds.items(), key=lambda item: item[1])
    torch.set_num_threads(threads)
    with_them = "one thread" if threads == 1 else f"{threads} threads"
    say(f"One step takes {step * 1000:.0f} ms here, with {with_them}; training may take {seconds:.0f} s.")
    return max(20, int(seconds / step))


def seconds_a_step(impl: Any, model: nn.Module, data: Data, options: dict[str, Any], threads: int) -> float:
    """Measured for a few seconds, without the first two steps."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.set_num_threads(threads)
    marks: list[float] = []

    def on_step(_: Record) -> bool:
        marks.append(time.perf_counter())
        return len(marks) > 2 and marks[-1] - marks[1] > 2

    config = impl.TrainConfig(total_steps=1000, warmup_steps=1, eval_every=1000, eval_batches=1, **options)
    impl.train(model, data.train, data.val, config, None, on_step)
    model.load_state_dict(before)
    return (marks[-1] - marks[1]) / (len(marks) - 2)


def train(
    impl: Any, gpt: Any, model: nn.Module, data: Data, config: Any, kept: Path, plan: Plan, say: Say
) -> list[Record]:
    """Train on from what is kept; the records of the whole run so far."""
    log, checkpoint = kept / "records.jsonl", kept / "run.pt"
    every = max(1, config.total_steps // plan.samples)
    show = beside("progress")
    records = read_records(log, checkpoint)
    if records:
        say(f"Going on after step {len(records):,}; delete {kept} to begin anew.")
    tokens = config.batch * config.accumulation * config.seq_len
    bar = show.progress(config.total_steps, len(records), tokens, say)
    with log.open("a", encoding="utf-8") as file, stop_on_interrupt(say) as stop, bar as update:

        def on_step(record: Record) -> bool:
            file.write(json.dumps(record) + "\n")
            file.flush()
            update(record, record["val_loss"] * data.bits_a_token if "val_loss" in record else None)
            if (record["step"] + 1) % every == 0 or record["step"] == 0:
                say(f"  step {record['step'] + 1:,}: {write(gpt, model, data, plan, BEGINNINGS[0])}")
            return stop.is_set()

        impl.train(model, data.train, data.val, config, checkpoint, on_step)
    return read_records(log, checkpoint)


def read_records(log: Path, checkpoint: Path) -> list[Record]:
    """The records up to the checkpoint; what was written after it is taken again, and then counts."""
    if not checkpoint.exists():
        log.unlink(missing_ok=True)
        return []
    steps = torch.load(checkpoint, map_location="cpu", weights_only=True)["step"]
    by_step = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the last line of a run that was killed while it wrote
            continue
        by_step[record["step"]] = record
    return [by_step[step] for step in range(steps)]


@contextmanager
def stop_on_interrupt(say: Say) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_interrupt(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        say("Stopping after this step and saving ...")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def write(gpt: Any, model: nn.Module, data: Data, plan: Plan, beginning: str) -> str:
    """A text of the model's own, in one line; the same draws each time, so that only the model makes a difference."""
    start = torch.tensor([[data.separator_id, *data.tokenizer.encode(beginning)]], device=plan.device)
    generator = torch.Generator(plan.device).manual_seed(6)
    options = {"temperature": 0.8, "top_k": 40, "stop": data.separator_id, "generator": generator}
    token_ids = gpt.generate(model, start, plan.sample_tokens, **options)[0].tolist()
    text = data.tokenizer.decode([token_id for token_id in token_ids if token_id != data.separator_id])
    return " ".join(text.split())


def finish(impl: Any, gpt: Any, model: nn.Module, data: Data, plan: Plan, say: Say) -> None:
    """Two texts, and the table of bits a byte."""
    for beginning in BEGINNINGS:
        say(f"  “{write(gpt, model, data, plan, beginning)}”")
    say(f"Bits a byte on {data.val_bytes:,} bytes that none of them was trained on:")
    for name, bits in compare(impl, model, data, plan).items():
        say(f"  {name:<38}{bits / data.val_bytes:6.3f}")


def compare(impl: Any, model: nn.Module, data: Data, plan: Plan) -> dict[str, float]:
    """Bits for the whole validation text, of the three simple models and of this one."""
    baselines = beside("baselines")
    train_ids, val_ids = (np.asarray(ids).astype(np.int64) for ids in (data.train, data.val))
    vocab_size = max(data.tokenizer.vocab) + 1
    size = plan.context_length
    ngram = {n: baselines.ngram_bits(train_ids, val_ids, n, vocab_size) for n in (1, 5)}
    rows = (tuple(tensor.to(plan.device) for tensor in row) for row in windows(val_ids, data.separator_id, size))
    return {
        "single tokens (unigram)": ngram[1],
        "gzip -9": baselines.gzip_bits(data.val_text),
        "5-grams of tokens, Kneser-Ney": ngram[5],
        "this GPT": impl.evaluate(model, rows) * len(val_ids) / math.log(2),
    }


def windows(token_ids: Any, separator_id: int, seq_len: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every token as a target once, with at least half a window before it but at the start."""
    stream = torch.from_numpy(np.concatenate([[separator_id], token_ids]))
    half = max(1, seq_len // 2)
    for begin in range(0, max(1, len(stream) - 1 - (seq_len - half)), half):
        piece = stream[begin : begin + seq_len + 1]
        targets = piece[1:].clone()
        if begin:
            targets[: seq_len - half] = -100
        yield piece[None, :-1], targets[None]


def draw_curves(records: Sequence[Record], data: Data, folder: Path, finished: bool) -> Path:
    """Loss and learning rate over the steps."""
    from matplotlib.figure import Figure  # only the picture needs it

    figure = Figure(figsize=(9, 7), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    steps = [record["step"] + 1 for record in records]
    losses = [record["loss"] * data.bits_a_token for record in records]
    top.plot(steps, losses, color="#9cc6e3", lw=0.8, label="training, a step")
    evaluated = [record for record in records if "val_loss" in record]
    bits = [record["val_loss"] * data.bits_a_token for record in evaluated]
    top.plot([record["step"] + 1 for record in evaluated], bits, "o-", color="#b8500e", label="validation")
    top.set_ylabel("bits a byte")
    top.set_ylim(bottom=0)
    top.grid(alpha=0.3)
    top.legend(frameon=False)
    top.set_title("Loss and learning rate" + ("" if finished else " so far"))
    bottom.plot(steps, [record["lr"] for record in records], color="#1f6fa8")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    bottom.grid(alpha=0.3)
    names = ("training.png", "training-so-far.png")
    (folder / names[finished]).unlink(missing_ok=True)  # what an earlier run left would tell a lie
    figure.savefig(folder / names[not finished], dpi=150)
    return folder / names[not finished]
