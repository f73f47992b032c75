"""The reference of module 5 against torch's losses, optimizer, schedules and clipping; given lightly as well."""

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from assignments.given import training as given
from reference import training

BOTH = pytest.mark.parametrize("impl", [training, given], ids=["reference", "given"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def same(got: Any, right: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, right, rtol=tolerance, atol=tolerance)


class Model(nn.Module):
    """A language model without memory, with dropout, so that the state of torch's own generator matters."""

    def __init__(self, vocab_size: int = 11, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 6)
        self.norm = nn.LayerNorm(6)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6, vocab_size)

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.embedding(token_ids))))


def model(dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Model(dropout=dropout).to(dtype)


def text(n_tokens: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 11, n_tokens).astype(np.uint16)


# --- cross_entropy and perplexity ---


@BOTH
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3), (7,), ()])
def test_cross_entropy_is_that_of_torch(impl: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    ours, oracle = (randn(*shape, 9, dtype=dtype).requires_grad_() for _ in range(2))
    targets = torch.randint(9, shape, generator=generator())
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    loss, right = impl.cross_entropy(ours, targets), F.cross_entropy(oracle.reshape(-1, 9), targets.reshape(-1))
    same(loss, right, tolerance)
    same(torch.autograd.grad(loss, ours), torch.autograd.grad(right, oracle), tolerance)


@over(st.lists(st.integers(-1, 4), min_size=1, max_size=12), st.integers(-1, 4), st.floats(0.1, 1e4))
@settings(max_examples=60, deadline=None)
def test_cross_entropy_leaves_out_what_torch_leaves_out(targets: list[int], ignore_index: int, scale: float) -> None:
    kept = torch.tensor([ignore_index if target < 0 else target for target in targets])
    logits = randn(len(targets), 5) * scale
    if not (ignore_index >= 0 or (kept == -1).all() or ignore_index == -1):
        return
    right = F.cross_entropy(logits, kept, ignore_index=ignore_index).nan_to_num(0.0)
    same(training.cross_entropy(logits, kept, ignore_index), right)


def test_cross_entropy_widens_half_precision() -> None:
    logits, targets = randn(6, 300, dtype=torch.bfloat16), torch.arange(6)
    for impl in (training, given):
        loss = impl.cross_entropy(logits, targets)
        assert loss.dtype == torch.float32
        same(loss, F.cross_entropy(logits.float(), targets), 1e-6)


def test_cross_entropy_of_a_uniform_guess_is_log_of_the_vocabulary() -> None:
    assert training.cross_entropy(torch.zeros(4, 50_257), torch.arange(4)).item() == pytest.approx(math.log(50_257))


@BOTH
@pytest.mark.parametrize(
    ("targets", "match"),
    [(torch.zeros(2, 3), "targets"), (torch.tensor([0, 5, 1]), "targets"), (-torch.ones(3), "targ")],
)
def test_cross_entropy_refuses_targets(impl: Any, targets: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        impl.cross_entropy(torch.zeros(3, 5), targets.long())


@BOTH
def test_perplexity_is_that_of_all_targets_at_once(impl: Any) -> None:
    logits, targets = randn(20, 7), torch.randint(7, (20,), generator=generator())
    parts = [slice(0, 1), slice(1, 15), slice(15, 20)]
    losses = torch.stack([F.cross_entropy(logits[part], targets[part]) for part in parts])
    counts = torch.tensor([1, 14, 5])
    same(impl.perplexity(losses, counts), F.cross_entropy(logits, targets).exp())


# --- batches ---


@BOTH
def test_get_batch_reads_a_file_larger_than_what_it_needs(impl: Any, tmp_path: Path) -> None:
    tokens = text(10_000)
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint16, "r")
    x, y = impl.get_batch(mapped, 64, 16, generator(3))
    starts = torch.randint(10_000 - 16, (64,), generator=generator(3))
    for row, start in enumerate(starts.tolist()):
        assert x[row].tolist() == tokens[start : start + 16].tolist()
        assert y[row].tolist() == tokens[start + 1 : start + 17].tolist()
    assert x.dtype == y.dtype == torch.int64


def test_get_batch_draws_every_window_alike() -> None:
    x, _ = training.get_batch(np.arange(9), 20_000, 4, generator())
    counts = torch.bincount(x[:, 0], minlength=5)
    assert len(counts) == 5  # starts 0 to 4
    assert (counts - 4_000).abs().max() < 300  # about five standard deviations


@over(st.lists(st.lists(st.integers(1, 9), max_size=7), max_size=6), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_pack_documents_predicts_every_token_but_the_first_once(documents: list[list[int]], seq_len: int) -> None:
    stream = list(itertools.chain.from_iterable([*document, 0] for document in documents if document))
    for impl in (training, given):
        token_ids, targets = impl.pack_documents(documents, seq_len, 0)
        kept = targets != -100
        assert targets[kept].tolist() == stream[1:]
        assert token_ids[kept].tolist() == stream[:-1]
        assert token_ids.shape == targets.shape == (-(-max(len(stream) - 1, 0) // seq_len), seq_len)
        assert (token_ids[~kept] == 0).all()


# --- AdamW ---


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adamw_is_that_of_torch_for_hundreds_of_steps(weight_decay: float) -> None:
    ours, oracle = model(), model()
    options = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": weight_decay}
    mine, torchs = training.AdamW(ours.parameters(), **options), torch.optim.AdamW(oracle.parameters(), **options)
    for step in range(300):
        for optimizer in (mine, torchs):
            optimizer.param_groups[0]["lr"] = 1e-2 * (1 + step % 7)
        for index, (p, q) in enumerate(zip(ours.parameters(), oracle.parameters(), strict=True)):
            p.grad = None if (step + index) % 5 == 0 else randn(*p.shape, seed=100 * step + index)
            q.grad = None if p.grad is None else p.grad.clone()
        mine.step()
        torchs.step()
    for p, q in zip(ours.parameters(), oracle.parameters(), strict=True):
        same(p, q, 1e-10)
        same(mine.state[p]["exp_avg"], torchs.state[q]["exp_avg"])
        same(mine.state[p]["exp_avg_sq"], torchs.state[q]["exp_avg_sq"])


def test_adamw_and_torch_exchange_states_both_ways() -> None:
    weights = nn.Parameter(randn(3, 4))
    pair = training.AdamW([weights], lr=0.1), torch.optim.AdamW([weights], lr=0.1)
    for one, other in (pair, pair[::-1]):
        weights.grad = randn(3, 4, seed=1)
        one.step()
        other.load_state_dict(copy.deepcopy(one.state_dict()))
        before = weights.detach().clone()
        one.step()
        right = weights.detach().clone()
        weights.data.copy_(before)
        other.step()
        same(weights.detach(), right)


# --- schedule, groups, clipping ---


@BOTH
@pytest.mark.parametrize(("warmup", "total"), [(5, 40), (0, 30), (1, 2), (7, 300)])
def test_lr_at_is_the_schedule_that_torch_makes_of_two(impl: Any, warmup: int, total: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    cosine = CosineAnnealingLR(optimizer, total - warmup, eta_min=0.02)
    scheduler: Any = cosine
    if warmup:
        line = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
        scheduler = SequentialLR(optimizer, [line, cosine], [warmup])
    for step in range(total + 1):
        assert impl.lr_at(step, 0.3, 0.02, warmup, total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_parameter_groups_hold_every_trained_parameter_once() -> None:
    module = nn.TransformerEncoderLayer(8, 2, 16)
    module.linear1.weight.requires_grad_(False)
    decayed, others = training.parameter_groups(module, 0.1)
    found = [id(p) for p in decayed["params"] + others["params"]]
    assert sorted(found) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    assert all(p.ndim < 2 for p in others["params"])


@BOTH
@pytest.mark.parametrize("max_norm", [1e-8, 0.5, 1e4])
def test_clip_grad_norm_is_that_of_torch(impl: Any, max_norm: float) -> None:
    ours, oracle = model(), model()
    for index, (p, q) in enumerate(zip(ours.parameters(), oracle.parameters(), strict=True)):
        p.grad, q.grad = (randn(*p.shape, seed=index) for _ in range(2))
    ours.norm.bias.grad = oracle.norm.bias.grad = None
    got = impl.clip_grad_norm(ours.parameters(), max_norm)
    same(got, nn.utils.clip_grad_norm_(oracle.parameters(), max_norm))
    for p, q in zip(ours.parameters(), oracle.parameters(), strict=True):
        same(p.grad, q.grad)


# --- steps, evaluation, checkpoints, the whole ---


@BOTH
def test_train_step_is_one_step_on_all_targets_at_once(impl: Any) -> None:
    ours, oracle = model(), model()
    x, y = impl.get_batch(text(200), 6, 5, generator())
    y[:2, :4] = -100
    optimizers = [torch.optim.AdamW(m.parameters(), eps=1e-4) for m in (ours, oracle)]
    for _ in range(100):
        loss, norm = impl.train_step(ours, optimizers[0], [(x[:2], y[:2]), (x[2:], y[2:])], 0.01, max_norm=0.5)
        optimizers[1].zero_grad()
        right = F.cross_entropy(oracle(x).flatten(0, 1), y.flatten())
        right.backward()
        right_norm = nn.utils.clip_grad_norm_(oracle.parameters(), 0.5)
        optimizers[1].param_groups[0]["lr"] = 0.01
        optimizers[1].step()
        assert (loss, norm) == (pytest.approx(right.item(), rel=1e-9), pytest.approx(right_norm.item(), rel=1e-9))
    for p, q in zip(ours.parameters(), oracle.parameters(), strict=True):
        same(p, q, 1e-9)


@BOTH
def test_train_step_in_autocast_is_close_to_float32_and_keeps_it(impl: Any) -> None:
    batch = [impl.get_batch(text(200), 6, 5, generator())]
    wide, mixed = model(torch.float32), model(torch.float32)
    losses = [impl.train_step(m, impl.AdamW(m.parameters()), batch, 0.01, 1.0, m is mixed)[0] for m in (wide, mixed)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}


@BOTH
def test_one_batch_is_learnt_by_heart(impl: Any) -> None:
    module = model(torch.float32)
    x = torch.arange(10)[None]
    optimizer = impl.AdamW(module.parameters(), weight_decay=0.0)
    losses = [impl.train_step(module, optimizer, [(x, (x + 3) % 11)], 0.05)[0] for _ in range(150)]
    assert losses[0] > 2
    assert losses[-1] < 0.01


@BOTH
def test_evaluate_leaves_no_trace(impl: Any) -> None:
    module = model(dropout=0.5)
    batches = [impl.get_batch(text(100), size, 5, generator()) for size in (1, 4)]
    module.train()
    loss = impl.evaluate(module, iter(batches))
    both = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    right = F.cross_entropy(module.eval()(both[0]).flatten(0, 1), both[1].flatten())
    assert loss == pytest.approx(right.item(), rel=1e-12)
    assert all(p.grad is None for p in module.parameters())


def config(impl: Any, **changes: Any) -> Any:
    settings_ = {"total_steps": 24, "batch": 3, "seq_len": 5, "max_lr": 1e-2, "min_lr": 1e-3, "warmup_steps": 4}
    return impl.TrainConfig(**settings_ | {"accumulation": 2, "eval_every": 8, "save_every": 5} | changes)


@BOTH
@pytest.mark.parametrize("stop_at", [0, 9, 22])
def test_resumed_run_is_the_uninterrupted_one_bit_for_bit(impl: Any, stop_at: int, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        whole = model(torch.float32, dropout=0.3)
        records = impl.train(whole, text(300), text(90, 1), config(impl))
        torch.manual_seed(7)
        first = model(torch.float32, dropout=0.3)
        path = tmp_path / "run.pt"
        parts = impl.train(first, text(300), text(90, 1), config(impl), path, lambda r: r["step"] == stop_at)
        torch.manual_seed(99)
        second = Model(dropout=0.3)
        parts += impl.train(second, text(300), text(90, 1), config(impl), path)
    assert parts == records
    for p, q in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_reference_and_given_train_alike() -> None:
    ours, oracle = model(), model()
    one = training.train(ours, text(300), text(90, 1), config(training, eps=1e-4))
    other = given.train(oracle, text(300), text(90, 1), config(given, eps=1e-4))
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)
    for p, q in zip(ours.parameters(), oracle.parameters(), strict=True):
        same(p, q, 1e-9)


def test_a_failed_save_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    module, path = model(), tmp_path / "run.pt"
    optimizer = training.AdamW(module.parameters())
    training.save_checkpoint(path, module, optimizer, 3, generator())
    broken = copy.deepcopy(module)
    broken.state_dict = lambda: {"weights": lambda: None}  # type: ignore[assignment,method-assign,misc]
    with pytest.raises(Exception, match="pickle"):
        training.save_checkpoint(path, broken, optimizer, 4, generator())
    assert training.load_checkpoint(path, module, optimizer, generator()) == 3
