"""Module 5, training, on whole tensors and lists of tensors: strided windows, one_hot, torch._foreach in AdamW."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools as it
import pathlib
from collections import defaultdict
from math import cos, pi, prod

import numpy as np
import torch
from torch import Tensor, nn

NO_TARGET = -100


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    total_steps: int
    batch: int
    seq_len: int
    max_lr: float
    min_lr: float
    warmup_steps: int
    accumulation: int = 1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    max_norm: float = 1.0
    eval_every: int = 100
    eval_batches: int = 8
    save_every: int = 100
    autocast: bool = False
    seed: int = 0


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(torch.float32, x.dtype))


def _n_targets(targets: Tensor) -> int:
    return int(torch.count_nonzero(targets != NO_TARGET))


def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = NO_TARGET) -> Tensor:
    _require(logits.shape[:-1] == targets.shape, f"logits {tuple(logits.shape)}, but targets {tuple(targets.shape)}")
    chosen = (targets != ignore_index).flatten().nonzero().squeeze(1)
    ids = targets.flatten()[chosen]
    known = torch.isin(ids, torch.arange(logits.shape[-1], device=ids.device))
    _require(bool(known.all()), f"not all targets are token ids: {ids}")
    x = _at_least_single(logits).flatten(0, -2)[chosen] if targets.ndim else _at_least_single(logits)[None][chosen]
    if len(chosen) == 0:
        return _at_least_single(logits).mul(0).sum()
    # distances to the target's logit: the loss is the log of the sum of their exponentials
    gaps = x - x[torch.arange(len(ids)), ids].unsqueeze(1)
    top = gaps.detach().amax(1)
    return (top + (gaps - top.unsqueeze(1)).exp().sum(1).log()).mean()


def perplexity(losses: Tensor, counts: Tensor) -> Tensor:
    _require(losses.shape == counts.shape, f"counts {tuple(counts.shape)} for losses {tuple(losses.shape)}")
    _require(bool(counts.any()), "counts has no target in it")
    weights = counts.to(losses.dtype) / counts.sum()
    return (weights @ losses).exp()


def get_batch(tokens, batch: int, seq_len: int, generator: torch.Generator, device=None) -> tuple[Tensor, Tensor]:
    _require(len(tokens) > seq_len, f"seq_len {seq_len} asks for more tokens than the {len(tokens)} there are")
    starts = torch.randint(high=len(tokens) - seq_len, size=(batch,), generator=generator).numpy()
    at = starts[:, None] + np.arange(seq_len + 1)
    rows = np.take(tokens, at) if isinstance(tokens, np.ndarray) else tokens.numpy()[at]
    rows = rows.astype(np.int64)
    return torch.tensor(rows[:, :-1], device=device), torch.tensor(rows[:, 1:], device=device)


def pack_documents(documents, seq_len: int, separator_id: int) -> tuple[Tensor, Tensor]:
    _require(seq_len > 0, f"seq_len must be positive, not {seq_len}")
    parts = [torch.tensor([*document, separator_id]) for document in documents if len(document)]
    stream = torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)
    padding = -(len(stream) - 1) % seq_len if len(stream) else 0
    ids = torch.cat([stream[:-1], torch.full((padding,), separator_id)])
    targets = torch.cat([stream[1:], torch.full((padding,), NO_TARGET)])
    return ids.unflatten(0, (-1, seq_len)), targets.unflatten(0, (-1, seq_len))


class AdamW(torch.optim.Optimizer):
    """All parameters of a group that have taken as many steps are updated together."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2) -> None:
        _require(lr >= 0, f"{lr=} must not be negative")
        _require(all(0 <= beta < 1 for beta in betas), f"{betas=} must lie in [0, 1)")
        _require(eps >= 0, f"{eps=} must not be negative")
        _require(weight_decay >= 0, f"{weight_decay=} must not be negative")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[int, list[nn.Parameter]] = defaultdict(list)
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state |= {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                state["step"] = int(state["step"]) + 1
                alike[state["step"]].append(p)
            for t, parameters in alike.items():
                self._step_together(
                    parameters, t, **{name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
                )

    def _step_together(self, parameters, t, lr, betas, eps, weight_decay) -> None:
        grads = [p.grad for p in parameters]
        means = [self.state[p]["exp_avg"] for p in parameters]
        squares = [self.state[p]["exp_avg_sq"] for p in parameters]
        torch._foreach_lerp_(means, grads, 1 - betas[0])
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(squares, grads, grads, 1 - betas[1])
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - betas[1] ** t) ** 0.5)
        torch._foreach_add_(roots, eps)
        torch._foreach_mul_(parameters, 1 - lr * weight_decay)
        torch._foreach_addcdiv_(parameters, means, roots, -lr / (1 - betas[0] ** t))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    by_kind = {True: [], False: []}
    for p in model.parameters():
        if p.requires_grad:
            by_kind[p.dim() > 1].append(p)
    return [{"params": by_kind[kind], "weight_decay": weight_decay * kind} for kind in (True, False)]


