"""The demo of the training module: a run that can be stopped, and what it is compared with."""

import dataclasses
import gzip
import importlib.util
import io
import math
import os
import random
import re
import signal
import struct
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

pytest.importorskip("matplotlib")
from assignments.given import training as given
from reference import training as reference

ROOT = Path(__file__).resolve().parents[2]
WORDS = re.findall(r"\w+", "the a cat dog house tree sees has finds likes under behind small old green and never")


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DEMO = load(ROOT / "handouts" / "demos" / "training.py", "demo_training")
TINY = DEMO.Plan(
    vocab_size=300,
    context_length=16,
    d_model=8,
    n_heads=2,
    n_layers=1,
    batch=2,
    total_steps=6,
    block=2,
    held_out=5,
    evaluations=3,
    samples=2,
    sample_tokens=5,
)


def documents() -> list[str]:
    chosen = random.Random(0)
    return [" ".join(chosen.choices(WORDS, k=30)) + "." for _ in range(40)]


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Forty documents of a few words, but for the slow tests."""
    beside = DEMO.beside
    small = types.SimpleNamespace(documents=documents)
    if "slow" not in request.keywords:
        monkeypatch.setattr(DEMO, "beside", lambda name: small if name == "corpus" else beside(name))


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tensors this small are much slower on two threads when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if "slow" in request.keywords else 1)
    yield
    torch.set_num_threads(before)


def run(folder: Path, plan: Any = TINY, impl: types.ModuleType = given) -> tuple[list[str], list[Path]]:
    lines: list[str] = []
    return lines, DEMO.run(impl, folder, lines.append, plan)


def table(lines: list[str]) -> dict[str, float]:
    """The bits a byte at the end."""
    rows = [re.fullmatch(r"  (\S.*\S) +(\d+\.\d{3})", line) for line in lines[-4:]]
    return {row[1]: float(row[2]) for row in rows if row}


@pytest.mark.parametrize("impl", [reference, given], ids=["reference", "given"])
def test_run_ends_with_a_text_a_table_and_a_picture(impl: types.ModuleType, tmp_path: Path) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    lines, pictures = run(tmp_path / "new", impl=impl)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert [path.name for path in pictures] == ["training.png"]
    head = pictures[0].read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert min(struct.unpack(">II", head[16:24])) > 1000
    assert list(table(lines)) == [
        "single tokens (unigram)",
        "gzip -9",
        "5-grams of tokens, Kneser-Ney",
        "this GPT",
    ]
    assert all(0 < bits < 10 for bits in table(lines).values())
    assert [line.split(":")[0] for line in lines if re.match(r"  step \d+: ", line)] == [
        "  step 1",
        "  step 3",
        "  step 6",
    ]
    assert sum("bits a byte" in line and "tokens/s" in line for line in lines) == 3
    assert sum(line.startswith("  “Return the number of") for line in lines) == 1


def test_run_gives_the_same_numbers_again(tmp_path: Path) -> None:
    first, second = (table(run(tmp_path)[0]) for _ in range(2))  # a finished run is begun anew
    assert first == second


def test_run_stops_on_interrupt_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        if line.startswith("  step 3:"):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    pictures = DEMO.run(given, tmp_path / "parts", interrupt, TINY)
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in pictures] == ["training-so-far.png"]
    assert lines[-1] == "Stopped after 3 of 6 steps; the same command goes on from there."
    rest, pictures = run(tmp_path / "parts")
    assert any(line.startswith("Going on after step 3; delete ") for line in rest)
    assert [path.name for path in (tmp_path / "parts").glob("*.png")] == ["training.png"]
    assert table(rest) == table(whole)
    saved = [torch.load(tmp_path / name / "training" / "run.pt", weights_only=True) for name in ("whole", "parts")]
    for name, value in saved[0]["model"].items():
        assert torch.equal(value, saved[1]["model"][name]), name
    logs = [(tmp_path / name / "training" / "records.jsonl").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_run_that_was_killed_takes_up_its_last_checkpoint(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")

    def fails(line: str) -> None:
        if line.startswith("  step 3:"):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        DEMO.run(given, tmp_path / "parts", fails, TINY)
    rest, _ = run(tmp_path / "parts")
    assert any(line.startswith("Going on after step 2; ") for line in rest)
    assert table(rest) == table(whole)


def test_steps_are_as_many_as_there_is_time_for(tmp_path: Path) -> None:
    lines, _ = run(tmp_path, dataclasses.replace(TINY, total_steps=None, seconds=0.01))
    assert any("One step takes" in line for line in lines)
    assert any(" 20 steps. Ctrl-C stops and saves." in line for line in lines)


def test_run_lets_an_unfinished_task_through_at_once(tmp_path: Path) -> None:
    def unfinished(*_: object) -> None:
        raise NotImplementedError("Task 5.12: load_checkpoint")

    impl = load(ROOT / "reference" / "training.py", "altered_training")
    impl.load_checkpoint = unfinished
    with pytest.raises(NotImplementedError, match=r"Task 5\.12"):
        run(tmp_path / "new", impl=impl)
    assert not (tmp_path / "new").exists()


def by_hand(train: list[int], text: list[int], order: int, vocab_size: int) -> float:
    """Interpolated Kneser-Ney from its formula, one probability at a time."""
    seen = Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))
    levels = [seen]
    for _ in range(order - 1):
        levels.insert(0, Counter(gram[1:] for gram in levels[0]))

    def p(token: int, history: tuple[int, ...]) -> float:
        n = len(history) + 1
        lower = p(token, history[1:]) if history else 1 / vocab_size
        level = levels[n - 1]
        once, twice = (sum(count == k for count in level.values()) for k in (1, 2))
        discount = (once + 0.5) / (once + 2 * twice + 1)
        after = {gram[-1]: count for gram, count in level.items() if gram[:-1] == history}
        total = sum(after.values())
        if not total:
            return lower
        return (max(after.get(token, 0) - discount, 0) + discount * len(after) * lower) / total

    stream = train[len(train) - order + 1 :] + text
    return sum(-math.log2(p(stream[i], tuple(stream[i - order + 1 : i]))) for i in range(order - 1, len(stream)))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngram_bits_are_those_of_the_formula(order: int) -> None:
    chosen = random.Random(order)
    train, text = ([min(chosen.randrange(7), chosen.randrange(7)) for _ in range(n)] for n in (200, 30))
    got = DEMO.beside("baselines").ngram_bits(np.array(train), np.array(text), order, 7)
    assert got == pytest.approx(by_hand(train, text, order, 7), rel=1e-12)


def test_ngram_probabilities_sum_to_one() -> None:
    ngram_bits = DEMO.beside("baselines").ngram_bits
    train = np.random.default_rng(0).integers(0, 6, 300)
    total = sum(2 ** -ngram_bits(train, np.array([token]), 3, 8) for token in range(8))
    assert total == pytest.approx(1, rel=1e-12)


def test_ngram_refuses_what_does_not_fit_into_a_number() -> None:
    with pytest.raises(ValueError, match=r"order must be below 6\.3 for vocab_size=1024, got order=7"):
        DEMO.beside("baselines").ngram_bits(np.arange(9), np.arange(9), 7, 1024)


def test_gzip_bits_are_those_of_the_file() -> None:
    assert DEMO.beside("baselines").gzip_bits(b"abc" * 50) == 8 * len(gzip.compress(b"abc" * 50, 9))


@pytest.mark.parametrize("n_tokens", [1, 5, 8, 9, 12, 30])
def test_windows_hold_every_token_as_a_target_once(n_tokens: int) -> None:
    token_ids = np.arange(1, n_tokens + 1)
    targets: list[int] = []
    for inputs, wanted in DEMO.windows(token_ids, 0, 8):
        kept = (wanted[0] != -100).nonzero().flatten().tolist()
        targets += wanted[0, kept].tolist()
        assert inputs.shape == wanted.shape
        assert inputs.shape[1] <= 8
        assert torch.equal(inputs[0, 1:][wanted[0, :-1] != -100], wanted[0, :-1][wanted[0, :-1] != -100])
        assert inputs[0, 0] == 0 or kept[0] >= 4
    assert targets == token_ids.tolist()


def steps(update: Callable[..., None]) -> None:
    for step in range(4):
        update({"step": step, "loss": 4.125 - step}, 1.25 if step == 2 else None)


def test_progress_is_a_bar_in_a_terminal() -> None:
    screen, lines = io.StringIO(), []
    console = Console(file=screen, force_terminal=True, width=100)
    with DEMO.beside("progress").progress(8, 4, 100, lines.append, console) as update:
        steps(update)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "8/8" in shown
    assert re.search(r"loss 1\.12 · [\d,]+ tokens/s · \d+:\d\d left", shown)
    assert [re.sub(r"[\d,]+ tokens/s", "N tokens/s", line) for line in lines] == [
        "  step      3 · loss 2.12 · N tokens/s · 0:00 left · validation 1.250 bits a byte"
    ]


def test_progress_is_a_line_for_each_evaluation_elsewhere() -> None:
    screen, lines = io.StringIO(), []
    with DEMO.beside("progress").progress(4, 0, 100, lines.append, Console(file=screen)) as update:
        steps(update)
    assert screen.getvalue() == ""
    assert len(lines) == 1


@pytest.mark.slow
def test_english_is_learnt_in_five_minutes_of_two_cores(tmp_path: Path) -> None:
    start = time.process_time()
    lines, _ = run(tmp_path, DEMO.Plan())
    assert time.process_time() - start < 2 * 300
    bits = table(lines)
    assert bits["this GPT"] < 0.8 * bits["single tokens (unigram)"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_the_demo_trains_on_a_gpu_compiled(tmp_path: Path) -> None:
    lines: list[str] = []
    DEMO.run(given, tmp_path, lines.append, TINY, device="cuda")
    assert (tmp_path / "training" / "done").exists()
    assert not [line for line in lines if line.startswith("Not compiled")]