def lr_at(step: int, max_lr: float, min_lr: float, warmup_steps: int, total_steps: int) -> float:
    _require(step >= 0, f"{step=} must not be negative")
    _require(warmup_steps <= total_steps, f"{warmup_steps=} is beyond {total_steps=}")
    _require(min_lr <= max_lr, f"{min_lr=} is above {max_lr=}")
    if warmup_steps > step and step < total_steps:
        return float(np.interp(step, [-1, warmup_steps], [0.0, max_lr]))
    x = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0) if step < total_steps else 1.0
    return (max_lr + min_lr) / 2 + cos(pi * x) * (max_lr - min_lr) / 2


def clip_grad_norm(parameters, max_norm: float) -> Tensor:
    _require(max_norm > 0, f"{max_norm=} must be positive")
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    flat = torch.cat([_at_least_single(g).flatten() for g in grads])
    norm = (flat @ flat).sqrt()
    torch._foreach_mul_(grads, min(1.0, max_norm / (norm.item() + 1e-6)))
    return norm


def train_step(model, optimizer, micro_batches, lr, max_norm=1.0, autocast=False) -> tuple[float, float]:
    shares = torch.tensor([_n_targets(targets) for _, targets in micro_batches], dtype=torch.float64)
    _require(bool(shares.any()), "no target in any of the micro_batches")
    shares = (shares / shares.sum()).tolist()
    model.train()
    optimizer.zero_grad(set_to_none=False)
    losses = []
    for share, (token_ids, targets) in zip(shares, micro_batches, strict=True):
        mixed = torch.autocast(token_ids.device.type, torch.bfloat16) if autocast else contextlib.nullcontext()
        with mixed:
            logits = model(token_ids)
        losses.append(cross_entropy(logits, targets) * share)
        losses[-1].backward()
    norm = clip_grad_norm(model.parameters(), max_norm)
    for group in optimizer.param_groups:
        group.update(lr=lr)
    optimizer.step()
    return sum(loss.item() for loss in losses), norm.item()


@contextlib.contextmanager
def _eval_mode(model):
    was_training = [module for module in model.modules() if module.training]
    try:
        yield model.eval()
    finally:
        for module in was_training:
            module.training = True


def evaluate(model, batches) -> float:
    with _eval_mode(model), torch.inference_mode():
        pairs = [
            (cross_entropy(model(token_ids), targets).item(), _n_targets(targets)) for token_ids, targets in batches
        ]
    n_targets = sum(n for _, n in pairs)
    _require(n_targets > 0, "no target in any of the batches")
    return sum(prod(pair) for pair in pairs) / n_targets


def save_checkpoint(path, model, optimizer, step, generator) -> None:
    """Everything is put together in memory first, then written beside the old file and moved over it."""
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    states |= {"step": step, "generator": generator.get_state(), "torch_generator": torch.get_rng_state()}
    memory = io.BytesIO()
    torch.save(states, memory)
    beside = pathlib.Path(f"{path}~")
    beside.write_bytes(memory.getvalue())
    beside.rename(path)


def load_checkpoint(path, model, optimizer, generator) -> int:
    states = torch.load(io.BytesIO(pathlib.Path(path).read_bytes()), map_location=torch.device("cpu"))
    for thing in ("model", "optimizer"):
        {"model": model, "optimizer": optimizer}[thing].load_state_dict(states[thing])
    generator.set_state(states["generator"])
    torch.random.set_rng_state(states["torch_generator"])
    return states["step"]


def _batches(tokens, config: TrainConfig, generator, device):
    while True:
        yield get_batch(tokens, config.batch, config.seq_len, generator, device)


def train(model, train_tokens, val_tokens, config, checkpoint=None, on_step=None) -> list[dict]:
    optimizer = AdamW(
        parameter_groups(model, config.weight_decay), lr=config.max_lr, betas=config.betas, eps=config.eps
    )
    generator = torch.Generator().manual_seed(config.seed)
    path = None if checkpoint is None else pathlib.Path(checkpoint)
    first = load_checkpoint(path, model, optimizer, generator) if path and path.exists() else 0
    device = next(model.parameters()).device
    source = _batches(train_tokens, config, generator, device)
    records = []
    for taken in range(first + 1, config.total_steps + 1):
        rates = (config.max_lr, config.min_lr, config.warmup_steps, config.total_steps)
        lr = lr_at(taken - 1, *rates)
        micro_batches = list(it.islice(source, config.accumulation))
        loss, norm = train_step(model, optimizer, micro_batches, lr, config.max_norm, config.autocast)
        records.append({"step": taken - 1, "loss": loss, "lr": lr, "grad_norm": norm})
        if taken in (config.total_steps, taken // config.eval_every * config.eval_every):
            held_out = _batches(val_tokens, config, torch.Generator().manual_seed(config.seed), device)
            records[-1]["val_loss"] = evaluate(model, it.islice(held_out, config.eval_batches))
        stop = on_step and on_step(records[-1])
        if path and (stop or taken in (config.total_steps, taken // config.save_every * config.save_every)):
            save_checkpoint(path, model, optimizer, taken, generator)
        if stop:
            break
    return records
